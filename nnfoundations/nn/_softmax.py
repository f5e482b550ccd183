"""Softmax, softmin, log-softmax: functions along an axis, and their modules."""

import warnings

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import Activation, check_floating, from_output
from nnfoundations.nn._operation import autocasting
from nnfoundations.nn._override import overridable

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin", "log_softmax", "softmax", "softmin"]

_softmax = from_output(formulas.softmax, formulas.softmax_backward)
_log_softmax = from_output(formulas.log_softmax, formulas.log_softmax_backward, formulas.log_softmax_jvp)


@overridable
def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """y = e^x / sum e^x along an axis. Drop-in for torch.nn.functional.softmax."""
    return _along("softmax", _softmax, input, dim, _stacklevel, dtype)


@overridable
def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """The softmax of -x. Drop-in for torch.nn.functional.softmin."""
    return _along("softmin", _softmax, -input, dim, _stacklevel, dtype)


@overridable
def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """y = x - log sum e^x along an axis. Drop-in for torch.nn.functional.log_softmax."""
    return _along("log_softmax", _log_softmax, input, dim, _stacklevel, dtype)


@overridable
def _over_channels(input: Tensor) -> Tensor:
    if input.ndim not in (3, 4):
        raise ShapeError(
            f"Softmax2d needs x of shape (N, C, H, W) or (C, H, W); got {tuple(input.shape)}. "
            "Reshape x, or take Softmax(dim)."
        )
    return softmax(input, -3)


def _along(
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
    elif x.is_cuda and autocasting(x) and x.dtype != torch.float64:
        x = x.float()  # by autocast's own list, which for the CPU leaves these out
    check_floating(name, x)
    if x.ndim and x.shape[dim] == 0:
        return x.clone()  # no largest number to subtract
    return operation(x.contiguous(), axis=dim)  # and so comes y, as torch's


class Softmax(torch.nn.Softmax, metaclass=DropIn):
    r"""Turn numbers into shares of one whole, the largest getting the most.

    .. math:: y_i = \frac{e^{x_i}}{\sum_j e^{x_j}}, \qquad
        \frac{\partial y_i}{\partial x_j} = y_i ([i = j] - y_j)

    Saturates where one number leads by far: its share is 1, and no gradient passes. For attention and
    mixtures; before a loss take CrossEntropyLoss, which has it built in.

    Shape: x `(*)` -> `(*)`.
    Args: dim: the axis along which shares sum to one.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Bridle 1990. Drop-in for torch.nn.Softmax.

    >>> Softmax(dim=0)(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.0900, 0.2447, 0.6652])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return softmax(input, self.dim, _stacklevel=5)


class Softmin(torch.nn.Softmin, metaclass=DropIn):
    r"""Turn numbers into shares of one whole, the smallest getting the most.

    .. math:: y_i = \frac{e^{-x_i}}{\sum_j e^{-x_j}}, \qquad
        \frac{\partial y_i}{\partial x_j} = y_i (y_j - [i = j])

    Saturates as Softmax does. For distances and costs.

    Shape: x `(*)` -> `(*)`.
    Args: dim: the axis along which shares sum to one.
    Raises: DtypeError: x is no floating-point tensor.
    Source: drop-in for torch.nn.Softmin.

    >>> Softmin(dim=0)(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.6652, 0.2447, 0.0900])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return softmin(input, self.dim, _stacklevel=5)


class LogSoftmax(torch.nn.LogSoftmax, metaclass=DropIn):
    r"""The logarithm of Softmax, finite where a share itself would round to zero.

    .. math:: y_i = x_i - \log \sum_j e^{x_j}, \qquad
        \frac{\partial y_i}{\partial x_j} = [i = j] - e^{y_j}

    Does not saturate for the numbers that trail: their gradient tends to 1. Before NLLLoss or KLDivLoss.

    Shape: x `(*)` -> `(*)`.
    Args: dim: the axis along which the exponentials sum to one.
    Raises: DtypeError: x is no floating-point tensor.
    Source: drop-in for torch.nn.LogSoftmax.

    >>> LogSoftmax(dim=0)(torch.tensor([1.0, 2.0, 3.0]))
    tensor([-2.4076, -1.4076, -0.4076])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return log_softmax(input, self.dim, _stacklevel=5)


class Softmax2d(torch.nn.Softmax2d, metaclass=DropIn):
    r"""Softmax over the channels, at each place of an image.

    .. math:: y_{chw} = \frac{e^{x_{chw}}}{\sum_k e^{x_{khw}}}, \qquad
        \frac{\partial y_{chw}}{\partial x_{khw}} = y_{chw} ([c = k] - y_{khw})

    Saturates as Softmax does. For a class at each pixel.

    Shape: x `(N, C, H, W)` or `(C, H, W)` -> the same.
    Raises: ShapeError: x has another number of axes. DtypeError: x is no floating-point tensor.
    Source: drop-in for torch.nn.Softmax2d.

    >>> Softmax2d()(torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)).flatten()
    tensor([0.0900, 0.2447, 0.6652])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*, C, H, W) -> (*, C, H, W)."""
        return _over_channels(input)
