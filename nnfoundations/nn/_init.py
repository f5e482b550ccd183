"""Initialisation by Xavier (Glorot), by He (Kaiming), and by orthogonal matrices.

Under one seed the numbers are torch's, bit for bit: the same draws, scaled by our own statistics.
"""

import math
import warnings
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from nnfoundations._errors import OptionError, ShapeError
from nnfoundations.formulas import initialization

__all__ = [
    "calculate_gain",
    "kaiming_normal_",
    "kaiming_uniform_",
    "orthogonal_",
    "xavier_normal_",
    "xavier_uniform_",
]

_FanMode: TypeAlias = Literal["fan_in", "fan_out"]
_CONVOLUTIONS = {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)}
_KNOWN = {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu", *_CONVOLUTIONS}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain of an activation, with `param` the negative slope of "leaky_relu"."""
    if nonlinearity not in _KNOWN:
        raise OptionError(
            f"A gain needs one of {', '.join(sorted(_KNOWN))}; got {nonlinearity!r}. "
            "Take 'linear' where no rectifier follows."
        )
    if nonlinearity != "leaky_relu" or param is None:
        return initialization.gain(nonlinearity)
    if isinstance(param, bool) or not isinstance(param, int | float):
        raise OptionError(
            f"A gain needs a number for negative_slope; got {param!r}. Give its slope below zero."
        )
    return initialization.gain(nonlinearity, param)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill from U(-b, b) with the deviation of Glorot and Bengio 2010."""
    bound = initialization.uniform_bound(initialization.xavier_std(*_fans(tensor), gain))
    with torch.no_grad():
        return tensor.uniform_(-bound, bound, generator=generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill from N(0, std^2) with the deviation of Glorot and Bengio 2010."""
    std = initialization.xavier_std(*_fans(tensor), gain)
    with torch.no_grad():
        return tensor.normal_(0.0, std, generator=generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: _FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill from U(-b, b) with the deviation of He et al. 2015; `a` is the slope of a leaky rectifier."""
    if _is_empty(tensor):
        return tensor
    bound = initialization.uniform_bound(_he_std(tensor, a, mode, nonlinearity))
    with torch.no_grad():
        return tensor.uniform_(-bound, bound, generator=generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: _FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill from N(0, std^2) with the deviation of He et al. 2015; `a` is the slope of a leaky rectifier."""
    if _is_empty(tensor):
        return tensor
    std = _he_std(tensor, a, mode, nonlinearity)
    with torch.no_grad():
        return tensor.normal_(0, std, generator=generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: torch.Generator | None = None) -> Tensor:
    """Fill with gain times an orthogonal matrix, of all such equally likely: Mezzadri 2007, section 5.

    A weight (out, ...) counts as a matrix of `out` rows; of rows and columns the fewer are orthonormal, so
    that lengths are kept. With Q R the factors of a normal draw, Q sign(diag R) is the one whose distribution
    does not depend on how the library picks its signs.
    """
    if tensor.ndim < 2:
        raise ShapeError(
            f"An orthogonal matrix needs a weight (out, in, ...); got {tuple(tensor.shape)}. "
            "Fill vectors with zeros_."
        )
    if tensor.numel() == 0 or tensor.is_meta:
        return tensor
    with torch.no_grad():
        draw = tensor.new_empty(tensor.shape[0], tensor[0].numel()).normal_(generator=generator)
        is_wide = draw.shape[0] < draw.shape[1]
        q, r = torch.linalg.qr(draw.T if is_wide else draw)
        q *= r.diagonal().sign()
        return tensor.copy_((q.T if is_wide else q).view_as(tensor)).mul_(gain)


def _fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, *receptive field)."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"A fan needs a weight (out, in, ...); got {tuple(tensor.shape)}. Fill vectors with zeros_."
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _he_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise OptionError(f"He initialisation needs mode 'fan_in' or 'fan_out'; got {mode!r}. Take 'fan_in'.")
    fan_in, fan_out = _fans(tensor)
    fan = fan_in if mode.lower() == "fan_in" else fan_out
    return initialization.he_std(fan, calculate_gain(nonlinearity, a))


def _is_empty(tensor: Tensor) -> bool:
    if 0 not in tensor.shape:
        return False
    warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return True
