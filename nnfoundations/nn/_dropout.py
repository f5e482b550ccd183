"""Dropout: the masks are drawn here, with torch's generator, and given to the formulas.

Under one seed they are torch's own on the CPU, bit for bit, and leave its random state. CUDA's fused kernels
draw in an order of their own, which nothing else reproduces.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import written
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = [
    "AlphaDropout",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]

_dropout = Operation(
    Record(formulas.dropout, formulas.dropout_backward, formulas.dropout_backward, needs={"x": ("mask",)})
)
_alpha_dropout = Operation(
    Record(
        formulas.alpha_dropout,
        formulas.alpha_dropout_backward,
        formulas.alpha_dropout_backward,
        needs={"x": ("mask",)},
    )
)


@overridable
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """x or zero, each with its chance, scaled to keep the mean. Drop-in for torch.nn.functional.dropout."""
    return _dropped("Dropout", _scaled, _one_each, input, p, training, inplace)


@overridable
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, L) or (C, L). Drop-in for torch.nn.functional.dropout1d."""
    _check_share("Dropout1d", p)
    if input.ndim not in (2, 3):
        raise ShapeError(
            f"Dropout1d needs x of shape (N, C, L) or (C, L); got {tuple(input.shape)}. "
            "Take Dropout for single features, Dropout2d for images."
        )
    return _channels_dropped("Dropout1d", input, 3, p, training, inplace)


@overridable
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, H, W). Drop-in for torch.nn.functional.dropout2d."""
    _check_share("Dropout2d", p)
    if input.ndim == 3:
        warnings.warn(
            "dropout2d takes a 3D input for (N, C, L), as torch does, and drops channels of single samples. "
            "For one image without a batch take x.unsqueeze(0), for sequences dropout1d.",
            stacklevel=3,
        )
    elif input.ndim != 4:
        _warn_of_axes("dropout2d", input, 4)
    return _channels_dropped("Dropout2d", input, input.ndim, p, training, inplace)


@overridable
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, D, H, W) or (C, D, H, W). Drop-in for torch.nn.functional.dropout3d."""
    _check_share("Dropout3d", p)
    if input.ndim not in (4, 5):
        _warn_of_axes("dropout3d", input, 5)
    return _channels_dropped("Dropout3d", input, 5, p, training, inplace)


@overridable
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout after SELU. Drop-in for torch.nn.functional.alpha_dropout."""
    return _dropped("AlphaDropout", _floored, _one_each, input, p, training, inplace)


@overridable
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """The same for whole channels. Drop-in for torch.nn.functional.feature_alpha_dropout."""
    return _dropped("FeatureAlphaDropout", _floored, _one_a_channel, input, p, training, inplace)


def _channels_dropped(name: str, x: Tensor, axes: int, p: float, training: bool, inplace: bool) -> Tensor:
    if x.ndim == axes:
        return _dropped(name, _scaled, _one_a_channel, x, p, training, inplace)
    y = _dropped(name, _scaled, _one_a_channel, x.unsqueeze(0), p, training, False).squeeze(0)
    return written(x, y, inplace)


def _dropped(
    name: str,
    drop: Callable[[Tensor, Tensor, float], Tensor],
    make: Callable[[Tensor], Tensor],
    x: Tensor,
    p: float,
    training: bool,
    inplace: bool,
) -> Tensor:
    _check_share(name, p)
    if p == 0 or not training or x.numel() == 0:
        return x
    if p == 1:
        return written(x, _dropout(x, x.new_zeros(())), inplace)
    if not (x.is_floating_point() or x.is_complex()):
        raise DtypeError(
            f"{name} needs floating-point numbers; got {x.dtype}. Convert x with .to(torch.float32)."
        )
    return written(x, drop(x, _drawn(make(x), p), p), inplace)


def _drawn(mask: Tensor, p: float) -> Tensor:
    """One with chance 1 - p, else zero. Under vmap a fresh tensor: it alone may be shared or one a sample."""
    if torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling():
        return torch.bernoulli(torch.empty(mask.shape, dtype=mask.dtype, device=mask.device), 1 - p)
    return mask.bernoulli_(1 - p)


def _scaled(x: Tensor, mask: Tensor, p: float) -> Tensor:
    y: Tensor = _dropout(x, mask.div_(1 - p))
    return y


def _floored(x: Tensor, mask: Tensor, p: float) -> Tensor:
    y: Tensor = _alpha_dropout(x, mask, p=p)
    return y


def _one_each(x: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=_real(x))


def _real(x: Tensor) -> torch.dtype:
    return x.dtype.to_real() if x.is_complex() else x.dtype


def _one_a_channel(x: Tensor) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(
            f"Dropout of channels needs x of shape (N, C, ...); got {tuple(x.shape)}. Take Dropout."
        )
    return x.new_empty((*x.shape[:2], *(1,) * (x.ndim - 2)), dtype=_real(x))


def _check_share(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise OptionError(f"{name} needs a p from 0 to 1, the share to drop; got {p}. Take 0.5.")


def _warn_of_axes(name: str, x: Tensor, axes: int) -> None:
    warnings.warn(
        f"{name} is for {axes - 1}D or {axes}D inputs; a {x.ndim}D one is deprecated, as in torch. "
        "Take dropout for single features.",
        stacklevel=4,
    )


class Dropout(torch.nn.Dropout, metaclass=DropIn):
    r"""Silence each feature with chance p while training, and scale up the others.

    .. math:: y = m x, \qquad y' = m, \qquad m = \begin{cases} 0 & \text{with chance } p \\
        1 / (1 - p) & \text{else} \end{cases}

    Does nothing in eval mode. Against overfitting, behind layers with many weights; little use beside batch
    normalization.

    Shape: x `(*)` -> `(*)`.
    Args: p: chance of a zero. inplace: write y over x.
    Raises: OptionError: p is outside 0 to 1. DtypeError: x is an integer tensor.
    Source: Srivastava et al. 2014. Drop-in for torch.nn.Dropout, with its masks under one seed on the CPU.

    >>> Dropout().eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return dropout(input, self.p, self.training, self.inplace)


