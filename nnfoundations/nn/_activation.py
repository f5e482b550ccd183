"""Curves that flatten: sigmoid, tanh and their kin."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import check_floating, conjugate, elementwise, from_output
from nnfoundations.nn._operation import autocasting
from nnfoundations.nn._override import overridable

__all__ = [
    "LogSigmoid",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "logsigmoid",
    "sigmoid",
    "softplus",
    "softsign",
    "tanh",
    "tanhshrink",
]

_sigmoid = from_output(formulas.sigmoid, formulas.sigmoid_backward, conjugate(formulas.sigmoid_backward))
_tanh = from_output(formulas.tanh, formulas.tanh_backward, conjugate(formulas.tanh_backward))
_tanhshrink = elementwise(
    formulas.tanhshrink, formulas.tanhshrink_backward, conjugate(formulas.tanhshrink_backward)
)
_softsign = elementwise(formulas.softsign, formulas.softsign_backward)
_logsigmoid = elementwise(formulas.logsigmoid, formulas.logsigmoid_backward)
_softplus = elementwise(formulas.softplus, formulas.softplus_backward)


@overridable
def sigmoid(input: Tensor) -> Tensor:
    """y = 1 / (1 + e^-x). Drop-in for torch.nn.functional.sigmoid."""
    return _sigmoid(input)


@overridable
def tanh(input: Tensor) -> Tensor:
    """y = tanh x. Drop-in for torch.nn.functional.tanh."""
    return _tanh(input)


@overridable
def tanhshrink(input: Tensor) -> Tensor:
    """y = x - tanh x. Drop-in for torch.nn.functional.tanhshrink."""
    if input.dtype == torch.bool:
        check_floating("Tanhshrink", input)
    return _tanhshrink(input)


@overridable
def softsign(input: Tensor) -> Tensor:
    """y = x / (1 + |x|). Drop-in for torch.nn.functional.softsign."""
    if input.dtype == torch.bool:
        check_floating("Softsign", input)
    if input.is_complex():  # |x| has no slope there: arithmetic, which torch differentiates
        return input / (1 + input.abs())
    return _softsign(input)


@overridable
def logsigmoid(input: Tensor) -> Tensor:
    """y = log(1 / (1 + e^-x)). Drop-in for torch.nn.functional.logsigmoid."""
    check_floating("LogSigmoid", input)
    return _logsigmoid(input.contiguous())  # and so comes y, as torch's


@overridable
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """y = log(1 + e^(beta x)) / beta, or x above. Drop-in for torch.nn.functional.softplus."""
    check_floating("Softplus", input)
    if input.is_cuda and autocasting(input) and input.dtype != torch.float64:
        input = input.float()  # by autocast's own list, which for the CPU leaves it out
    return _softplus(input, beta=beta, threshold=threshold)


class Sigmoid(torch.nn.Sigmoid, metaclass=DropIn):
    r"""Squash every number into (0, 1), as a chance.

    .. math:: y = \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad y' = y (1 - y)

    Saturates on both sides; the slope is at most 1/4, so that gradients shrink with each layer. For gates and
    for chances of one event; before a loss take BCEWithLogitsLoss, which has it built in.

    Shape: x `(*)` -> `(*)`.
    Raises: torch's own errors only: all dtypes are taken, integers as float32.
    Source: Verhulst 1845. Drop-in for torch.nn.Sigmoid.

    >>> Sigmoid()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([0.1192, 0.6225, 0.8808])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return sigmoid(input)


class Tanh(torch.nn.Tanh, metaclass=DropIn):
    r"""Squash every number into (-1, 1), zero staying zero.

    .. math:: y = \tanh x, \qquad y' = 1 - y^2

    Saturates on both sides; the slope is 1 at zero and nowhere more. For recurrent layers and small networks.

    Shape: x `(*)` -> `(*)`.
    Raises: torch's own errors only: all dtypes are taken, integers as float32.
    Source: LeCun et al. 1998. Drop-in for torch.nn.Tanh.

    >>> Tanh()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.9640,  0.4621,  0.9640])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return tanh(input)


class Tanhshrink(torch.nn.Tanhshrink, metaclass=DropIn):
    r"""What tanh takes away: almost nothing of small numbers is left, large ones lose one.

    .. math:: y = x - \tanh x, \qquad y' = \tanh^2 x

    Does not saturate; flat around zero, where gradients vanish. For sparse codes.

    Shape: x `(*)` -> `(*)`.
    Raises: DtypeError: x is boolean.
    Source: drop-in for torch.nn.Tanhshrink.

    >>> Tanhshrink()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-1.0360,  0.0379,  1.0360])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return tanhshrink(input)


class Softsign(torch.nn.Softsign, metaclass=DropIn):
    r"""Squash into (-1, 1) as tanh does, but slowly.

    .. math:: y = \frac{x}{1 + |x|}, \qquad y' = \frac{1}{(1 + |x|)^2}

    The slope falls as a square, not exponentially, and is never zero: no unit dies.

    Shape: x `(*)` -> `(*)`.
    Raises: DtypeError: x is boolean.
    Source: Bergstra et al. 2009. Drop-in for torch.nn.Softsign.

    >>> Softsign()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.6667,  0.3333,  0.6667])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return softsign(input)


class LogSigmoid(torch.nn.LogSigmoid, metaclass=DropIn):
    r"""The logarithm of a chance, finite where the chance itself would round to zero.

    .. math:: y = \log \sigma(x) = \min(x, 0) - \log(1 + e^{-|x|}), \qquad y' = \sigma(-x)

    Saturates above, where the chance is 1 already; the slope tends to 1 below. For losses of one event.

    Shape: x `(*)` -> `(*)`.
    Raises: DtypeError: x is no floating-point tensor.
    Source: drop-in for torch.nn.LogSigmoid.

    >>> LogSigmoid()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-2.1269, -0.4741, -0.1269])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return logsigmoid(input)


class Softplus(torch.nn.Softplus, metaclass=DropIn):
    r"""A ReLU with its corner rounded: positive everywhere.

    .. math:: y = \frac{1}{\beta} \log(1 + e^{\beta x}), \qquad y' = \sigma(\beta x)

    Saturates below, where y tends to 0. Where beta x is above the threshold, y is x itself. For scales and
    variances, which have to be positive.

    Shape: x `(*)` -> `(*)`.
    Args: beta: how sharp the corner is. threshold: where the straight line begins.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Dugas et al. 2001. Drop-in for torch.nn.Softplus.

    >>> Softplus()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([0.1269, 0.9741, 2.1269])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return softplus(input, self.beta, self.threshold)
