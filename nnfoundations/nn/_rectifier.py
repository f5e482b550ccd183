"""Rectifiers: straight above zero, a choice below."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import check_floating, check_real, elementwise, kept, written
from nnfoundations.nn._operation import Operation, autocasting, values_are_hidden
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = [
    "CELU",
    "ELU",
    "SELU",
    "LeakyReLU",
    "PReLU",
    "RReLU",
    "ReLU",
    "celu",
    "elu",
    "leaky_relu",
    "prelu",
    "relu",
    "rrelu",
    "selu",
]

_relu = elementwise(formulas.relu, formulas.relu_backward)
_leaky_relu = elementwise(formulas.leaky_relu, formulas.leaky_relu_backward)
_elu = elementwise(formulas.elu, formulas.elu_backward)
_prelu = Operation(
    Record(
        formulas.prelu,
        formulas.prelu_backward,
        formulas.prelu_jvp,
        needs={"x": ("x", "weight"), "weight": ("x", "weight")},
        autocast="lower",
    )
)
_sloped = Operation(
    Record(formulas.dropout, formulas.dropout_backward, formulas.dropout_backward, needs={"x": ("mask",)})
)

# For which mean 0 and variance 1 are a fixed point, from layer to layer.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@overridable
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = max(x, 0). Drop-in for torch.nn.functional.relu."""
    check_real("ReLU", input)
    return written(input, _relu(input), inplace)


@overridable
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """y = max(x, 0) + a min(x, 0). Drop-in for torch.nn.functional.leaky_relu."""
    check_floating("LeakyReLU", input)
    return written(input, _leaky_relu(kept(input, inplace), negative_slope=negative_slope), inplace)


@overridable
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """y = max(x, 0) + alpha (e^min(x, 0) - 1). Drop-in for torch.nn.functional.elu."""
    check_floating("ELU", input)
    return written(input, _elu(kept(input, inplace), alpha=alpha, scale=1.0, rate=1.0), inplace)


@overridable
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = 1.0507 (max(x, 0) + 1.6733 (e^min(x, 0) - 1)). Drop-in for torch.nn.functional.selu."""
    check_floating("SELU", input)
    return written(input, _elu(kept(input, inplace), alpha=_SELU_ALPHA, scale=_SELU_SCALE, rate=1.0), inplace)


@overridable
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """y = max(x, 0) + alpha (e^(min(x, 0) / alpha) - 1). Drop-in for torch.nn.functional.celu."""
    check_floating("CELU", input)
    if alpha == 0:
        raise OptionError("CELU needs an alpha other than 0; got 0. Take ReLU, its limit.")
    return written(input, _elu(kept(input, inplace), alpha=alpha, scale=1.0, rate=1 / alpha), inplace)


@overridable
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """y = max(x, 0) + a min(x, 0), a channel's slope a learned. Drop-in for torch.nn.functional.prelu."""
    check_floating("PReLU", input)
    _check_slopes(input, weight)
    channels = (1, -1, *(1,) * (input.ndim - 2)) if input.ndim > 1 else (1,) * input.ndim
    y: Tensor = _prelu(input, weight.reshape(channels))
    return y


def _check_slopes(x: Tensor, weight: Tensor) -> None:
    if weight.ndim > 1:
        raise ShapeError(
            f"PReLU needs a weight of one number, or of one a channel; got {tuple(weight.shape)}. Flatten it."
        )
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim and weight.shape[0] not in (1, channels):
        raise ShapeError(
            f"PReLU needs one slope, or one for each of the {channels} channels on axis 1; got "
            f"{weight.shape[0]}. Build PReLU({channels})."
        )
    if x.dtype != weight.dtype and not autocasting(x):
        raise DtypeError(
            f"PReLU needs x and weight of one dtype; got {x.dtype}, {weight.dtype}. "
            f"Convert x with .to({weight.dtype}), or the module with .to({x.dtype})."
        )


@overridable
def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """A leaky ReLU of random slope, in evaluation of the mean one. Drop-in for torch.nn.functional.rrelu."""
    check_floating("RReLU", input)
    if not lower <= upper:
        raise OptionError(f"RReLU needs lower <= upper; got {lower} and {upper}. Swap them.")
    x = input.contiguous()  # and so comes y, as torch's
    if not training:
        return written(input, leaky_relu(kept(x, inplace), (lower + upper) / 2), inplace)
    return written(input, _sloped(x, _slopes(x.detach(), lower, upper)), inplace)


def _slopes(x: Tensor, lower: float, upper: float) -> Tensor:
    """One where x > 0, else drawn: as torch on the CPU, in float64 and only for those that need one."""
    falls = x <= 0
    if x.is_cpu and not values_are_hidden():
        drawn = torch.empty(int(falls.sum()), dtype=torch.float64).uniform_(lower, upper)
        return torch.ones_like(x).masked_scatter_(falls, drawn.to(x.dtype))
    return torch.where(falls, torch.rand_like(x) * (upper - lower) + lower, 1.0)


