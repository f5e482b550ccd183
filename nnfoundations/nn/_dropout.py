"""Dropout: draws the masks with torch's generator and passes them to the formulas.

On the CPU, masks and final random state equal torch's for the same random seed, bit for bit. CUDA's fused
kernels draw in another order, which cannot be reproduced.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import write_if_inplace
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._operation_spec import OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = [
    "Dropout",
    "apply_dropout",
    "check_probability",
    "drop_and_scale",
    "dropout",
    "mask_per_channel",
    "mask_per_element",
]

_dropout = Operation(
    OperationSpec(
        formulas.dropout, formulas.dropout_backward, formulas.dropout_backward, needs={"x": ("mask",)}
    )
)


@supports_torch_function
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Set each element to zero with probability p and divide the others by 1 - p.

    Drop-in for torch.nn.functional.dropout.

    Args:
        input: tensor of any shape.
        p: probability of a zero.
        training: False returns the input unchanged.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.
    """
    return apply_dropout("Dropout", drop_and_scale, mask_per_element, input, p, training, inplace)


def apply_dropout(
    name: str,
    drop: Callable[[Tensor, Tensor, float], Tensor],
    make: Callable[[Tensor], Tensor],
    x: Tensor,
    p: float,
    training: bool,
    inplace: bool,
) -> Tensor:
    """Draw a mask of the shape that `make` gives, and drop with it.

    `name` is for error messages. `drop` combines the input, the mask and p.
    """
    check_probability(name, p)
    if p == 0 or not training or x.numel() == 0:
        return x
    if p == 1:
        return write_if_inplace(x, _dropout(x, x.new_zeros(())), inplace)
    if not (x.is_floating_point() or x.is_complex()):
        raise DtypeError(
            f"{name} needs floating-point numbers; got {x.dtype}. Convert x with .to(torch.float32)."
        )
    return write_if_inplace(x, drop(x, _draw_mask(make(x), p), p), inplace)


def _draw_mask(mask: Tensor, p: float) -> Tensor:
    """Draw ones with probability 1 - p, else zeros.

    Under vmap a new tensor is drawn: only that can be either shared or different for each sample.
    """
    if torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling():
        return torch.bernoulli(torch.empty(mask.shape, dtype=mask.dtype, device=mask.device), 1 - p)
    return mask.bernoulli_(1 - p)


def drop_and_scale(x: Tensor, mask: Tensor, p: float) -> Tensor:
    """Set elements with mask 0 to zero and divide the others by 1 - p."""
    y: Tensor = _dropout(x, mask.div_(1 - p))
    return y


def mask_per_element(x: Tensor) -> Tensor:
    """Allocate a mask with one value per element."""
    return torch.empty_like(x, dtype=_real_dtype(x))


def _real_dtype(x: Tensor) -> torch.dtype:
    return x.dtype.to_real() if x.is_complex() else x.dtype


def mask_per_channel(x: Tensor) -> Tensor:
    """Allocate a mask with one value per sample and channel."""
    if x.ndim < 2:
        raise ShapeError(
            f"Dropout of channels needs x of shape (N, C, ...); got {tuple(x.shape)}. Use Dropout."
        )
    return x.new_empty((*x.shape[:2], *(1,) * (x.ndim - 2)), dtype=_real_dtype(x))


def check_probability(name: str, p: float) -> None:
    """Raise OptionError unless p is from 0 to 1."""
    if not 0 <= p <= 1:
        raise OptionError(f"{name} needs a probability p from 0 to 1; got {p}. Use 0.5.")


class Dropout(torch.nn.Dropout, metaclass=DropIn):
    r"""Set each feature to zero with probability p during training, and scale up the others.

    .. math:: y = m x, \qquad y' = m, \qquad m = \begin{cases} 0 & \text{with chance } p \\
        1 / (1 - p) & \text{else} \end{cases}

    Does nothing in evaluation. It reduces overfitting after layers with many weights; it helps little
    together with batch normalization.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        p: probability of a zero.
        inplace: write the result into `input`.

    Raises:
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.

    Source:
        Srivastava et al. 2014. Drop-in for torch.nn.Dropout; with the same random seed it draws torch's mask
        on the CPU.

    Example:
        >>> Dropout().eval()(torch.ones(3))
        tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return dropout(input, self.p, self.training, self.inplace)
