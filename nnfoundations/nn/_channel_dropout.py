"""Dropout of whole channels: `dropout1d`, `dropout2d`, `dropout3d` and their modules."""

import warnings

import torch
from torch import Tensor

from nnfoundations.errors import ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._dropout import (
    apply_dropout,
    check_probability,
    drop_and_scale,
    mask_per_channel,
)
from nnfoundations.nn._elementwise import write_if_inplace
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["Dropout1d", "Dropout2d", "Dropout3d", "dropout1d", "dropout2d", "dropout3d"]


@supports_torch_function
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Apply dropout to whole channels of sequences.

    Drop-in for torch.nn.functional.dropout1d.

    Args:
        input: `(N, C, L)` or `(C, L)`.
        p: probability of a zero channel.
        training: False returns the input unchanged.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        ShapeError: input has another number of axes.
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.
    """
    check_probability("Dropout1d", p)
    if input.ndim not in (2, 3):
        raise ShapeError(
            f"Dropout1d needs x of shape (N, C, L) or (C, L); got {tuple(input.shape)}. "
            "Use Dropout for single features, Dropout2d for images."
        )
    return _apply_channel_dropout("Dropout1d", input, 3, p, training, inplace)


@supports_torch_function
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Apply dropout to whole channels of images.

    Drop-in for torch.nn.functional.dropout2d.

    Args:
        input: `(N, C, H, W)`; `(N, C, L)` works too, with a warning.
        p: probability of a zero channel.
        training: False returns the input unchanged.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.
    """
    check_probability("Dropout2d", p)
    if input.ndim == 3:
        warnings.warn(
            "dropout2d interprets a 3D input as (N, C, L), as torch does, and drops channels of each sample. "
            "For one image without a batch axis use x.unsqueeze(0), for sequences dropout1d.",
            stacklevel=3,
        )
    elif input.ndim != 4:
        _warn_about_axes("dropout2d", input, 4)
    return _apply_channel_dropout("Dropout2d", input, input.ndim, p, training, inplace)


@supports_torch_function
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Apply dropout to whole channels of volumes.

    Drop-in for torch.nn.functional.dropout3d.

    Args:
        input: `(N, C, D, H, W)` or `(C, D, H, W)`.
        p: probability of a zero channel.
        training: False returns the input unchanged.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.
    """
    check_probability("Dropout3d", p)
    if input.ndim not in (4, 5):
        _warn_about_axes("dropout3d", input, 5)
    return _apply_channel_dropout("Dropout3d", input, 5, p, training, inplace)


def _apply_channel_dropout(
    name: str, x: Tensor, axes: int, p: float, training: bool, inplace: bool
) -> Tensor:
    """Drop channels of a batch, which has `axes` axes, or of one sample."""
    if x.ndim == axes:
        return apply_dropout(name, drop_and_scale, mask_per_channel, x, p, training, inplace)
    batch = x.unsqueeze(0)
    y = apply_dropout(name, drop_and_scale, mask_per_channel, batch, p, training, False)
    return write_if_inplace(x, y.squeeze(0), inplace)


def _warn_about_axes(name: str, x: Tensor, axes: int) -> None:
    warnings.warn(
        f"{name} is for {axes - 1}D or {axes}D inputs; a {x.ndim}D one is deprecated, as in torch. "
        "Use dropout for single features.",
        stacklevel=4,
    )


class Dropout1d(torch.nn.Dropout1d, metaclass=DropIn):
    r"""Set whole channels of a sequence to zero with probability p during training.

    .. math:: y_{nc} = m_{nc} x_{nc}, \qquad \frac{\partial y_{nc}}{\partial x_{nc}} = m_{nc}

    As Dropout. Neighbours within a channel are strongly correlated, so dropping single values would remove
    little information.

    Shape:
        input: `(N, C, L)` or `(C, L)`.
        output: same as input.

    Args:
        p: probability of a zero channel.
        inplace: write the result into `input`.

    Raises:
        ShapeError: input has another number of axes.
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.

    Source:
        Tompson et al. 2015. Drop-in for torch.nn.Dropout1d.

    Example:
        >>> Dropout1d().eval()(torch.ones(1, 3))
        tensor([[1., 1., 1.]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(torch.nn.Dropout2d, metaclass=DropIn):
    r"""Set whole channels of an image to zero with probability p during training.

    .. math:: y_{nc} = m_{nc} x_{nc}, \qquad \frac{\partial y_{nc}}{\partial x_{nc}} = m_{nc}

    As Dropout1d. Use it after convolutions.

    Shape:
        input: `(N, C, H, W)`; `(N, C, L)` works too, with a warning.
        output: same as input.

    Args:
        p: probability of a zero channel.
        inplace: write the result into `input`.

    Raises:
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.

    Source:
        Tompson et al. 2015. Drop-in for torch.nn.Dropout2d.

    Example:
        >>> Dropout2d().eval()(torch.ones(1, 1, 1, 3)).flatten()
        tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(torch.nn.Dropout3d, metaclass=DropIn):
    r"""Set whole channels of a volume to zero with probability p during training.

    .. math:: y_{nc} = m_{nc} x_{nc}, \qquad \frac{\partial y_{nc}}{\partial x_{nc}} = m_{nc}

    As Dropout1d. Use it for video and volumetric scans.

    Shape:
        input: `(N, C, D, H, W)` or `(C, D, H, W)`.
        output: same as input.

    Args:
        p: probability of a zero channel.
        inplace: write the result into `input`.

    Raises:
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.

    Source:
        Tompson et al. 2015. Drop-in for torch.nn.Dropout3d.

    Example:
        >>> Dropout3d().eval()(torch.ones(1, 1, 1, 1, 3)).flatten()
        tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return dropout3d(input, self.p, self.training, self.inplace)
