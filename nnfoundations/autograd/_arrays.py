"""Arrays from outside, checked, and the shapes of gradients."""

import reprlib
from typing import Any

import numpy as np

from nnfoundations.errors import DtypeError
from nnfoundations.formulas import Array, check_plain

__all__ = ["integers", "numbers", "unbroadcast"]


def numbers(given: Any) -> Array:
    """Return an array of real numbers, or raise DtypeError."""
    check_plain("Value", given)
    try:
        array = np.asarray(given)
    except ValueError:  # rows of different lengths, or a Value within a list
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub":
        came = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else reprlib.repr(given)
        raise DtypeError(
            f"Value needs a real number or an array of them; got {came}. Pass floats, in rows of one length."
        )
    return array


def integers(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Return sizes or axes that are given one by one, or as one tuple, as NumPy's methods take them."""
    one = len(given) == 1 and not isinstance(given[0], int | np.integer)
    return tuple(given[0] or ()) if one else given


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes that broadcasting repeated, so that it has this shape."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    repeated = tuple(i for i, size in enumerate(shape) if size == 1 and grad.shape[i] != 1)
    return grad.sum(axis=repeated, keepdims=True) if repeated else grad
