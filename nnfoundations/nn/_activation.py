"""Smooth saturating activations: sigmoid, tanh, softsign, softplus and related functions."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import check_floating, conjugate_jvp, elementwise, elementwise_from_output
from nnfoundations.nn._operation import autocast_enabled
from nnfoundations.nn._torch_function import supports_torch_function

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

_sigmoid = elementwise_from_output(
    formulas.sigmoid, formulas.sigmoid_backward, conjugate_jvp(formulas.sigmoid_backward)
)
_tanh = elementwise_from_output(formulas.tanh, formulas.tanh_backward, conjugate_jvp(formulas.tanh_backward))
_tanhshrink = elementwise(
    formulas.tanhshrink, formulas.tanhshrink_backward, conjugate_jvp(formulas.tanhshrink_backward)
)
_softsign = elementwise(formulas.softsign, formulas.softsign_backward)
_logsigmoid = elementwise(formulas.logsigmoid, formulas.logsigmoid_backward)
_softplus = elementwise(formulas.softplus, formulas.softplus_backward)


@supports_torch_function
def sigmoid(input: Tensor) -> Tensor:
    """Apply the logistic function: y = 1 / (1 + e^-x).

    Drop-in for torch.nn.functional.sigmoid.

    Args:
        input: tensor of any shape.

    Returns:
        Tensor with the shape of `input`.
    """
    return _sigmoid(input)


@supports_torch_function
def tanh(input: Tensor) -> Tensor:
    """Apply the hyperbolic tangent: y = tanh x.

    Drop-in for torch.nn.functional.tanh.

    Args:
        input: tensor of any shape.

    Returns:
        Tensor with the shape of `input`.
    """
    return _tanh(input)


@supports_torch_function
def tanhshrink(input: Tensor) -> Tensor:
    """Subtract tanh: y = x - tanh x.

    Drop-in for torch.nn.functional.tanhshrink.

    Args:
        input: tensor of any shape.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is boolean.
    """
    if input.dtype == torch.bool:
        check_floating("Tanhshrink", input)
    return _tanhshrink(input)


@supports_torch_function
def softsign(input: Tensor) -> Tensor:
    """Apply softsign: y = x / (1 + |x|).

    Drop-in for torch.nn.functional.softsign.

    Args:
        input: tensor of any shape.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is boolean.
    """
    if input.dtype == torch.bool:
        check_floating("Softsign", input)
    if input.is_complex():  # |x| is not complex-differentiable: plain operations, which torch differentiates
        return input / (1 + input.abs())
    return _softsign(input)


@supports_torch_function
def logsigmoid(input: Tensor) -> Tensor:
    """Compute the logarithm of the sigmoid: y = log(1 / (1 + e^-x)).

    Drop-in for torch.nn.functional.logsigmoid.

    Args:
        input: tensor of any shape.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("LogSigmoid", input)
    return _logsigmoid(input.contiguous())  # the output is contiguous, as in torch


@supports_torch_function
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """Apply softplus: y = log(1 + e^(beta x)) / beta, or x if beta x > threshold.

    Drop-in for torch.nn.functional.softplus.

    Args:
        input: tensor of any shape.
        beta: sharpness of the bend at zero.
        threshold: value of beta x above which y = x.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("Softplus", input)
    if input.is_cuda and autocast_enabled(input) and input.dtype != torch.float64:
        input = input.float()  # on autocast's float32 list for CUDA, but not for the CPU
    return _softplus(input, beta=beta, threshold=threshold)


class Sigmoid(torch.nn.Sigmoid, metaclass=DropIn):
    r"""Map every number into (0, 1) with the logistic function.

    .. math:: y = \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad y' = y (1 - y)

    Saturates on both sides. The derivative is at most 1/4, so gradients shrink with every layer. Use it for
    gates and for the probability of a single event. In front of a loss use BCEWithLogitsLoss, which includes
    the sigmoid.

    Accepts every dtype; integers are computed in float32.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Source:
        Verhulst 1845. Drop-in for torch.nn.Sigmoid.

    Example:
        >>> Sigmoid()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([0.1192, 0.6225, 0.8808])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return sigmoid(input)


class Tanh(torch.nn.Tanh, metaclass=DropIn):
    r"""Map every number into (-1, 1); zero stays zero.

    .. math:: y = \tanh x, \qquad y' = 1 - y^2

    Saturates on both sides. The derivative is 1 at zero and smaller everywhere else. Use it in recurrent
    layers and small networks.

    Accepts every dtype; integers are computed in float32.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Source:
        LeCun et al. 1998. Drop-in for torch.nn.Tanh.

    Example:
        >>> Tanh()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.9640,  0.4621,  0.9640])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return tanh(input)


class Tanhshrink(torch.nn.Tanhshrink, metaclass=DropIn):
    r"""Subtract tanh: small numbers become almost zero, large numbers shrink by one.

    .. math:: y = x - \tanh x, \qquad y' = \tanh^2 x

    Does not saturate. It is flat around zero, so gradients of small inputs vanish. Use it for sparse codes.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Raises:
        DtypeError: input is boolean.

    Source:
        Drop-in for torch.nn.Tanhshrink.

    Example:
        >>> Tanhshrink()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-1.0360,  0.0379,  1.0360])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return tanhshrink(input)


class Softsign(torch.nn.Softsign, metaclass=DropIn):
    r"""Map every number into (-1, 1); it approaches the limits more slowly than tanh.

    .. math:: y = \frac{x}{1 + |x|}, \qquad y' = \frac{1}{(1 + |x|)^2}

    The derivative decays quadratically, not exponentially, and is never zero: no unit dies.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Raises:
        DtypeError: input is boolean.

    Source:
        Bergstra et al. 2009. Drop-in for torch.nn.Softsign.

    Example:
        >>> Softsign()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.6667,  0.3333,  0.6667])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return softsign(input)


class LogSigmoid(torch.nn.LogSigmoid, metaclass=DropIn):
    r"""Compute the logarithm of the sigmoid; it stays finite even if the sigmoid itself would round to zero.

    .. math:: y = \log \sigma(x) = \min(x, 0) - \log(1 + e^{-|x|}), \qquad y' = \sigma(-x)

    Saturates for large x, where the sigmoid is already 1; for very negative x the derivative tends to 1. Use
    it in losses for a single event.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Drop-in for torch.nn.LogSigmoid.

    Example:
        >>> LogSigmoid()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-2.1269, -0.4741, -0.1269])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return logsigmoid(input)


class Softplus(torch.nn.Softplus, metaclass=DropIn):
    r"""Smooth version of ReLU: positive everywhere.

    .. math:: y = \frac{1}{\beta} \log(1 + e^{\beta x}), \qquad y' = \sigma(\beta x)

    Saturates for very negative x, where y tends to 0. If :math:`\beta x` is above the threshold, y is x
    itself. Use it for scales and variances, which must be positive.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        beta: sharpness of the bend at zero.
        threshold: value of beta times x above which y = x.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Dugas et al. 2001. Drop-in for torch.nn.Softplus.

    Example:
        >>> Softplus()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([0.1269, 0.9741, 2.1269])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return softplus(input, self.beta, self.threshold)
