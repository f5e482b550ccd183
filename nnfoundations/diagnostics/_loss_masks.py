"""Finds the elements of a loss that a mask or a weight of 0 removes, between the loss and its mean."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nnfoundations.diagnostics._element_places import SAME_ORDER, part_of, places_after
from nnfoundations.diagnostics._node import Edge, saved_indices, saved_position, saved_tensor

__all__ = ["Counted", "UnclearError", "counted_elements"]

_SUMS = ("Dot", "Nansum", "Sum")
_UNKNOWN_PARTS = ("AsStrided", "Diagonal", "Gather", "IndexSelect", "Split", "Unbind")
"""Kinds of nodes that pass on a part of the elements, and do not keep which part in a form read here."""


class UnclearError(Exception):
    """The graph does not show which elements count."""


class Counted(NamedTuple):
    """Which elements count, as a flat mask (None for all), and whether a mean divides by all nevertheless."""

    kept: Tensor | None = None
    diluted: bool = False


def counted_elements(elements: Edge, path: Sequence[Edge]) -> Counted:
    """Return which elements count. Does not wait for the device: whether a mask removes any is not asked.

    Args:
        elements: the losses of the single elements.
        path: the nodes between them and the loss, the nearest first.

    Raises:
        UnclearError: elements are removed in a way that is not understood.
    """
    if math.prod(elements.shape) <= 1:
        return Counted()
    kept: Tensor | None = None
    moves: list[Callable[[], Tensor]] = []
    child, known, zeros, diluted = elements, True, False, False
    for parent in path:
        mask = _mask(parent, child)
        if mask is not None:
            if not known:
                raise UnclearError
            mask = _of_elements(mask.reshape(-1), moves)
            kept = mask if kept is None else kept & mask
            zeros = zeros or parent.kind not in ("Index", "MaskedSelect", "Select", "Slice")
        diluted, zeros = diluted or (zeros and parent.kind == "Mean"), zeros and parent.kind not in _SUMS
        if parent.kind not in SAME_ORDER or math.prod(parent.shape) != math.prod(child.shape):
            move = places_after(parent, child)
            known = known and move is not None
            moves += [] if move is None else [move]
        child = parent
    return Counted(kept, diluted)


def _of_elements(mask: Tensor, moves: Sequence[Callable[[], Tensor]]) -> Tensor:
    """Return for each element what a mask says about the place at which it has arrived."""
    for places in reversed(moves):
        mask = mask[places()]
    return mask


def _mask(parent: Edge, child: Edge) -> Tensor | None:
    """Return which elements of `child` this node keeps, in its shape; None if it removes none."""
    if parent.kind in _UNKNOWN_PARTS:
        raise UnclearError
    if not child.shape:
        return None
    if parent.kind in ("Select", "Slice"):
        return part_of(parent, child)
    if parent.kind in ("Index", "IndexPut"):
        taken = _indexed(parent.node, child.shape)
        return taken if parent.kind == "Index" else ~taken if _is_first(parent, child) else None
    mask = _condition(parent, child)
    if mask is None or not mask.ndim:  # a single factor weights all elements alike
        return None
    try:
        return mask.expand(child.shape)
    except RuntimeError:
        raise UnclearError from None


def _condition(parent: Edge, child: Edge) -> Tensor | None:
    """Return the mask of a product, of `torch.where` and the like, before it is broadcast."""
    kind, node = parent.kind, parent.node
    if kind in ("Dot", "Mul", "WeightedLoss") and len(parent.sources) == 1:  # two: the weight is learned
        weight = saved_position(node, 1) if kind == "WeightedLoss" else saved_tensor(node, *_FACTORS[kind])
        return None if weight is None else weight != 0
    if kind == "MaskedSelect":
        return saved_tensor(node, "mask")
    if kind == "MaskedFill":
        filled = saved_tensor(node, "mask")
        return None if filled is None else ~filled
    if kind == "Where":
        condition = saved_tensor(node, "condition")
        return condition if condition is None or _is_first(parent, child) else ~condition
    return None


_FACTORS = {"Dot": ("tensor", "self"), "Mul": ("other", "self")}
"""Names of the factors that a node of a product may have saved."""


def _is_first(parent: Edge, child: Edge) -> bool:
    inputs = parent.inputs
    return bool(inputs) and inputs[0] is not None and inputs[0].node is child.node


def _indexed(node: Any, shape: tuple[int, ...]) -> Tensor:
    saved = saved_indices(node)
    if saved is None:
        raise UnclearError
    indices = tuple(slice(None) if one is None else one for one in saved)
    device = next((one.device for one in indices if isinstance(one, Tensor)), None)
    mask = torch.zeros(shape, dtype=torch.bool, device=device)
    mask[indices] = True
    return mask
