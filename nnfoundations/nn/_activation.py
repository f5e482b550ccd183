"""Activations: `relu` and `ReLU`."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._record import Record

__all__ = ["ReLU", "relu"]

_relu = Operation(
    Record(formulas.relu, formulas.relu_backward, jvp=formulas.relu_backward, needs={"x": ("y",)})
)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = max(x, 0). Drop-in for torch.nn.functional.relu."""
    y: Tensor = _relu(input)
    return input.copy_(y) if inplace else y


class ReLU(torch.nn.ReLU):
    r"""The rectifier."""

    def forward(self, input: Tensor) -> Tensor:
        return relu(input, self.inplace)
