"""A term of a loss, and which of its targets count."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from nnfoundations.diagnostics._feeding import Feeding
from nnfoundations.diagnostics._loss_masks import UnclearError, counted_elements
from nnfoundations.diagnostics._loss_weights import counted_labels
from nnfoundations.diagnostics._node import CLAMPS, UNCHANGED, Edge, saved_indices, saved_tensor

__all__ = ["Term", "count_elements", "find_targets"]


@dataclass
class Term:
    """A term of a loss as the graph shows it, with tensors.

    Args:
        kind: as in `LossTerm`.
        node: the node of the term.
        feeding: what feeds it.
        scores: the numbers that it takes, if the graph kept them.
        target: its targets, if the graph kept them.
        residual: output minus targets, in place of them; `sign` is -1 for targets minus output.
        kept: which elements count, as a flat mask; None for all.
        clear: whether it is known which elements count.
        diluted: whether a mean divides also by the number of elements that do not count.
        alone: whether the loss has no other term, but for penalties of weights.
        labelled: whether its targets are labels that select a score.
        direction: the sign with which the value of its node enters the loss; 0 if unknown.
        summed: whether the loss is the sum over its elements and not their mean.
    """

    kind: str
    node: Edge
    feeding: Feeding
    scores: Tensor | None = None
    target: Tensor | None = None
    residual: Tensor | None = None
    sign: int = 1
    kept: Tensor | None = None
    clear: bool = True
    diluted: bool = False
    alone: bool = False
    labelled: bool = False
    direction: int = 0
    summed: bool = False


def count_elements(term: Term, edge: Edge, path: Sequence[Edge]) -> None:
    """Set which targets count: those of the elements that no mask removes after `edge`."""
    target = term.target
    try:
        term.kept, term.diluted = counted_elements(edge, path)
    except UnclearError:
        term.clear = False
        return
    if target is None or (term.kept is None and not term.labelled):
        return
    if term.kept is not None and target.numel() != term.kept.numel():
        term.kept = _of_classes(term.kept.reshape(edge.shape), target)
        term.clear = term.kept is not None
    if term.labelled and edge.node is term.node.node and term.clear:
        known = counted_labels(edge, target)
        term.kept = known if term.kept is None else term.kept & known


def _of_classes(kept: Tensor, target: Tensor) -> Tensor | None:
    """Return a mask of samples for targets that have classes on axis 1; None if they have not."""
    axis = min(1, target.ndim - 1)
    if kept.shape != target.shape[:axis] + target.shape[axis + 1 :]:
        return None
    return kept.unsqueeze(axis).expand(target.shape).reshape(-1)


def find_targets(term: Term, edge: Edge, path: Sequence[Edge]) -> None:
    """Set what log-probabilities are multiplied with as targets, or the labels that select them."""
    for place, parent in enumerate(path):
        if parent.kind == "Mul":
            term.target = _factor(parent, edge)
        elif parent.kind in ("Gather", "Index"):
            term.target, term.labelled = _selecting(parent)
        elif parent.kind not in (*UNCHANGED, *CLAMPS, "Neg", "Div"):
            break
        if term.target is not None:
            count_elements(term, parent, path[place + 1 :])
        if term.target is not None or parent.kind in ("Gather", "Index"):
            break


def _factor(product: Edge, edge: Edge) -> Tensor | None:
    """Return the constant factor that a product has for each element of `edge`."""
    weight = saved_tensor(product.node, "other", "self") if len(product.sources) == 1 else None
    if weight is None or not weight.ndim or weight.numel() != math.prod(edge.shape):
        return None
    return weight.reshape(edge.shape)


def _selecting(parent: Edge) -> tuple[Tensor | None, bool]:
    """Return the labels that select log-probabilities, and whether these are labels at all."""
    if parent.kind == "Gather":
        return saved_tensor(parent.node, "index"), True
    labels = [one for one in saved_indices(parent.node) or () if one is not None]
    return (labels[-1], True) if len(labels) > 1 else (None, False)
