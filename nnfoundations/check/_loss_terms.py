"""Reads the terms of a loss from its autograd graph: their value, that of a guess, and their targets.

A loss may be a sum of terms and penalties, scaled or not. Each term is computed again as a mean, so that its
value can be compared with that of a network that has learned nothing, whatever the scale.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LossTerm", "broadcast_error", "loss_terms"]

Compute = Callable[[Tensor, Tensor, Any], Tensor]

_REGRESSION: dict[str, Compute] = {
    "MseLoss": lambda p, t, _: functional.mse_loss(p, t),
    "HuberLoss": lambda p, t, node: functional.huber_loss(p, t, delta=getattr(node, "_saved_delta", 1.0)),
    "SmoothL1Loss": lambda p, t, node: functional.smooth_l1_loss(
        p, t, beta=getattr(node, "_saved_beta", 1.0)
    ),
}
_BINARY: dict[str, Compute] = {
    "BinaryCrossEntropyWithLogits": lambda p, t, _: functional.binary_cross_entropy_with_logits(p, t),
    "BinaryCrossEntropy": lambda p, t, _: functional.binary_cross_entropy(p, t),
}
_CLASSES: dict[str, Compute] = {
    **dict.fromkeys(
        ("NllLoss", "NllLoss2D", "NllLossNd"),
        lambda p, t, node: functional.nll_loss(p, t, ignore_index=_signed(node._saved_ignore_index)),
    ),
    "CrossEntropy": lambda p, t, _: functional.cross_entropy(p, t),
    "SoftCrossEntropy": lambda p, t, _: functional.cross_entropy(p, t),
}


@dataclass(frozen=True)
class LossTerm:
    """A term of the loss, as the mean over its targets.

    Args:
        value: what the model scores in this batch.
        guess: what a network scores that has learned nothing: random guessing, or the mean of the targets.
        least: the smallest value that these targets allow; above 0 for soft ones.
        zero: for a regression, what a network scores that always predicts 0; else NaN.
        mean, std: of the targets of a regression; else NaN.
        numbers: how many target numbers the batch has.
    """

    value: float
    guess: float
    least: float = 0.0
    zero: float = math.nan
    mean: float = math.nan
    std: float = math.nan
    numbers: int = 0

    @property
    def is_unscaled(self) -> bool:
        """Whether the targets of a regression are so large or small that training suffers."""
        return abs(self.mean) > 10 or not (0.1 < self.std < 10 or math.isnan(self.std))


def loss_terms(loss: Tensor) -> list[LossTerm]:
    """Find the terms of known losses in the graph of `loss`.

    Args:
        loss: before its backward pass.

    Returns:
        Nothing if no loss is known.
    """
    terms = []
    for kind, node in _nearest(loss):
        found = _saved(node, kind)
        if found is None:
            continue
        prediction, target = (x.detach().float() if x.is_floating_point() else x for x in found)
        if kind in _REGRESSION:
            terms.append(_regression(_REGRESSION[kind], prediction, target.float(), node))
        elif kind in _BINARY:
            terms.append(_binary(_BINARY[kind], prediction, target, node, logits=kind.endswith("Logits")))
        else:
            terms.append(_of_classes(_CLASSES.get(kind, _soft), prediction, target, node))
    return terms


def broadcast_error(loss: Tensor) -> str:
    """Describe a prediction of N numbers that was broadcast against N targets to N x N; else return ''."""
    for kind, node in _nearest(loss):
        sources = [source for source, _ in node.next_functions if source is not None]
        if kind not in ("Expand", "Sub") or len(sources) != 1:  # two: a loss of pairs of predictions
            continue
        result, prediction = _shape(node), _shape(sources[0])
        n = math.prod(prediction)
        if n > 1 and result == (n, n) and prediction in ((n,), (n, 1)):
            target = (n, 1) if prediction == (n,) else (n,)
            return f"predictions of shape {prediction} and targets of shape {target} broadcast to {result}"
    return ""


def _regression(compute: Compute, prediction: Tensor, target: Tensor, node: Any) -> LossTerm:
    return LossTerm(
        value=float(compute(prediction, target, node)),
        guess=float(compute(target.mean().expand_as(target), target, node)),
        zero=float(compute(torch.zeros_like(target), target, node)),
        mean=float(target.mean()),
        std=float(target.std(correction=0)),
        numbers=target.numel(),
    )


def _binary(compute: Compute, prediction: Tensor, target: Tensor, node: Any, *, logits: bool) -> LossTerm:
    target = target.to(prediction.dtype)
    least = functional.binary_cross_entropy(target, target)
    undecided = torch.full_like(prediction, 0.0 if logits else 0.5)
    return LossTerm(
        value=float(compute(prediction, target, node)),
        guess=float(compute(undecided, target, node)),
        least=float(least),
        numbers=target.numel(),
    )


def _of_classes(compute: Compute, prediction: Tensor, target: Tensor, node: Any) -> LossTerm:
    soft = target.is_floating_point()
    least = float(torch.special.entr(target).sum(1).mean()) if soft else 0.0
    return LossTerm(
        value=float(compute(prediction, target, node)),
        guess=math.log(prediction.shape[1]),
        least=least,
        numbers=target.numel(),
    )


def _soft(log_probabilities: Tensor, target: Tensor, _: Any) -> Tensor:
    return -(log_probabilities * target).sum(1).mean()


def _saved(node: Any, kind: str) -> tuple[Tensor, Tensor] | None:
    """Prediction and target of a node of a known loss."""
    pair: tuple[Any, ...]
    try:
        if kind == "Mul":  # torch has no node for cross-entropy with soft targets
            below = node.next_functions[0][0]
            is_soft = below is not None and _kind(below) == "LogSoftmax"
            pair = (below._saved_result, node._saved_other) if is_soft else ()
        elif kind not in _REGRESSION | _BINARY | _CLASSES:
            return None
        elif hasattr(node, "_saved_self"):
            pair = (node._saved_self, node._saved_target)
        else:  # an autograd.Function in Python
            pair = node.saved_tensors[:2]
    except (RuntimeError, AttributeError):  # freed, or of another form in this version of torch
        return None
    known = len(pair) == 2 and all(isinstance(x, Tensor) and x.numel() for x in pair)
    return (pair[0], pair[1]) if known else None


def _signed(number: int) -> int:
    """Undo the cast of torch, which reports -100 as 2**64 - 100."""
    return number - 2**64 if number >= 2**63 else number


def _nearest(loss: Tensor, most: int = 64) -> Iterator[tuple[str, Any]]:
    """The nodes of the graph nearest to the loss, with their kinds, breadth first."""
    queue: deque[Any] = deque([loss.grad_fn])
    seen: set[Any] = set()
    while queue and len(seen) < most:
        node = queue.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield _kind(node), node
        queue.extend(following for following, _ in node.next_functions)


def _kind(node: Any) -> str:
    """``NllLossBackward0`` -> ``NllLoss``."""
    name: str = node.name()
    return name.rstrip("0123456789").removesuffix("Backward")


def _shape(node: Any) -> tuple[int, ...]:
    metadata = getattr(node, "_input_metadata", ())
    return tuple(metadata[0].shape) if metadata else ()
