"""Affine maps: `linear` and `Linear`."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._record import ROWS, Record

__all__ = ["Linear", "linear"]

_linear = Operation(
    Record(
        formulas.linear,
        formulas.linear_backward,
        formulas.linear_jvp,
        needs={"x": ("weight",), "weight": ("x",), "bias": ()},
        canonical=ROWS,
        raise_half=False,  # a matrix product already sums in float32 and rounds once, on the fast units
        autocast="lower",
    )
)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x W^T + b. Drop-in for torch.nn.functional.linear."""
    y: Tensor = _linear(input, weight, bias)
    return y


class Linear(torch.nn.Linear):
    r"""An affine map of the last axis."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)
