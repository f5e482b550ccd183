"""Clipped activations: `hardtanh`, `relu6`, `hardsigmoid`, `hardswish` and their modules."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import OptionError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import (
    check_floating,
    check_real,
    clone_if_inplace,
    elementwise,
    write_if_inplace,
)
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["Hardsigmoid", "Hardswish", "Hardtanh", "ReLU6", "hardsigmoid", "hardswish", "hardtanh", "relu6"]

_hardtanh = elementwise(formulas.hardtanh, formulas.hardtanh_backward)
_hardsigmoid = elementwise(formulas.hardsigmoid, formulas.hardsigmoid_backward)
_hardswish = elementwise(formulas.hardswish, formulas.hardswish_backward)


@supports_torch_function
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Clip to an interval: y = min(max(x, min_val), max_val).

    Drop-in for torch.nn.functional.hardtanh.

    Args:
        input: tensor of any shape.
        min_val: lower bound.
        max_val: upper bound.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is boolean or complex.
        OptionError: min_val is above max_val.
    """
    return _clip("Hardtanh", input, min_val, max_val, inplace)


@supports_torch_function
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Clip to [0, 6]: y = min(max(x, 0), 6).

    Drop-in for torch.nn.functional.relu6.

    Args:
        input: tensor of any shape.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is boolean or complex.
    """
    return _clip("ReLU6", input, 0.0, 6.0, inplace)


def _clip(name: str, x: Tensor, low: float, high: float, inplace: bool) -> Tensor:
    check_real(name, x)
    if low > high:
        raise OptionError(f"{name} needs min_val <= max_val; got {low} and {high}. Swap them.")
    if not x.is_floating_point():
        low, high = int(low), int(high)  # integers must not become float32
    return write_if_inplace(x, _hardtanh(clone_if_inplace(x, inplace), low=low, high=high), inplace)


@supports_torch_function
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Apply the piecewise linear sigmoid: y = min(max(x + 3, 0), 6) / 6.

    Drop-in for torch.nn.functional.hardsigmoid.

    Args:
        input: tensor of any shape.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("Hardsigmoid", input)
    return write_if_inplace(input, _hardsigmoid(clone_if_inplace(input, inplace)), inplace)


@supports_torch_function
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Apply the piecewise SiLU: y = x min(max(x + 3, 0), 6) / 6.

    Drop-in for torch.nn.functional.hardswish.

    Args:
        input: tensor of any shape.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("Hardswish", input)
    return write_if_inplace(input, _hardswish(clone_if_inplace(input, inplace)), inplace)


class Hardtanh(torch.nn.Hardtanh, metaclass=DropIn):
    r"""Clip every number to an interval.

    .. math:: y = \min(\max(x, l), h), \qquad y' = [l < x < h]

    Saturates completely outside the interval: a unit that stays there gets no gradient. Use it for bounded
    outputs.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        min_val: lower bound l.
        max_val: upper bound h.
        inplace: write the result into `input`.
        min_value: deprecated name of `min_val`.
        max_value: deprecated name of `max_val`.

    Raises:
        DtypeError: input is boolean or complex.

    Source:
        Collobert 2004. Drop-in for torch.nn.Hardtanh.

    Example:
        >>> Hardtanh()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-1.0000,  0.5000,  1.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return hardtanh(input, self.min_val, self.max_val, self.inplace)


class ReLU6(torch.nn.ReLU6, metaclass=DropIn):
    r"""ReLU with an upper limit of 6, so that few bits can represent its values.

    .. math:: y = \min(\max(x, 0), 6), \qquad y' = [0 < x < 6]

    Saturates completely on both sides. Use it in networks that will be quantized.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is boolean or complex.

    Source:
        Krizhevsky 2010. Drop-in for torch.nn.ReLU6.

    Example:
        >>> ReLU6()(torch.tensor([-2.0, 0.5, 8.0]))
        tensor([0.0000, 0.5000, 6.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return hardtanh(input, self.min_val, self.max_val, self.inplace)


class Hardsigmoid(torch.nn.Hardsigmoid, metaclass=DropIn):
    r"""Piecewise linear approximation of the sigmoid.

    .. math:: y = \frac{1}{6} \min(\max(x + 3, 0), 6), \qquad y' = \frac{1}{6} [-3 < x < 3]

    Saturates completely below -3 and above 3. Use it if an exponential is too expensive.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Courbariaux et al. 2015. Drop-in for torch.nn.Hardsigmoid.

    Example:
        >>> Hardsigmoid()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([0.1667, 0.5833, 0.8333])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return hardsigmoid(input, self.inplace)


class Hardswish(torch.nn.Hardswish, metaclass=DropIn):
    r"""Piecewise approximation of SiLU: two lines and a parabola.

    .. math:: y = \frac{x}{6} \min(\max(x + 3, 0), 6), \qquad y' = \begin{cases} 0 & x \le -3 \\
        x / 3 + 1/2 & -3 < x < 3 \\ 1 & x \ge 3 \end{cases}

    Saturates completely below -3. Use it on small devices, if an exponential is too expensive.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Howard et al. 2019. Drop-in for torch.nn.Hardswish.

    Example:
        >>> Hardswish()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.3333,  0.2917,  1.6667])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return hardswish(input, self.inplace)
