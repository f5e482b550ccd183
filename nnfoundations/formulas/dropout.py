"""Dropout: products with a random mask, which the caller draws.

Notation: x input, y output, m the mask, p the probability of a zero in it. `grad_output` is the gradient of
the loss with respect to y; a backward multiplies it by the slope dy/dx that its docstring states.
"""

import math

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["alpha_dropout", "alpha_dropout_backward", "dropout", "dropout_backward"]


def dropout(x: Array, mask: Array, *, xp: Namespace) -> Array:
    """Dropout: y = m x. With a mask of 0 and 1 / (1 - p), the mean of y is x.

    Args:
        x: input.
        mask: m, in the shape of x.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return x * mask


def dropout_backward(grad_output: Array, mask: Array, *, xp: Namespace) -> Array:
    """dy/dx = m."""
    return grad_output * mask


_FLOOR = -1.7580993408473766  # the limit of SELU for x -> -inf: a dropped entry gets this value, not zero


def alpha_dropout(x: Array, mask: Array, *, p: float, xp: Namespace) -> Array:
    """Alpha dropout: y = c (m x + (1 - m) f - p f), with a mask of 0 and 1.

    f = -1.7581 is the lowest value of SELU; c = 1 / sqrt((1 - p) (1 + p f^2)) keeps mean 0 and variance 1.

    Args:
        x: input.
        mask: m, of zeros and ones, in the shape of x.
        p: probability of a zero in the mask.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    dropped = xp.mul_(1 - p - mask, _FLOOR)
    y = xp.add_(x * mask, dropped)
    return xp.mul_(y, _scale(p))


def alpha_dropout_backward(grad_output: Array, mask: Array, *, p: float, xp: Namespace) -> Array:
    """dy/dx = c m."""
    return xp.mul_(grad_output * mask, _scale(p))


def _scale(p: float) -> float:
    # A product, not a power: torch.compile cannot trace the power of a variable number.
    return 1 / math.sqrt((1 - p) * (1 + p * _FLOOR * _FLOOR))
