"""Reads the loss of the first batches, and follows its targets over the run."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nnfoundations.diagnostics._feeding import Feeding, log_softmax
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._loss_facts import LossFacts, LossTerm, TargetFacts
from nnfoundations.diagnostics._loss_graph import loss_terms
from nnfoundations.diagnostics._loss_terms import NEGATIVE_LOG_LIKELIHOODS, Term
from nnfoundations.diagnostics._target_facts import LARGEST, target_facts
from nnfoundations.diagnostics._transfer import Readings
from nnfoundations.diagnostics.nonfinite import tensors

__all__ = ["READS", "LossReader", "batch_rms", "batch_size", "loss_facts"]

READS = 2
"""Number of batches whose graph is read: what differs between them is not a fact about the loss."""

_CLASSES = ("cross-entropy", "negative-log-likelihood", "log-likelihood")


class LossReader:
    """Read the graph under the loss at the first steps, and the targets in the batch at later ones."""

    def __init__(self) -> None:
        self._facts = LossFacts("unknown")
        self._entry = -1

    @property
    def wanted(self) -> bool:
        """Whether another batch should be read."""
        return self._facts.reads < READS

    def read(
        self,
        loss: Tensor,
        batch: Any,
        history: History,
        modules: Mapping[Any, str] | None = None,
        outputs: Mapping[Any, Tensor] | None = None,
    ) -> None:
        """Read the graph of a loss, before its backward pass. Waits for the device.

        Args:
            loss: the loss.
            batch: the batch, or None if it is not known.
            history: where the facts are kept.
            modules: names of modules by the node that made their output.
            outputs: outputs of the last modules by the node that made them.
        """
        found = loss_facts(loss, batch, modules, outputs)
        self._facts = found if not self._facts.reads else _agreed(self._facts, found)
        history.loss = self._facts
        known = [term.target for term in self._facts.terms if term.target is not None]
        self._entry = next((t.entry for t in known if t.entry >= 0 and not t.is_input), -1)
        if self._entry >= 0:
            history.unavailable.pop("target", None)
        else:
            history.unavailable["target"] = "the targets of this loss are not a tensor of the batch"

    def measure(self, readings: Readings, batch: Any) -> None:
        """Measure the targets in a batch, without waiting for the device.

        Args:
            readings: where the numbers go.
            batch: the batch.
        """
        if self._entry < 0:
            return
        found = _dense(batch)
        target = found[self._entry] if self._entry < len(found) else None
        if target is None or not target.numel() or target.is_complex():
            return
        columns = target.detach().reshape(len(target) if target.ndim else 1, -1).float()
        low, high = columns.amin(0), columns.amax(0)
        numbers = [low.amin(), high.amax(), (high - low).amax(), torch.full_like(low[0], len(columns))]
        readings.add("target", ("low", "high", "spread", "samples"), torch.stack(numbers))


def loss_facts(
    loss: Tensor,
    batch: Any = None,
    modules: Mapping[Any, str] | None = None,
    outputs: Mapping[Any, Tensor] | None = None,
) -> LossFacts:
    """Recognize a loss from its autograd graph.

    Args:
        loss: the loss of a batch, before its backward pass.
        batch: the batch: a tensor, or mappings, lists, tuples and dataclasses of tensors. With it more is
            known about targets.
        modules: names of modules by the node that made their output.
        outputs: outputs of the last modules by the node that made them.

    Returns:
        The facts. The kind of a loss that is not recognized is ``unknown``.
    """
    dense = _dense(batch)
    samples = next((len(t) for t in dense if t.ndim), 0)
    found = loss_terms(loss, modules or {})
    terms = [_term(term, samples, dense, outputs or {}) for term in found]
    kind, classes, baseline = _summary(found, terms)
    twice = any(
        (term.kind == "cross-entropy" and term.activation == "softmax")
        or (term.kind == "binary-cross-entropy-with-logits" and term.activation == "sigmoid")
        for term in terms
    )
    twice = twice and kind.endswith("cross-entropy")
    return LossFacts(kind, classes, baseline, twice, tuple(dict.fromkeys(terms)), reads=1)


def batch_size(batch: Any) -> int:
    """Return the number of samples of a batch: the length of its first tensor; 0 if it has none."""
    return next((len(t) for t in _dense(batch) if t.ndim), 0)


def batch_rms(batch: Any) -> Tensor | None:
    """Return the root mean square of the first tensor of a batch with real numbers, as one number."""
    inputs = next((t for t in _dense(batch) if t.is_floating_point() and t.ndim > 1 and t.numel()), None)
    return None if inputs is None else inputs.detach().float().square().mean().sqrt()[None]


def _dense(batch: Any) -> list[Tensor]:
    """Return the tensors of a batch whose numbers can be read in one piece."""
    return [t for t in tensors(batch) if t.layout is torch.strided and not t.is_meta and not t.is_nested]


def _term(term: Term, samples: int, batch: list[Tensor], outputs: Mapping[Any, Tensor]) -> LossTerm:
    feeding = term.feeding
    target = target_facts(term, outputs, batch)
    shape = feeding.output.shape
    samples = samples or (target.shape[0] if target is not None and target.shape else 0)
    return LossTerm(
        kind=term.kind,
        node=term.node.kind,
        source=feeding.source.kind,
        layer=feeding.layer,
        module=feeding.module,
        activation=feeding.activation,
        inner=feeding.inner,
        axis=feeding.axis,
        length=feeding.length,
        over_batch=_over_batch(feeding, target, samples),
        shape=shape,
        broadcast=feeding.broadcast,
        pairwise=feeding.pairwise,
        flipped=feeding.flipped,
        **_scores(term),
        negated=_is_negated(term),
        summed=term.summed,
        target=target,
    )


def _is_negated(term: Term) -> bool:
    """Return whether a lower loss is a worse fit. The logarithm of a probability must enter with a minus."""
    if term.node.kind in ("Log", "LogSoftmax") or log_softmax(term.node) is not None:
        return term.direction > 0 and (term.labelled or term.target is not None) and not term.feeding.flipped
    return term.direction < 0 and term.kind != "margin"


def _over_batch(feeding: Feeding, target: TargetFacts | None, samples: int) -> bool:
    """Return whether a softmax runs over the samples: its axis is the first one, as long as the batch."""
    shape = feeding.output.shape
    if feeding.axis == 1 < feeding.ndim - 1 and feeding.length == samples > 1:  # time comes first
        return feeding.layer and samples not in (shape[0], shape[-1])
    axes = ((feeding.axis, feeding.length), feeding.before)
    length = next((length for axis, length in axes if axis == 0), 0)
    if samples < 2 or not length or length % samples or not feeding.layer:
        return False
    if feeding.ndim < 2:  # one row of scores for the whole batch may be a ranking, with one right answer
        return length == samples and target is not None and target.rows_above > 0
    return feeding.ndim == 2 or (length == samples and len(shape) > 1 and shape[1] != samples)


def _scores(term: Term) -> dict[str, Any]:
    """Return what the numbers that go into a likelihood show: whether they are probabilities at all."""
    scores = term.scores
    if scores is None or not 0 < scores.numel() <= LARGEST or not scores.is_floating_point():
        return {}
    if term.kind in ("log-likelihood", "logarithm"):
        # A NaN comes from 0 / 0, so it counts as 0.
        lowest = float(scores.float().nan_to_num(0.0).amin())
        return {"lowest": lowest, "normalized": _sums_to_one(scores.float())}
    if term.kind == "negative-log-likelihood":
        return {"highest": _highest(scores, term.target), "normalized": _sums_to_one(scores.float().exp())}
    return {}


def _sums_to_one(probabilities: Tensor) -> bool:
    """Return whether numbers sum to 1 along the axis of classes, which is the second or the last one."""
    if probabilities.ndim < 2:
        return False
    return any(bool(((probabilities.sum(axis) - 1).abs() < 0.02).all()) for axis in (1, -1))


def _highest(scores: Tensor, target: Tensor | None) -> float:
    """Return the largest score of a label, which is not above 0 if scores are log-probabilities."""
    if target is None or scores.ndim < 2 or target.shape != scores.shape[:1] + scores.shape[2:]:
        return math.nan
    chosen = scores.gather(1, target.clamp(0, scores.shape[1] - 1).unsqueeze(1)).squeeze(1)
    chosen = chosen[target >= 0]
    return float(chosen.amax()) if chosen.numel() else math.nan


def _summary(found: list[Term], terms: list[LossTerm]) -> tuple[str, int, float]:
    """Return the kind of the loss, its classes and the loss of random guessing, from its first known term."""
    for raw, term in zip(found, terms, strict=True):
        node = raw.node.kind
        if node in NEGATIVE_LOG_LIKELIHOODS or term.kind == "cross-entropy":
            classes = term.shape[1] if len(term.shape) > 1 else 0
            if node in NEGATIVE_LOG_LIKELIHOODS and raw.scores is None and term.kind not in _CLASSES:
                continue
            if classes:
                return "cross-entropy", classes, math.log(classes)
        elif term.kind.startswith("binary-cross-entropy"):
            return "binary-cross-entropy", 0, math.log(2)
        elif node in ("MseLoss", "HuberLoss", "SmoothL1Loss") and raw.target is not None:
            return "squared", 0, float(raw.target.float().var(correction=0))
    return "unknown", 0, math.nan


def _agreed(first: LossFacts, second: LossFacts) -> LossFacts:
    """Return what two batches agree on, with the range of the targets of both."""
    left = list(second.terms)
    terms = []
    for term in first.terms:
        same = next((other for other in left if _same(term, other)), None)
        if same is None:
            continue
        left.remove(same)
        terms.append(
            replace(
                term,
                module=same.module or term.module,
                length=term.length if term.length == same.length else 0,
                over_batch=term.over_batch and same.over_batch,
                broadcast=same.broadcast if term.broadcast else (),
                shape=same.shape,
                lowest=min(term.lowest, same.lowest),
                highest=max(term.highest, same.highest),
                normalized=term.normalized or same.normalized,
                negated=term.negated and same.negated,
                summed=term.summed and same.summed,
                target=_both(term.target, same.target),
            )
        )
    known = second if first.kind == "unknown" else first
    return replace(known, terms=tuple(terms), reads=first.reads + 1)


def _same(one: LossTerm, other: LossTerm) -> bool:
    names = ("kind", "node", "source", "activation", "axis", "flipped")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _both(one: TargetFacts | None, other: TargetFacts | None) -> TargetFacts | None:
    if one is None or other is None:
        return one or other
    return replace(
        other,
        low=min(one.low, other.low),
        high=max(one.high, other.high),
        spread=max(one.spread, other.spread),
        rms=max(one.rms, other.rms),
        distinct=max(one.distinct, other.distinct) if one.distinct and other.distinct else 0,
        whole=one.whole and other.whole,
        rows_off=min(one.rows_off, other.rows_off),
        rows_above=min(one.rows_above, other.rows_above),
        beyond=min(one.beyond, other.beyond),
        entry=one.entry if one.entry == other.entry else -1,
    )
