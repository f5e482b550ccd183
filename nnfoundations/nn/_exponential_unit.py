"""Exponential linear units: `elu`, `celu`, `selu` and their modules."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import OptionError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import (
    check_floating,
    clone_if_inplace,
    elementwise,
    write_if_inplace,
)
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["CELU", "ELU", "SELU", "celu", "elu", "selu"]

_elu = elementwise(formulas.elu, formulas.elu_backward)


# With these constants, mean 0 and variance 1 are a fixed point from layer to layer.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@supports_torch_function
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Apply ELU: y = max(x, 0) + alpha (e^min(x, 0) - 1).

    Drop-in for torch.nn.functional.elu.

    Args:
        input: tensor of any shape.
        alpha: negative of the limit for very negative x.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("ELU", input)
    return write_if_inplace(
        input, _elu(clone_if_inplace(input, inplace), alpha=alpha, scale=1.0, rate=1.0), inplace
    )


@supports_torch_function
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Apply SELU: y = 1.0507 (max(x, 0) + 1.6733 (e^min(x, 0) - 1)).

    Drop-in for torch.nn.functional.selu.

    Args:
        input: tensor of any shape.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("SELU", input)
    return write_if_inplace(
        input, _elu(clone_if_inplace(input, inplace), alpha=_SELU_ALPHA, scale=_SELU_SCALE, rate=1.0), inplace
    )


@supports_torch_function
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Apply CELU: y = max(x, 0) + alpha (e^(min(x, 0) / alpha) - 1).

    Drop-in for torch.nn.functional.celu.

    Args:
        input: tensor of any shape.
        alpha: negative of the limit for very negative x.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
        OptionError: alpha is 0.
    """
    check_floating("CELU", input)
    if alpha == 0:
        raise OptionError("CELU needs an alpha other than 0; got 0. Use ReLU, its limit.")
    return write_if_inplace(
        input, _elu(clone_if_inplace(input, inplace), alpha=alpha, scale=1.0, rate=1 / alpha), inplace
    )


class ELU(torch.nn.ELU, metaclass=DropIn):
    r"""Identity for positive numbers; an exponential that approaches -alpha for negative numbers.

    .. math:: y = \max(x, 0) + \alpha (e^{\min(x, 0)} - 1), \qquad
        y' = \begin{cases} 1 & x > 0 \\ \alpha e^x & \text{else} \end{cases}

    Saturates for very negative x. Negative values bring the mean of a layer closer to zero than ReLU does.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        alpha: negative of the limit for very negative x.
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Clevert et al. 2016. Drop-in for torch.nn.ELU.

    Example:
        >>> ELU()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.8647,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return elu(input, self.alpha, self.inplace)


class CELU(torch.nn.CELU, metaclass=DropIn):
    r"""ELU with a continuous derivative for every alpha.

    .. math:: y = \max(x, 0) + \alpha (e^{\min(x, 0) / \alpha} - 1), \qquad
        y' = \begin{cases} 1 & x > 0 \\ e^{x / \alpha} & \text{else} \end{cases}

    Saturates for very negative x; a larger alpha moves this further to the left.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        alpha: negative of the limit for very negative x.
        inplace: write the result into `input`.

    Raises:
        OptionError: alpha is 0.
        DtypeError: input is not a floating-point tensor.

    Source:
        Barron 2017. Drop-in for torch.nn.CELU.

    Example:
        >>> CELU()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.8647,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return celu(input, self.alpha, self.inplace)


class SELU(torch.nn.SELU, metaclass=DropIn):
    r"""Scaled ELU that keeps activations at mean 0 and variance 1.

    .. math:: y = c (\max(x, 0) + \alpha (e^{\min(x, 0)} - 1)), \qquad
        y' = \begin{cases} c & x > 0 \\ c \alpha e^x & \text{else} \end{cases}, \qquad
        c = 1.0507, \quad \alpha = 1.6733

    Saturates for very negative x. Use it in deep plain networks without normalization, with LeCun's initial
    values and AlphaDropout.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Klambauer et al. 2017. Drop-in for torch.nn.SELU.

    Example:
        >>> SELU()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-1.5202,  0.5254,  2.1014])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return selu(input, self.inplace)
