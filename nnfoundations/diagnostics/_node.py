"""Reads single nodes of an autograd graph: their kind, the shapes of their outputs, and what they saved.

Nothing here runs a part of the model again. A tensor that a saved-tensor hook packed, as in activation
checkpointing, is not read, because unpacking it would repeat the forward pass.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "CLAMPS",
    "UNCHANGED",
    "Edge",
    "edge_of",
    "option",
    "saved_indices",
    "saved_option",
    "saved_position",
    "saved_tensor",
]

UNCHANGED = (
    "Alias", "AsStrided", "Clone", "Expand", "Permute", "ReshapeAlias", "Select", "Slice", "Split", "Squeeze",
    "T", "ToCopy", "Transpose", "Unbind", "UnsafeView", "Unsqueeze", "View",
)  # fmt: skip
"""Kinds of nodes that pass on the same numbers in another shape, type or selection."""

CLAMPS = ("Clamp", "ClampMax", "ClampMin")
"""Kinds of nodes that limit numbers."""

_REORDERS = ("AsStrided", "Permute", "T", "Transpose")


class Edge(NamedTuple):
    """An output of a node.

    Args:
        node: the node.
        position: which of its outputs; most nodes have only one.
    """

    node: Any
    position: int = 0

    @property
    def kind(self) -> str:
        """The kind of the node: ``NllLossBackward0`` is ``NllLoss``. Python functions have no digit."""
        return str(self.node.name()).rstrip("0123456789").removesuffix("Backward").rpartition("::")[2]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the output; empty if torch does not tell it."""
        described = getattr(self.node, "_input_metadata", ())
        if self.position >= len(described) or described[self.position].is_nested_tensor:
            return ()
        return tuple(int(size) for size in described[self.position].shape)

    @property
    def device(self) -> torch.device:
        """The device of the output; the CPU if torch does not tell it."""
        described = getattr(self.node, "_input_metadata", ())
        known = self.position < len(described)
        return torch.device(described[self.position].device if known else "cpu")

    @property
    def inputs(self) -> "list[Edge | None]":
        """The inputs in order; None for one that needs no gradient."""
        return [None if node is None else Edge(node, position) for node, position in self.node.next_functions]

    @property
    def sources(self) -> "list[Edge]":
        """The inputs that need a gradient."""
        return [edge for edge in self.inputs if edge is not None]

    @property
    def reorders(self) -> bool:
        """Whether the node changes the order of the numbers."""
        return self.kind in _REORDERS and sum(size > 1 for size in self.shape) > 1


def edge_of(tensor: Tensor) -> Edge | None:
    """Return the output of the graph that a tensor is; None for a leaf."""
    return None if tensor.grad_fn is None else Edge(tensor.grad_fn, tensor.output_nr)


def saved_tensor(node: Any, *names: str) -> Tensor | None:
    """Return the first of these tensors that torch's own node saved; None if there is none or it is packed.

    Args:
        node: the node.
        names: names in torch's formulas, such as ``target``.
    """
    for name in names:
        raw = getattr(node, f"_raw_saved_{name}", None)
        if raw is None:
            continue
        if isinstance(raw, Sequence) or raw.unpack_hook is not None:
            return None
        value = _tensor(node, f"_saved_{name}")
        if value is not None:
            return value
    return None


def saved_position(node: Any, position: int) -> Tensor | None:
    """Return a tensor that a Python function saved, by position; None if there is none or it is packed."""
    raw = getattr(node, "_raw_saved_tensors", None)
    # All are unpacked together, so a hook on any of them counts.
    if not raw or position >= len(raw) or any(one.unpack_hook is not None for one in raw):
        return None
    try:
        value = node.saved_tensors[position]
    except RuntimeError:  # freed, or changed in place since
        return None
    return value.detach() if isinstance(value, Tensor) else None


def saved_indices(node: Any) -> tuple[Tensor | None, ...] | None:
    """Return the indices of ``x[indices]``, None for a whole axis; None for all if they are packed."""
    raw = getattr(node, "_raw_saved_indices", None)
    if raw is None or any(one is not None and one.unpack_hook is not None for one in raw):
        return None
    try:
        return tuple(node._saved_indices)
    except RuntimeError:  # freed, or changed in place since
        return None


def saved_option(node: Any, name: str) -> Any:
    """Return a number or a list that torch's own node saved; None if there is none."""
    value = getattr(node, f"_saved_{name}", None)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**63:
        return value - 2**64  # torch returns negative integers as unsigned ones
    return value


def option(node: Any, position: int) -> Any:
    """Return an option of a function of `nnfoundations.nn`, by its position; None for other functions."""
    values = getattr(node, "values", ())
    return values[position] if isinstance(values, tuple) and position < len(values) else None


def _tensor(node: Any, attribute: str) -> Tensor | None:
    try:
        value = getattr(node, attribute)
    except RuntimeError:  # freed, or changed in place since
        return None
    return value.detach() if isinstance(value, Tensor) else None
