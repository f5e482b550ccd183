"""Activations: `relu` and `ReLU`."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import DtypeError
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = ["ReLU", "relu"]

_relu = Operation(
    Record(
        formulas.relu,
        formulas.relu_backward,
        jvp=formulas.relu_backward,  # elementwise: the Jacobian is its own transpose
        needs={"x": ("y",)},
    )
)


@overridable
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = max(x, 0). Drop-in for torch.nn.functional.relu."""
    _check("ReLU", input)
    return _written(input, _relu(input), inplace)


def _check(name: str, x: Tensor) -> None:
    if x.dtype == torch.bool or x.is_complex():
        raise DtypeError(f"{name} needs real numbers; got {x.dtype}. Convert x with .to(torch.float32).")


def _written(x: Tensor, y: Tensor, inplace: bool) -> Tensor:
    """y, or x holding y: the same object, its version counted up, as after an operation in place."""
    return x.copy_(y) if inplace else y


class ReLU(torch.nn.ReLU):
    r"""Pass what is positive, silence the rest.

    .. math:: y = \max(x, 0), \qquad y' = [x > 0]

    Does not saturate above zero; a unit that is negative on every sample gets no gradient and is dead.

    Shape: x `(*)` -> `(*)`.
    Args: inplace: write y over x.
    Raises: DtypeError: x is boolean or complex.
    Source: Nair and Hinton 2010. Drop-in for torch.nn.ReLU.

    >>> ReLU()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return relu(input, self.inplace)
