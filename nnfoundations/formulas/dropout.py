"""Dropout: products with a random mask, which is drawn elsewhere and given as an argument.

Notation: x input, y output, g the gradient of y, m the mask, p the share of zeros in it.
"""

import math

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["alpha_dropout", "alpha_dropout_backward", "dropout", "dropout_backward"]


def dropout(x: Array, mask: Array, *, xp: Namespace) -> Array:
    """y = m x. With a mask of 0 and 1 / (1 - p), y is x on average."""
    return x * mask


def dropout_backward(grad_output: Array, mask: Array, *, xp: Namespace) -> Array:
    """dy/dx = m."""
    return grad_output * mask


_FLOOR = -1.7580993408473766  # what SELU tends to on the left: what is dropped goes there, not to zero


def alpha_dropout(x: Array, mask: Array, *, p: float, xp: Namespace) -> Array:
    """y = c (m x + (1 - m) f - p f), with a mask of 0 and 1 and f SELU's lowest value, -1.7581.

    c = 1 / sqrt((1 - p) (1 + p f^2)) keeps mean 0 and variance 1.
    """
    dropped = xp.scaled(1 - p - mask, _FLOOR)
    return xp.scaled(xp.shifted(x * mask, dropped), _scale(p))


def alpha_dropout_backward(grad_output: Array, mask: Array, *, p: float, xp: Namespace) -> Array:
    """dy/dx = c m."""
    return xp.scaled(grad_output * mask, _scale(p))


def _scale(p: float) -> float:
    return 1 / math.sqrt(
        (1 - p) * (1 + p * _FLOOR * _FLOOR)
    )  # Dynamo takes no power of a number that it holds variable
