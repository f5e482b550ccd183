"""Facts about a loss, as plain data: what each of its terms is, what feeds it, and its targets."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["MEASURES", "TOLERANCE", "LossFacts", "LossTerm", "TargetFacts", "loss_facts_from"]

NAN = float("nan")

MEASURES = {
    "cross_entropy": "cross-entropy",
    "nll_loss": "cross-entropy",
    "binary_cross_entropy": "binary cross-entropy",
    "binary_cross_entropy_with_logits": "binary cross-entropy",
    "mse_loss": "squared error",
    "huber_loss": "squared error",
    "smooth_l1_loss": "squared error",
    "l1_loss": "absolute error",
}
"""What the loss functions of torch measure."""

TOLERANCE = 1e-3
"""How far a target may be outside 0 to 1, or the sum of a row from 1, through rounding."""


@dataclass(frozen=True)
class TargetFacts:
    """Facts about the targets of one term, over the batches of the first steps.

    Elements that a mask or a weight of 0 removes from the loss do not count, nor do ignored labels.

    Args:
        dtype: such as ``int64``; empty if the targets are known only from outputs and residuals.
        shape: shape of the targets before any broadcasting.
        low: smallest target.
        high: largest target.
        mean: their mean.
        spread: their standard deviation.
        rms: their root mean square.
        distinct: number of different values; 0 if there are more than 64.
        whole: whether all are integers.
        rows_off: share of rows whose sum differs from 1, and `rows_above` of those whose sum exceeds 1. NaN
            if the targets have no rows that belong to the outputs.
        rows_above: see `rows_off`.
        beyond: mean squared distance of the targets from the range of the last activation, over their
            variance. NaN if the outputs have no limits.
        entry: position of the tensor of the batch that they are; -1 if they are none of them.
        is_input: whether they are the input of the model, as in an autoencoder.
    """

    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float
    mean: float
    spread: float
    rms: float
    distinct: int = 0
    whole: bool = False
    rows_off: float = NAN
    rows_above: float = NAN
    beyond: float = NAN
    entry: int = -1
    is_input: bool = False

    @property
    def in_unit(self) -> bool:
        """Whether all targets are from 0 to 1, up to rounding."""
        return self.low >= -TOLERANCE and self.high <= 1 + TOLERANCE


@dataclass(frozen=True)
class LossTerm:
    """Facts about one term of a loss.

    Args:
        kind: ``cross-entropy`` (a log-softmax is in it), ``negative-log-likelihood`` (something else feeds
            it), ``binary-cross-entropy``, ``binary-cross-entropy-with-logits``, ``log-likelihood`` (a
            logarithm in a hand-written loss), ``kl-divergence``, ``squared``, ``absolute``, ``margin``.
        node: kind of its node in the graph.
        source: kind of the node that computes the input of the last activation; without one its own input.
        layer: whether that node is a layer with weights.
        module: name of the module that computes what goes into it; empty if unknown.
        activation: the last activation before it: ``relu``, ``tanh``, ``sigmoid``, ``softmax``, ``exp``,
            ...; empty if there is none.
        inner: the activation right before the last one, as a ReLU before a softmax; empty for none.
        axis: axis of the softmax; -1 for none.
        length: number of entries along it; 0 for none.
        over_batch: whether this axis counts the samples of the batch.
        shape: shape of the outputs.
        broadcast: shape to which outputs and targets were broadcast; empty if the shapes agree.
        pairwise: whether the outputs got another axis on purpose before that, to compare all pairs.
        flipped: whether it takes 1 minus the output, or its negative.
        lowest: smallest input of a logarithm in it.
        highest: largest log-probability that it takes of a target.
        normalized: whether the probabilities that it takes sum to 1.
        negated: whether the loss falls as the term rises, so that a lower loss is a worse fit.
        summed: whether the loss is the sum over its elements and not their mean.
        target: facts about its targets; None if they are not known.
    """

    kind: str
    node: str
    source: str = ""
    layer: bool = False
    module: str = ""
    activation: str = ""
    inner: str = ""
    axis: int = -1
    length: int = 0
    over_batch: bool = False
    shape: tuple[int, ...] = ()
    broadcast: tuple[int, ...] = ()
    pairwise: bool = False
    flipped: bool = False
    lowest: float = NAN
    highest: float = NAN
    normalized: bool = False
    negated: bool = False
    summed: bool = False
    target: TargetFacts | None = None

    @property
    def width(self) -> int:
        """The number of outputs per sample along the last axis, or along axis 1 for classes."""
        if len(self.shape) < 2:
            return 1
        return self.shape[1] if self.kind in ("cross-entropy", "negative-log-likelihood") else self.shape[-1]


@dataclass(frozen=True)
class LossFacts:
    """Facts about the loss, read from its autograd graph.

    Args:
        kind: ``cross-entropy``, ``binary-cross-entropy``, ``squared`` or ``unknown``.
        classes: number of classes of a cross-entropy.
        baseline: the loss of random guessing. For cross-entropy over C classes it is ln C, for a squared
            error the variance of the targets. NaN if the loss is unknown.
        softmax_before: whether probabilities go into a cross-entropy, which expects logits.
        terms: the terms of the loss that were recognized.
        reads: number of batches that were read.
    """

    kind: str
    classes: int = 0
    baseline: float = NAN
    softmax_before: bool = False
    terms: tuple[LossTerm, ...] = ()
    reads: int = 0


def loss_facts_from(saved: Mapping[str, Any]) -> LossFacts:
    """Build the facts again from plain data, also from a file of an earlier or a later version.

    Args:
        saved: what `dataclasses.asdict` made of `LossFacts`.
    """
    known = _known(LossFacts, saved)
    return LossFacts(**{**known, "terms": tuple(_term(term) for term in known.get("terms", ()))})


def _term(saved: Mapping[str, Any]) -> LossTerm:
    known = _known(LossTerm, saved)
    target = known.get("target")
    if target is not None:
        target = _known(TargetFacts, target)
        target = TargetFacts(**{**target, "shape": tuple(target["shape"])})
    shapes = {name: tuple(known.get(name, ())) for name in ("shape", "broadcast")}
    return LossTerm(**{**known, **shapes, "target": target})


def _known(cls: Any, saved: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    return {name: value for name, value in saved.items() if name in names}
