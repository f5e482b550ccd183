"""Follows the elements of a tensor through nodes that change their order, take a part or sum them."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nnfoundations.diagnostics._node import CLAMPS, Edge, saved_indices, saved_option, saved_tensor

__all__ = ["SAME_ORDER", "part_of", "places_after"]

SAME_ORDER = (
    *CLAMPS, "Abs", "Add", "Alias", "Clone", "Div", "Exp", "IndexPut", "MaskedFill", "Mul", "NanToNum", "Neg",
    "Pow", "ReshapeAlias", "Rsub", "Sqrt", "Squeeze", "Sub", "ToCopy", "UnsafeView", "Unsqueeze", "View",
    "WeightedLoss", "Where",
)  # fmt: skip
"""Kinds of nodes that keep the order of elements as long as they keep their number."""


def places_after(parent: Edge, child: Edge) -> Callable[[], Tensor] | None:
    """Return a function that computes where each element of `child` stands in `parent`, as flat indices.

    An element that is left out has any index.

    Args:
        parent: a node.
        child: its input.

    Returns:
        The function; None if the places are not known.
    """
    if parent.kind in ("Permute", "T", "Transpose"):
        return lambda: _permuted(parent, child)
    if parent.kind in ("Mean", "Nansum", "Sum"):
        return lambda: _summed(parent, child)
    if parent.kind in ("Select", "Slice"):
        return lambda: _taken(parent, child)
    mask = _selection(parent)
    if mask is not None and mask.dtype is torch.bool and tuple(mask.shape) == child.shape:
        return lambda: (mask.reshape(-1).cumsum(0) - 1).clamp(min=0)
    return None


def part_of(parent: Edge, child: Edge) -> Tensor:
    """Return which elements of `child` a slice or a selection takes, as a mask in its shape."""
    mask = torch.zeros(child.shape, dtype=torch.bool, device=child.device)
    mask[_part(parent)] = True
    return mask


def _permuted(parent: Edge, child: Edge) -> Tensor:
    axes = list(range(len(child.shape)))
    if parent.kind == "Permute":
        axes = [axis % len(axes) for axis in _integers(saved_option(parent.node, "dims"))]
    elif len(axes) > 1:
        one, other = (saved_option(parent.node, name) for name in ("dim0", "dim1"))
        one, other = (0, 1) if one is None else (one, other)
        axes[one], axes[other] = axes[other], axes[one]
    back = sorted(range(len(axes)), key=lambda place: axes[place])
    return _numbered(parent.shape, parent).permute(back).reshape(-1)


def _summed(parent: Edge, child: Edge) -> Tensor:
    """Return the places of sums along some axes, the same for all elements of a sum."""
    axes = _integers(saved_option(parent.node, "dim")) or range(len(child.shape))
    reduced = {axis % len(child.shape) for axis in axes}
    shape = tuple(1 if axis in reduced else size for axis, size in enumerate(child.shape))
    return _numbered(shape, parent).expand(child.shape).reshape(-1)


def _taken(parent: Edge, child: Edge) -> Tensor:
    places = torch.zeros(child.shape, dtype=torch.int64, device=child.device)
    places[_part(parent)] = _numbered(parent.shape, parent)
    return places.reshape(-1)


def _selection(parent: Edge) -> Tensor | None:
    """Return the single index of a selection."""
    if parent.kind == "MaskedSelect":
        return saved_tensor(parent.node, "mask")
    indices = saved_indices(parent.node) if parent.kind == "Index" else None
    return indices[0] if indices is not None and len(indices) == 1 else None


def _part(parent: Edge) -> tuple[Any, ...]:
    """Return the index of a slice or a selection."""
    names = ("index",) if parent.kind == "Select" else ("start", "end", "step")
    axis, *limits = (saved_option(parent.node, name) for name in ("dim", *names))
    part = limits[0] if parent.kind == "Select" else slice(*limits)
    before = [slice(None)] * axis if axis >= 0 else [...]
    return (*before, part, *[slice(None)] * (-1 - axis))


def _numbered(shape: tuple[int, ...], edge: Edge) -> Tensor:
    return torch.arange(math.prod(shape), device=edge.device).reshape(shape)


def _integers(values: Any) -> list[int]:
    """Return axes that torch saved; it returns negative ones as large unsigned numbers."""
    axes = [values] if isinstance(values, int) else list(values or ())
    return [axis - 2**64 if axis >= 2**63 else axis for axis in axes]
