"""Searches the autograd graph of a loss for its terms, before the backward pass frees it.

The graph is enough: no name, no import and no change of the user's code is needed. The search goes through
masks, means, weights and sums of several losses.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from nnfoundations.diagnostics._feeding import log_softmax
from nnfoundations.diagnostics._loss_scale import scale_of
from nnfoundations.diagnostics._loss_terms import (
    READERS,
    Term,
    divergence,
    squares,
)
from nnfoundations.diagnostics._node import CLAMPS, UNCHANGED, Edge, edge_of

__all__ = ["loss_terms"]

_PASSED = (
    *UNCHANGED, *CLAMPS, "Add", "Cat", "Diagonal", "Div", "Dot", "Gather", "Index",
    "IndexPut", "IndexSelect", "MaskedFill", "MaskedSelect", "Mean", "Mul", "NanToNum", "Nansum", "Neg",
    "Rsub", "Sqrt", "Stack", "Sub", "Sum", "WeightedLoss", "Where",
)  # fmt: skip
"""Kinds of nodes between the loss and its terms: reductions, weights, masks and sums."""

_MOST_NODES, _MOST_TERMS = 512, 16


def loss_terms(loss: Tensor, modules: Mapping[Any, str]) -> list[Term]:
    """Return the terms of a loss, the nearest to it first.

    Args:
        loss: the loss of a batch, before its backward pass.
        modules: names of modules by the node that made their output.
    """
    found: list[Term] = []
    unknown = False
    for edge, path in _nearest(loss):
        term = _recognized(edge, path, modules)
        if term is not None:
            term.direction, term.summed = scale_of(edge, path)
            found.append(term)
        else:
            unknown = unknown or not _is_penalty(edge)
        if len(found) == _MOST_TERMS:
            break
    for term in found:
        term.alone = not unknown and all(other is term or _smooths(other, term) for other in found)
    return found


def _nearest(loss: Tensor) -> Iterator[tuple[Edge, list[Edge]]]:
    """Yield the nodes that are no sum, weight or mask, breadth first, each with its way back to the loss."""
    start = edge_of(loss)
    queue: list[tuple[Edge, list[Edge]]] = [] if start is None else [(start, [])]
    seen: set[Any] = set()
    for edge, path in queue:
        if edge.node in seen or len(seen) >= _MOST_NODES:
            continue
        seen.add(edge.node)
        if edge.kind in _PASSED and not _is_term(edge):
            queue.extend((source, [edge, *path]) for source in edge.sources)
        else:
            yield edge, path


def _is_term(edge: Edge) -> bool:
    """Return whether a sum, a product or a difference is a term by itself."""
    if edge.kind == "Sub":
        return log_softmax(edge) is not None or divergence(edge) is not None
    return edge.kind == "Mul" and squares(edge)


def _is_penalty(edge: Edge) -> bool:
    """Return whether a node computes something of parameters alone, as their norm."""
    single = len(edge.inputs) == 1 and edge.kind != "Embedding"
    if edge.sources and (single or edge.kind in ("Cat", "Stack")):
        return all(_is_penalty(source) for source in edge.sources)
    return edge.kind == "AccumulateGrad"


def _smooths(other: Term, term: Term) -> bool:
    """Return whether a term without targets is the part of a cross-entropy that smooths its labels."""
    same = other.feeding.output.node is term.feeding.output.node
    return same and other.kind == term.kind == "cross-entropy" and other.target is None and term.labelled


def _recognized(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term | None:
    reader = READERS.get(edge.kind)
    if reader is None or not edge.sources:
        return None
    return reader(edge, path, modules)