class Dropout1d(torch.nn.Dropout1d, metaclass=DropIn):
    r"""Silence whole channels of a sequence with chance p while training.

    .. math:: y_{nc} = m_{nc} x_{nc}, \qquad \frac{\partial y_{nc}}{\partial x_{nc}} = m_{nc}

    As Dropout; neighbours in a channel say nearly the same, so that dropping single ones removes little.

    Shape: x `(N, C, L)` or `(C, L)` -> the same.
    Args: p: chance of a zero channel. inplace: write y over x.
    Raises: ShapeError: x has another number of axes. OptionError: p is outside 0 to 1.
    Source: Tompson et al. 2015. Drop-in for torch.nn.Dropout1d.

    >>> Dropout1d().eval()(torch.ones(1, 3))
    tensor([[1., 1., 1.]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*, C, L) -> (*, C, L)."""
        return dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(torch.nn.Dropout2d, metaclass=DropIn):
    r"""Silence whole channels of an image with chance p while training.

    .. math:: y_{nc} = m_{nc} x_{nc}, \qquad \frac{\partial y_{nc}}{\partial x_{nc}} = m_{nc}

    As Dropout1d. Behind convolutions.

    Shape: x `(N, C, H, W)` -> the same; `(N, C, L)` too, with a warning.
    Args: p: chance of a zero channel. inplace: write y over x.
    Raises: OptionError: p is outside 0 to 1.
    Source: Tompson et al. 2015. Drop-in for torch.nn.Dropout2d.

    >>> Dropout2d().eval()(torch.ones(1, 1, 1, 3)).flatten()
    tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(torch.nn.Dropout3d, metaclass=DropIn):
    r"""Silence whole channels of a volume with chance p while training.

    .. math:: y_{nc} = m_{nc} x_{nc}, \qquad \frac{\partial y_{nc}}{\partial x_{nc}} = m_{nc}

    As Dropout1d. For video and scans.

    Shape: x `(N, C, D, H, W)` or `(C, D, H, W)` -> the same.
    Args: p: chance of a zero channel. inplace: write y over x.
    Raises: OptionError: p is outside 0 to 1.
    Source: Tompson et al. 2015. Drop-in for torch.nn.Dropout3d.

    >>> Dropout3d().eval()(torch.ones(1, 1, 1, 1, 3)).flatten()
    tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*, C, D, H, W) -> (*, C, D, H, W)."""
        return dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(torch.nn.AlphaDropout, metaclass=DropIn):
    r"""Send each feature to SELU's lowest value with chance p while training.

    .. math:: y = c \, (m x + (1 - m) f - p f), \qquad y' = c m, \qquad
        c = 1 / \sqrt{(1 - p)(1 + p f^2)}, \qquad f = -1.7581

    Keeps mean 0 and variance 1, which a SELU network relies on and Dropout would break.

    Shape: x `(*)` -> `(*)`.
    Args: p: chance of a drop. inplace: write y over x.
    Raises: OptionError: p is outside 0 to 1. DtypeError: x is an integer tensor.
    Source: Klambauer et al. 2017. Drop-in for torch.nn.AlphaDropout.

    >>> AlphaDropout().eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return alpha_dropout(input, self.p, self.training)  # torch's module forgets inplace too


class FeatureAlphaDropout(torch.nn.FeatureAlphaDropout, metaclass=DropIn):
    r"""AlphaDropout of whole channels.

    .. math:: y_{nc} = c \, (m_{nc} x_{nc} + (1 - m_{nc}) f - p f), \qquad
        \frac{\partial y_{nc}}{\partial x_{nc}} = c \, m_{nc}

    With c and f of AlphaDropout. Behind convolutions in a SELU network.

    Shape: x `(N, C, *)` -> the same.
    Args: p: chance of a dropped channel. inplace: write y over x.
    Raises: ShapeError: x has fewer than two axes. OptionError: p is outside 0 to 1.
    Source: Klambauer et al. 2017. Drop-in for torch.nn.FeatureAlphaDropout.

    >>> FeatureAlphaDropout().eval()(torch.ones(1, 3))
    tensor([[1., 1., 1.]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) -> (N, C, *)."""
        return feature_alpha_dropout(input, self.p, self.training)  # torch's module forgets inplace too
