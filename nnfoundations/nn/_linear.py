"""Affine maps: `linear` and `Linear`."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._operation import Operation, autocast_enabled
from nnfoundations.nn._operation_spec import ROWS, OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["Linear", "linear"]

_linear = Operation(
    OperationSpec(
        formulas.linear,
        formulas.linear_backward,
        formulas.linear_jvp,
        needs={"x": ("weight",), "weight": ("x",), "bias": ()},
        canonical=ROWS,
        raise_half=False,  # a half-precision matrix product already sums in float32 and rounds once
        autocast="lower",
    )
)


@supports_torch_function
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply an affine map to the last axis: y = x W^T + b.

    Drop-in for torch.nn.functional.linear.

    Args:
        input: `(*, in_features)`.
        weight: W, `(out_features, in_features)`, or `(in_features,)` for a single output.
        bias: b, `(out_features,)`, or one number for all outputs.

    Returns:
        Tensor `(*, out_features)`.

    Raises:
        ShapeError: input, weight and bias have incompatible shapes.
        DtypeError: input, weight and bias differ in dtype.
    """
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
            "Give one number per output feature."
        )
    if x.dtype != weight.dtype or (bias is not None and bias.dtype != weight.dtype):
        if autocast_enabled(x):
            return
        found = f"{x.dtype}, {weight.dtype}" + ("" if bias is None else f", {bias.dtype}")
        raise DtypeError(
            f"Linear needs x, weight and bias of one dtype; got {found}. "
            f"Convert x with .to({weight.dtype}), or the module with .to({x.dtype})."
        )


class Linear(torch.nn.Linear, metaclass=DropIn):
    r"""Multiply the last axis by a matrix and add a bias.

    .. math:: y = x W^\top + b

    Backward: :math:`\bar x = \bar y W`, :math:`\bar W = \bar y^\top x`, :math:`\bar b = \sum \bar y`.

    Shape:
        input: `(*, in_features)`.
        output: `(*, out_features)`.
        weight: `(out_features, in_features)`.
        bias: `(out_features,)`.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias: False removes b.

    Raises:
        ShapeError: input does not end in `in_features`.
        DtypeError: input and weight differ in dtype.

    Source:
        Drop-in for torch.nn.Linear; it inherits construction and initial values.

    Example:
        >>> Linear(3, 2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return linear(input, self.weight, self.bias)
