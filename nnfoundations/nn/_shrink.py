"""Thresholds: `hardshrink`, `softshrink`, `threshold` and their modules."""

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

__all__ = ["Hardshrink", "Softshrink", "Threshold", "hardshrink", "softshrink", "threshold"]

_hardshrink = elementwise(formulas.hardshrink, formulas.hardshrink_backward)
_softshrink = elementwise(formulas.softshrink, formulas.softshrink_backward)
_threshold = elementwise(formulas.threshold, formulas.threshold_backward)


@supports_torch_function
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Set small numbers to zero: y = x if |x| > lambda, else 0.

    Drop-in for torch.nn.functional.hardshrink.

    Args:
        input: tensor of any shape.
        lambd: threshold lambda.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("Hardshrink", input)
    return _hardshrink(input, lambd=lambd)


@supports_torch_function
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Move numbers towards zero by lambda: y = x - min(max(x, -lambda), lambda).

    Drop-in for torch.nn.functional.softshrink.

    Args:
        input: tensor of any shape.
        lambd: threshold lambda, at least 0.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
        OptionError: lambd is negative.
    """
    check_floating("Softshrink", input)
    if not lambd >= 0:
        raise OptionError(f"Softshrink needs a lambd of at least 0; got {lambd}. Use 0.5.")
    return _softshrink(input, lambd=lambd)


@supports_torch_function
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Replace values that are not above a threshold: y = x if x > threshold, else value.

    Drop-in for torch.nn.functional.threshold.

    Args:
        input: tensor of any shape.
        threshold: largest number that is replaced.
        value: replacement.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is boolean or complex.
    """
    check_real("Threshold", input)
    if not input.is_floating_point():
        threshold, value = int(threshold), int(value)
    return write_if_inplace(
        input, _threshold(clone_if_inplace(input, inplace), threshold=threshold, value=value), inplace
    )


class Hardshrink(torch.nn.Hardshrink, metaclass=DropIn):
    r"""Set small numbers to zero and keep the others.

    .. math:: y = x \, [|x| > \lambda], \qquad y' = [|x| > \lambda]

    Jumps at lambda and is flat between -lambda and lambda: small values get no gradient. Use it for sparse
    codes.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        lambd: threshold lambda.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Donoho and Johnstone 1994. Drop-in for torch.nn.Hardshrink.

    Example:
        >>> Hardshrink()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-2.,  0.,  2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return hardshrink(input, self.lambd)


class Softshrink(torch.nn.Softshrink, metaclass=DropIn):
    r"""Move every number towards zero by lambda, but not past zero.

    .. math:: y = x - \min(\max(x, -\lambda), \lambda), \qquad y' = [|x| > \lambda]

    Flat between -lambda and lambda: small values get no gradient. It is the proximal step of the Lasso.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        lambd: threshold lambda, at least 0.

    Raises:
        OptionError: lambd is negative.
        DtypeError: input is not a floating-point tensor.

    Source:
        Donoho 1995. Drop-in for torch.nn.Softshrink.

    Example:
        >>> Softshrink()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-1.5000,  0.0000,  1.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return softshrink(input, self.lambd)


class Threshold(torch.nn.Threshold, metaclass=DropIn):
    r"""Replace every number that is not above a threshold by a constant.

    .. math:: y = \begin{cases} x & x > t \\ v & \text{else} \end{cases}, \qquad y' = [x > t]

    Flat below the threshold, where no gradient passes.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        threshold: threshold t.
        value: replacement v.
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is boolean or complex.

    Source:
        Drop-in for torch.nn.Threshold.

    Example:
        >>> Threshold(0.1, 20.0)(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([20.0000,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return threshold(input, self.threshold, self.value, self.inplace)
