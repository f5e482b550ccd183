"""Reads with which sign, and summed or averaged, a term enters a loss."""

import math
from collections.abc import Sequence

from torch import Tensor

from nnfoundations.diagnostics._node import UNCHANGED, Edge, saved_option, saved_tensor

__all__ = ["scale_of"]

_SAME_SIGN = (
    *UNCHANGED, "Add", "Cat", "Diagonal", "Gather", "Index", "IndexSelect", "MaskedFill", "MaskedSelect",
    "Mean", "Nansum", "NanToNum", "Sqrt", "Stack", "Sum", "WeightedLoss", "Where",
)  # fmt: skip
_SUM = 2
"""The value of ``reduction="sum"`` in torch's nodes."""


def scale_of(term: Edge, path: Sequence[Edge]) -> tuple[int, bool]:
    """Return the sign of a term in its loss (0 if unknown), and whether its elements are only summed.

    Args:
        term: the node of the term.
        path: the nodes between it and the loss, the nearest first.
    """
    factor, child = 1.0, term
    summed, averaged = saved_option(term.node, "reduction") == _SUM, False
    for parent in path:
        factor *= _factor(parent, child)
        summed = summed or (parent.kind in ("Sum", "Nansum") and math.prod(child.shape) > 1)
        averaged = averaged or parent.kind == "Mean"
        child = parent
    sign = 0 if factor != factor else int(factor > 0) - int(factor < 0)
    return sign, summed and not averaged and abs(factor) >= 1


def _factor(parent: Edge, child: Edge) -> float:
    """Return the number by which a node multiplies one of its inputs; NaN if there is no single one."""
    kind, inputs = parent.kind, parent.inputs
    second = len(inputs) > 1 and inputs[1] is not None and inputs[1].node is child.node
    if kind in ("Neg", "Rsub"):
        return -1.0
    if kind == "Sub":
        return -1.0 if second else 1.0
    if kind in ("Mul", "Div"):
        if len(parent.sources) > 1 or (kind == "Div" and second):
            return math.nan
        value = _single(saved_tensor(parent.node, "other", "self"))
        return 1 / value if kind == "Div" and value else value
    return 1.0 if kind in _SAME_SIGN else math.nan


def _single(value: Tensor | None) -> float:
    return float(value) if value is not None and value.numel() == 1 and not value.is_complex() else math.nan
