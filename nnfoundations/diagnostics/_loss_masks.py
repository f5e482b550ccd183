"""Finds the elements of a loss that a mask or a weight of 0 removes, between the loss and its mean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nnfoundations.diagnostics._node import Edge, saved_indices, saved_position, saved_tensor

__all__ = ["UnclearError", "kept_elements"]

_SAME_ORDER = (
    "Abs", "Add", "Alias", "Clone", "Div", "Exp", "NanToNum", "Neg", "Pow", "ReshapeAlias", "Sqrt", "Squeeze",
    "Sub", "ToCopy", "UnsafeView", "Unsqueeze", "View",
)  # fmt: skip
_REDUCTIONS = ("Mean", "Nansum", "Sum")


class UnclearError(Exception):
    """The graph does not show which elements count."""


def kept_elements(elements: Edge, path: Sequence[Edge]) -> Tensor | None:
    """Return which elements count, as a flat mask; None for all.

    Args:
        elements: the losses of the single elements.
        path: the nodes between them and the loss, the nearest first.

    Raises:
        UnclearError: elements are removed in a way that is not understood.
    """
    size = _count(elements.shape)
    if size <= 1:
        return None
    kept: Tensor | None = None
    child, reduced = elements, False
    for parent in path:
        mask = _mask(parent, child)
        if mask is not None and (reduced or mask.numel() != size):
            if not bool(mask.all()):
                raise UnclearError
        elif mask is not None:  # whether it removes any is not asked, because that would wait for the device
            mask = mask.reshape(-1)
            kept = mask if kept is None else kept & mask
        if parent.kind in ("Index", "MaskedSelect"):
            break
        reduced = reduced or parent.kind in _REDUCTIONS
        if not reduced and parent.kind not in (*_SAME_ORDER, "Mul", "MaskedFill", "WeightedLoss", "Where"):
            break  # what follows is in another order
        child = parent
    return kept


def _mask(parent: Edge, child: Edge) -> Tensor | None:
    """Return which elements of `child` this node keeps, in its shape; None if it removes none."""
    kind, node = parent.kind, parent.node
    mask: Tensor | None = None
    if kind in ("Mul", "WeightedLoss") and len(parent.sources) == 1:  # two sources: the weight is learned
        weight = saved_tensor(node, "other", "self") if kind == "Mul" else saved_position(node, 1)
        mask = None if weight is None else weight != 0
    elif kind == "MaskedSelect":
        mask = saved_tensor(node, "mask")
    elif kind == "MaskedFill":
        filled = saved_tensor(node, "mask")
        mask = None if filled is None else ~filled
    elif kind == "Where":
        condition = saved_tensor(node, "condition")
        first = bool(parent.inputs) and parent.inputs[0] is not None and parent.inputs[0].node is child.node
        mask = condition if first or condition is None else ~condition
    elif kind == "Index":
        return _indexed(node, child.shape)
    if mask is None or not child.shape:
        return None
    try:
        return mask.expand(child.shape)
    except RuntimeError:
        raise UnclearError from None


def _indexed(node: Any, shape: tuple[int, ...]) -> Tensor:
    saved = saved_indices(node)
    if saved is None:
        raise UnclearError
    indices = tuple(slice(None) if one is None else one for one in saved)
    device = next((one.device for one in indices if isinstance(one, Tensor)), None)
    mask = torch.zeros(shape, dtype=torch.bool, device=device)
    mask[indices] = True
    return mask


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
