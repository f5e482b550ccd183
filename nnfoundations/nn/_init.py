"""Initial weights: Xavier (Glorot), He (Kaiming) and orthogonal.

For the same random seed the numbers equal torch's, bit for bit.
"""

import math
import warnings
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from nnfoundations.errors import OptionError, ShapeError
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
    """Compute the gain of an activation: the factor that keeps the variance of the layer's output.

    Drop-in for torch.nn.init.calculate_gain.

    Args:
        nonlinearity: name of the activation or layer, such as "relu" or "linear".
        param: negative slope of "leaky_relu".

    Returns:
        The gain.

    Raises:
        OptionError: the name is unknown, or the slope is not a number.
    """
    if nonlinearity not in _KNOWN:
        raise OptionError(
            f"A gain needs one of {', '.join(sorted(_KNOWN))}; got {nonlinearity!r}. "
            "Use 'linear' if no activation follows."
        )
    if nonlinearity != "leaky_relu" or param is None:
        return initialization.gain(nonlinearity)
    if isinstance(param, bool) or not isinstance(param, int | float):
        raise OptionError(
            f"A gain needs a number for negative_slope; got {param!r}. Give the slope for negative inputs."
        )
    return initialization.gain(nonlinearity, param)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill from U(-b, b), with b = gain sqrt(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010. Drop-in for torch.nn.init.xavier_uniform_.

    Args:
        tensor: weight `(out, in, *)`, changed in place.
        gain: factor, see `calculate_gain`.
        generator: source of random numbers.

    Returns:
        The same tensor.

    Raises:
        ShapeError: the weight has fewer than two axes.
    """
    bound = initialization.uniform_bound(initialization.xavier_std(*_fans(tensor), gain))
    with torch.no_grad():
        return tensor.uniform_(-bound, bound, generator=generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill from N(0, std^2), with std = gain sqrt(2 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010. Drop-in for torch.nn.init.xavier_normal_.

    Args:
        tensor: weight `(out, in, *)`, changed in place.
        gain: factor, see `calculate_gain`.
        generator: source of random numbers.

    Returns:
        The same tensor.

    Raises:
        ShapeError: the weight has fewer than two axes.
    """
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
    """Fill from U(-b, b), with b = gain sqrt(3 / fan).

    Source: He et al. 2015. Drop-in for torch.nn.init.kaiming_uniform_.

    Args:
        tensor: weight `(out, in, *)`, changed in place.
        a: negative slope of a leaky ReLU.
        mode: "fan_in" keeps the variance of the forward pass, "fan_out" that of the backward pass.
        nonlinearity: name of the activation, see `calculate_gain`.
        generator: source of random numbers.

    Returns:
        The same tensor.

    Raises:
        ShapeError: the weight has fewer than two axes.
        OptionError: mode or nonlinearity is unknown.
    """
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
    """Fill from N(0, std^2), with std = gain / sqrt(fan).

    Source: He et al. 2015. Drop-in for torch.nn.init.kaiming_normal_.

    Args:
        tensor: weight `(out, in, *)`, changed in place.
        a: negative slope of a leaky ReLU.
        mode: "fan_in" keeps the variance of the forward pass, "fan_out" that of the backward pass.
        nonlinearity: name of the activation, see `calculate_gain`.
        generator: source of random numbers.

    Returns:
        The same tensor.

    Raises:
        ShapeError: the weight has fewer than two axes.
        OptionError: mode or nonlinearity is unknown.
    """
    if _is_empty(tensor):
        return tensor
    std = _he_std(tensor, a, mode, nonlinearity)
    with torch.no_grad():
        return tensor.normal_(0, std, generator=generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: torch.Generator | None = None) -> Tensor:
    """Fill with gain times a random orthogonal matrix, drawn uniformly.

    A weight `(out, ...)` counts as a matrix with `out` rows. If it has fewer rows than columns, the rows are
    orthonormal, otherwise the columns, so that lengths are kept. With Q R the factors of a normal sample, Q
    sign(diag R) is the matrix whose distribution does not depend on how the library chooses its signs.

    Source: Mezzadri 2007, section 5. Drop-in for torch.nn.init.orthogonal_.

    Args:
        tensor: weight `(out, in, *)`, changed in place.
        gain: factor on the matrix.
        generator: source of random numbers.

    Returns:
        The same tensor.

    Raises:
        ShapeError: the weight has fewer than two axes.
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
        raise OptionError(f"He initialization needs mode 'fan_in' or 'fan_out'; got {mode!r}. Use 'fan_in'.")
    fan_in, fan_out = _fans(tensor)
    fan = fan_in if mode.lower() == "fan_in" else fan_out
    return initialization.he_std(fan, calculate_gain(nonlinearity, a))


def _is_empty(tensor: Tensor) -> bool:
    if 0 not in tensor.shape:
        return False
    warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return True
