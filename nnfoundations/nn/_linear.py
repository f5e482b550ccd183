"""Affine maps: `linear` and `Linear`."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._operation import Operation, autocasting
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import ROWS, Record

__all__ = ["Linear", "linear"]

_linear = Operation(
    Record(
        formulas.linear,
        formulas.linear_backward,
        formulas.linear_jvp,
        needs={"x": ("weight",), "weight": ("x",), "bias": ()},
        canonical=ROWS,
        raise_half=False,  # a product of matrices sums in float32 and rounds once, on the fast units
        autocast="lower",
    )
)


@overridable
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x W^T + b over the last axis of x. Drop-in for torch.nn.functional.linear."""
    _check(input, weight, bias)
    if bias is not None and weight.ndim == 2 and bias.ndim < 2 and bias.shape != weight.shape[:1]:
        bias = bias.expand(weight.shape[0])  # one number for all outputs, as torch allows
    if weight.ndim == 1:
        return linear(input, weight.unsqueeze(0), None if bias is None else bias.reshape(1)).squeeze(-1)
    y: Tensor = _linear(input, weight, bias)
    return y


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if weight.ndim not in (1, 2):
        raise ShapeError(
            f"Linear needs a weight of shape (out, in) or (in); got {tuple(weight.shape)}. Reshape it."
        )
    if x.ndim == 0 or x.shape[-1] != weight.shape[-1]:
        fix = f", or build Linear({x.shape[-1]}, ...)" if x.ndim else ""
        raise ShapeError(
            f"Linear needs x to end in {weight.shape[-1]} features; got {tuple(x.shape)}. "
            f"Move the features last{fix}."
        )
    if bias is not None and bias.shape != weight.shape[:-1] and bias.numel() != 1:
        raise ShapeError(
            f"Linear needs a bias of shape {tuple(weight.shape[:-1])}; got {tuple(bias.shape)}. "
            "Give one number an output feature."
        )
    if x.dtype != weight.dtype or (bias is not None and bias.dtype != weight.dtype):
        if autocasting(x):
            return
        found = f"{x.dtype}, {weight.dtype}" + ("" if bias is None else f", {bias.dtype}")
        raise DtypeError(
            f"Linear needs x, weight and bias of one dtype; got {found}. "
            f"Convert x with .to({weight.dtype}), or the module with .to({x.dtype})."
        )


class Linear(torch.nn.Linear, metaclass=DropIn):
    r"""Map the last axis by a matrix and shift it.

    .. math:: y = x W^\top + b

    Backward: :math:`\bar x = \bar y W`, :math:`\bar W = \bar y^\top x`, :math:`\bar b = \sum \bar y`.

    Shape: x `(*, in_features)` -> `(*, out_features)`; weight `(out_features, in_features)`; bias
        `(out_features,)`.
    Args: in_features, out_features: sizes of the last axis. bias: False leaves b out.
    Raises: ShapeError: x does not end in `in_features`. DtypeError: x and weight differ in dtype.
    Source: drop-in for torch.nn.Linear, whose construction and initial values it inherits.

    >>> Linear(3, 2)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*, in_features) -> (*, out_features)."""
        return linear(input, self.weight, self.bias)
