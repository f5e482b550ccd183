"""Softmax, softmin and log-softmax along an axis, and their modules."""

import warnings

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import Activation, check_floating, elementwise_from_output
from nnfoundations.nn._operation import autocast_enabled
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin", "log_softmax", "softmax", "softmin"]

_softmax = elementwise_from_output(formulas.softmax, formulas.softmax_backward)
_log_softmax = elementwise_from_output(
    formulas.log_softmax, formulas.log_softmax_backward, formulas.log_softmax_jvp
)


@supports_torch_function
def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Apply softmax along an axis: y = e^x / sum(e^x).

    Drop-in for torch.nn.functional.softmax.

    Args:
        input: tensor of any shape.
        dim: axis along which the result sums to one; always give it, as None is deprecated.
        dtype: dtype to which the input is converted first.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    return _apply_along_axis("softmax", _softmax, input, dim, _stacklevel, dtype)


@supports_torch_function
def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Apply softmax to -x along an axis: y = e^-x / sum(e^-x).

    Drop-in for torch.nn.functional.softmin.

    Args:
        input: tensor of any shape.
        dim: axis along which the result sums to one; always give it, as None is deprecated.
        dtype: dtype to which the input is converted first.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    return _apply_along_axis("softmin", _softmax, -input, dim, _stacklevel, dtype)


@supports_torch_function
def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Compute the logarithm of softmax along an axis: y = x - log(sum(e^x)).

    Drop-in for torch.nn.functional.log_softmax.

    Args:
        input: tensor of any shape.
        dim: axis along which the exponentials of the result sum to one; always give it, as None is
            deprecated.
        dtype: dtype to which the input is converted first.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    return _apply_along_axis("log_softmax", _log_softmax, input, dim, _stacklevel, dtype)


@supports_torch_function
def _softmax_over_channels(input: Tensor) -> Tensor:
    if input.ndim not in (3, 4):
        raise ShapeError(
            f"Softmax2d needs x of shape (N, C, H, W) or (C, H, W); got {tuple(input.shape)}. "
            "Reshape x, or use Softmax(dim)."
        )
    return softmax(input, -3)


def _apply_along_axis(
    name: str, operation: Activation, x: Tensor, dim: int | None, stacklevel: int, dtype: torch.dtype | None
) -> Tensor:
    if dim is None:
        warnings.warn(
            f"Implicit dimension choice for {name} has been deprecated. "
            "Change the call to include dim=X as an argument.",
            stacklevel=stacklevel + 1,
        )
        dim = 0 if x.ndim in (0, 1, 3) else 1
    if dtype is not None:
        x = x.to(dtype)
    elif x.is_cuda and autocast_enabled(x) and x.dtype != torch.float64:
        x = x.float()  # on autocast's float32 list for CUDA, but not for the CPU
    check_floating(name, x)
    if x.ndim and x.shape[dim] == 0:
        return x.clone()  # there is no maximum to subtract
    return operation(x.contiguous(), axis=dim)  # the output is contiguous, as in torch


class Softmax(torch.nn.Softmax, metaclass=DropIn):
    r"""Turn numbers into positive shares that sum to one; the largest number gets the largest share.

    .. math:: y_i = \frac{e^{x_i}}{\sum_j e^{x_j}}, \qquad
        \frac{\partial y_i}{\partial x_j} = y_i ([i = j] - y_j)

    Saturates if one number is much larger than the others: its share is 1, and no gradient passes. Use it for
    attention and mixtures. In front of a loss use CrossEntropyLoss, which includes the softmax.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        dim: axis along which the shares sum to one.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Bridle 1990. Drop-in for torch.nn.Softmax.

    Example:
        >>> Softmax(dim=0)(torch.tensor([1.0, 2.0, 3.0]))
        tensor([0.0900, 0.2447, 0.6652])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return softmax(input, self.dim, _stacklevel=5)


class Softmin(torch.nn.Softmin, metaclass=DropIn):
    r"""Turn numbers into positive shares that sum to one; the smallest number gets the largest share.

    .. math:: y_i = \frac{e^{-x_i}}{\sum_j e^{-x_j}}, \qquad
        \frac{\partial y_i}{\partial x_j} = y_i (y_j - [i = j])

    Saturates as Softmax does. Use it for distances and costs.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        dim: axis along which the shares sum to one.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Drop-in for torch.nn.Softmin.

    Example:
        >>> Softmin(dim=0)(torch.tensor([1.0, 2.0, 3.0]))
        tensor([0.6652, 0.2447, 0.0900])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return softmin(input, self.dim, _stacklevel=5)


class LogSoftmax(torch.nn.LogSoftmax, metaclass=DropIn):
    r"""Compute the logarithm of Softmax; it stays finite even if a share would round to zero.

    .. math:: y_i = x_i - \log \sum_j e^{x_j}, \qquad
        \frac{\partial y_i}{\partial x_j} = [i = j] - e^{y_j}

    Does not saturate for small shares: their derivative tends to 1. Use it in front of NLLLoss or KLDivLoss.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        dim: axis along which the exponentials of the output sum to one.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Drop-in for torch.nn.LogSoftmax.

    Example:
        >>> LogSoftmax(dim=0)(torch.tensor([1.0, 2.0, 3.0]))
        tensor([-2.4076, -1.4076, -0.4076])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return log_softmax(input, self.dim, _stacklevel=5)


class Softmax2d(torch.nn.Softmax2d, metaclass=DropIn):
    r"""Apply Softmax over the channels at each position of an image.

    .. math:: y_{chw} = \frac{e^{x_{chw}}}{\sum_k e^{x_{khw}}}, \qquad
        \frac{\partial y_{chw}}{\partial x_{khw}} = y_{chw} ([c = k] - y_{khw})

    Saturates as Softmax does. Use it to assign a class to each pixel.

    Shape:
        input: `(N, C, H, W)` or `(C, H, W)`.
        output: same as input.

    Raises:
        ShapeError: input has another number of axes.
        DtypeError: input is not a floating-point tensor.

    Source:
        Drop-in for torch.nn.Softmax2d.

    Example:
        >>> Softmax2d()(torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)).flatten()
        tensor([0.0900, 0.2447, 0.6652])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return _softmax_over_channels(input)
