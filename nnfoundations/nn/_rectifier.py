"""Rectified linear units: `relu`, `leaky_relu`, `prelu`, `rrelu` and their modules."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import (
    check_floating,
    check_real,
    clone_if_inplace,
    elementwise,
    write_if_inplace,
)
from nnfoundations.nn._operation import Operation, autocast_enabled, is_tracing_or_transforming
from nnfoundations.nn._operation_spec import OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["LeakyReLU", "PReLU", "RReLU", "ReLU", "leaky_relu", "prelu", "relu", "rrelu"]

_relu = elementwise(formulas.relu, formulas.relu_backward)
_leaky_relu = elementwise(formulas.leaky_relu, formulas.leaky_relu_backward)
_prelu = Operation(
    OperationSpec(
        formulas.prelu,
        formulas.prelu_backward,
        formulas.prelu_jvp,
        needs={"x": ("x", "weight"), "weight": ("x", "weight")},
        autocast="lower",
    )
)
_multiply_by_mask = Operation(
    OperationSpec(
        formulas.dropout, formulas.dropout_backward, formulas.dropout_backward, needs={"x": ("mask",)}
    )
)


@supports_torch_function
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Apply ReLU: y = max(x, 0).

    Drop-in for torch.nn.functional.relu.

    Args:
        input: tensor of any shape.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is boolean or complex.
    """
    check_real("ReLU", input)
    return write_if_inplace(input, _relu(input), inplace)


@supports_torch_function
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Apply leaky ReLU: y = max(x, 0) + a min(x, 0).

    Drop-in for torch.nn.functional.leaky_relu.

    Args:
        input: tensor of any shape.
        negative_slope: slope a.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("LeakyReLU", input)
    return write_if_inplace(
        input, _leaky_relu(clone_if_inplace(input, inplace), negative_slope=negative_slope), inplace
    )


@supports_torch_function
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Apply leaky ReLU with a learned slope a: y = max(x, 0) + a min(x, 0).

    Drop-in for torch.nn.functional.prelu.

    Args:
        input: `(N, C, *)`, or any shape if there is only one slope.
        weight: slopes a, `(1,)` or `(C,)`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        ShapeError: the number of slopes is neither 1 nor the number of channels.
        DtypeError: input is not a floating-point tensor, or input and weight differ in dtype.
    """
    check_floating("PReLU", input)
    _check_slopes(input, weight)
    channels = (1, -1, *(1,) * (input.ndim - 2)) if input.ndim > 1 else (1,) * input.ndim
    y: Tensor = _prelu(input, weight.reshape(channels))
    return y


def _check_slopes(x: Tensor, weight: Tensor) -> None:
    if weight.ndim > 1:
        raise ShapeError(
            f"PReLU needs a weight of one number, or one per channel; got {tuple(weight.shape)}. Flatten it."
        )
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim and weight.shape[0] not in (1, channels):
        raise ShapeError(
            f"PReLU needs one slope, or one for each of the {channels} channels on axis 1; got "
            f"{weight.shape[0]}. Build PReLU({channels})."
        )
    if x.dtype != weight.dtype and not autocast_enabled(x):
        raise DtypeError(
            f"PReLU needs x and weight of one dtype; got {x.dtype}, {weight.dtype}. "
            f"Convert x with .to({weight.dtype}), or the module with .to({x.dtype})."
        )


@supports_torch_function
def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Apply leaky ReLU with random slopes; in evaluation with the mean slope.

    Drop-in for torch.nn.functional.rrelu.

    Args:
        input: tensor of any shape.
        lower: lower bound of the slope.
        upper: upper bound of the slope.
        training: True draws a slope for each negative element.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
        OptionError: lower is above upper.
    """
    check_floating("RReLU", input)
    if not lower <= upper:
        raise OptionError(f"RReLU needs lower <= upper; got {lower} and {upper}. Swap them.")
    x = input.contiguous()  # the output is contiguous, as in torch
    if not training:
        return write_if_inplace(input, leaky_relu(clone_if_inplace(x, inplace), (lower + upper) / 2), inplace)
    return write_if_inplace(input, _multiply_by_mask(x, _random_slopes(x.detach(), lower, upper)), inplace)


def _random_slopes(x: Tensor, lower: float, upper: float) -> Tensor:
    """Draw slopes where x <= 0, else ones. On the CPU as torch: in float64, and only for x <= 0."""
    falls = x <= 0
    if x.is_cpu and not is_tracing_or_transforming():
        drawn = torch.empty(int(falls.sum()), dtype=torch.float64).uniform_(lower, upper)
        return torch.ones_like(x).masked_scatter_(falls, drawn.to(x.dtype))
    return torch.where(falls, torch.rand_like(x) * (upper - lower) + lower, 1.0)


class ReLU(torch.nn.ReLU, metaclass=DropIn):
    r"""Keep positive numbers and replace negative numbers by zero.

    .. math:: y = \max(x, 0), \qquad y' = [x > 0]

    Does not saturate for positive x. A unit that is negative for every sample gets no gradient: it is dead.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is boolean or complex.

    Source:
        Nair and Hinton 2010. Drop-in for torch.nn.ReLU.

    Example:
        >>> ReLU()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return relu(input, self.inplace)


class LeakyReLU(torch.nn.LeakyReLU, metaclass=DropIn):
    r"""ReLU with a small slope for negative numbers.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad
        y' = \begin{cases} 1 & x > 0 \\ a & \text{else} \end{cases}

    Does not saturate, and no unit dies: for negative x the derivative is a.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        negative_slope: slope a.
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Maas et al. 2013. Drop-in for torch.nn.LeakyReLU.

    Example:
        >>> LeakyReLU()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.0200,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return leaky_relu(input, self.negative_slope, self.inplace)


class PReLU(torch.nn.PReLU, metaclass=DropIn):
    r"""LeakyReLU with a learned slope, either one for all channels or one per channel.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad
        y' = \begin{cases} 1 & x > 0 \\ a & \text{else} \end{cases},
        \qquad \frac{\partial y}{\partial a} = \min(x, 0)

    Does not saturate. Exclude a from weight decay, which would pull it towards ReLU.

    Shape:
        input: `(N, C, *)`, or any shape if there is only one slope.
        output: same as input.
        weight: `(num_parameters,)`.

    Args:
        num_parameters: 1, or the number of channels on axis 1.
        init: initial value of a.

    Raises:
        ShapeError: the number of channels differs from `num_parameters`.
        DtypeError: input and weight differ in dtype.

    Source:
        He et al. 2015. Drop-in for torch.nn.PReLU.

    Example:
        >>> PReLU()(torch.tensor([-2.0, 0.5, 2.0])).detach()
        tensor([-0.5000,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return prelu(input, self.weight)


class RReLU(torch.nn.RReLU, metaclass=DropIn):
    r"""LeakyReLU with random slopes during training.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad
        y' = \begin{cases} 1 & x > 0 \\ a & \text{else} \end{cases},
        \qquad a \sim U(l, u), \quad a = \frac{l + u}{2} \text{ in eval mode}

    Does not saturate. The noise reduces overfitting on small data sets.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        lower: lower bound l of the slope.
        upper: upper bound u of the slope.
        inplace: write the result into `input`.

    Raises:
        OptionError: lower is above upper.
        DtypeError: input is not a floating-point tensor.

    Source:
        Xu et al. 2015. Drop-in for torch.nn.RReLU.

    Example:
        >>> RReLU().eval()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.4583,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return rrelu(input, self.lower, self.upper, self.training, self.inplace)