class ReLU(torch.nn.ReLU, metaclass=DropIn):
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


class LeakyReLU(torch.nn.LeakyReLU, metaclass=DropIn):
    r"""A ReLU that lets a little of what is negative through.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad
        y' = \begin{cases} 1 & x > 0 \\ a & \text{else} \end{cases}

    Does not saturate, and no unit dies: below zero the slope is a.

    Shape: x `(*)` -> `(*)`.
    Args: negative_slope: a. inplace: write y over x.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Maas et al. 2013. Drop-in for torch.nn.LeakyReLU.

    >>> LeakyReLU()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.0200,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return leaky_relu(input, self.negative_slope, self.inplace)


class PReLU(torch.nn.PReLU, metaclass=DropIn):
    r"""A LeakyReLU that learns its slope, one for all or one a channel.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad
        y' = \begin{cases} 1 & x > 0 \\ a & \text{else} \end{cases},
        \qquad \frac{\partial y}{\partial a} = \min(x, 0)

    Does not saturate. Exempt a from weight decay, which would pull it to a ReLU.

    Shape: x `(N, C, *)` -> the same, any `(*)` with one slope; weight `(num_parameters,)`.
    Args: num_parameters: 1, or the channels on axis 1. init: a to start from.
    Raises: ShapeError: another number of channels. DtypeError: x and a differ in dtype.
    Source: He et al. 2015. Drop-in for torch.nn.PReLU.

    >>> PReLU()(torch.tensor([-2.0, 0.5, 2.0])).detach()
    tensor([-0.5000,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return prelu(input, self.weight)


class RReLU(torch.nn.RReLU, metaclass=DropIn):
    r"""A LeakyReLU that draws its slopes while training.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad
        y' = \begin{cases} 1 & x > 0 \\ a & \text{else} \end{cases},
        \qquad a \sim U(l, u), \quad a = \frac{l + u}{2} \text{ in eval mode}

    Does not saturate. The noise works against overfitting on small data sets.

    Shape: x `(*)` -> `(*)`.
    Args: lower, upper: l and u. inplace: write y over x.
    Raises: OptionError: lower is above upper. DtypeError: x is no floating-point tensor.
    Source: Xu et al. 2015. Drop-in for torch.nn.RReLU.

    >>> RReLU().eval()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.4583,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return rrelu(input, self.lower, self.upper, self.training, self.inplace)


class ELU(torch.nn.ELU, metaclass=DropIn):
    r"""Straight above zero, bending below towards -alpha.

    .. math:: y = \max(x, 0) + \alpha (e^{\min(x, 0)} - 1), \qquad
        y' = \begin{cases} 1 & x > 0 \\ \alpha e^x & \text{else} \end{cases}

    Saturates below. Negative values bring the mean of a layer nearer to zero than a ReLU does.

    Shape: x `(*)` -> `(*)`.
    Args: alpha: the limit on the left. inplace: write y over x.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Clevert et al. 2016. Drop-in for torch.nn.ELU.

    >>> ELU()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.8647,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return elu(input, self.alpha, self.inplace)


class CELU(torch.nn.CELU, metaclass=DropIn):
    r"""An ELU without a kink, whatever alpha.

    .. math:: y = \max(x, 0) + \alpha (e^{\min(x, 0) / \alpha} - 1), \qquad
        y' = \begin{cases} 1 & x > 0 \\ e^{x / \alpha} & \text{else} \end{cases}

    Saturates below, the later the larger alpha.

    Shape: x `(*)` -> `(*)`.
    Args: alpha: the limit on the left. inplace: write y over x.
    Raises: OptionError: alpha is 0. DtypeError: x is no floating-point tensor.
    Source: Barron 2017. Drop-in for torch.nn.CELU.

    >>> CELU()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.8647,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return celu(input, self.alpha, self.inplace)


class SELU(torch.nn.SELU, metaclass=DropIn):
    r"""An ELU scaled so that activations keep mean 0 and variance 1.

    .. math:: y = c (\max(x, 0) + \alpha (e^{\min(x, 0)} - 1)), \qquad
        y' = \begin{cases} c & x > 0 \\ c \alpha e^x & \text{else} \end{cases}, \qquad
        c = 1.0507, \quad \alpha = 1.6733

    Saturates below. For deep plain networks without normalization, with LeCun's initial values and
    AlphaDropout.

    Shape: x `(*)` -> `(*)`.
    Args: inplace: write y over x.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Klambauer et al. 2017. Drop-in for torch.nn.SELU.

    >>> SELU()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-1.5202,  0.5254,  2.1014])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return selu(input, self.inplace)
