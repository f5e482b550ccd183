"""Checks of what a user passes in: sizes, dtypes, arrays, targets and gradients."""

import math
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfoundations.errors import DtypeError, LabelError, OptionError, ShapeError
from nnfoundations.formulas import check_plain

__all__ = [
    "Array",
    "as_labels",
    "as_numbers",
    "as_rows",
    "as_samples",
    "as_target",
    "check_array",
    "check_dtype",
    "check_eps",
    "check_gradient",
    "check_sizes",
    "is_count",
]

Array: TypeAlias = NDArray[Any]

_FLOATS, _NUMBERS = "f", "fiub"  # kinds of dtypes, as NumPy names them

_TEXT = "Encode text as numbers, such as a class index; astype('float32') converts digits only."
_TIME = "Subtract a start and divide by a unit, such as np.timedelta64(1, 's')."
_FIXES = {
    "c": "Pass its real part, its absolute value, or both parts as features of their own.",
    "S": _TEXT,
    "U": _TEXT,
    "M": _TIME,
    "m": "Divide it by a unit, such as np.timedelta64(1, 's').",
    "V": "Stack its fields as columns: np.lib.recfunctions.structured_to_unstructured.",
    "O": "Make the rows one length and all entries numbers, then use astype('float32').",
}
"""What to do about an array of another kind of dtype. The text names no variable: it may be the target."""


def is_count(size: Any) -> bool:
    """Return whether this is a whole number of at least 1."""
    return isinstance(size, Integral) and int(size) >= 1


def check_sizes(name: str, **sizes: Any) -> None:
    """Raise ShapeError if one of these is not a positive whole number."""
    if not all(map(is_count, sizes.values())):
        came = ", ".join(f"{option}={size!r}" for option, size in sizes.items())
        raise ShapeError(
            f"{name} needs whole numbers of at least 1 for {' and '.join(sizes)}; got {came}. "
            "Pass the number of features per sample, and the number of units."
        )


def check_eps(name: str, eps: float) -> None:
    """Raise OptionError if eps is negative."""
    if not eps >= 0:
        raise OptionError(f"{name} needs an eps of at least 0; got {eps}. 1e-5 is usual.")


def check_dtype(name: str, dtype: Any) -> None:
    """Raise DtypeError if this is not a floating-point dtype."""
    try:
        fits = np.dtype(dtype).kind == "f"
    except TypeError:
        fits = False
    if not fits:
        raise DtypeError(f"{name} needs a floating-point dtype; got {dtype!r}. Use 'float32' or 'float64'.")


def check_array(name: str, x: Any, *, kinds: str = _FLOATS) -> None:
    """Raise DtypeError if x is not a plain array with a dtype of these kinds."""
    if not isinstance(x, np.ndarray | np.generic):
        raise DtypeError(f"{name} needs a NumPy array; got {type(x).__name__}. Convert it with np.asarray.")
    check_plain(name, x)
    _check_kind(name, x, kinds)


def _check_kind(name: str, x: Any, kinds: str) -> None:
    if x.dtype.kind in kinds:
        return
    wanted = "floats" if kinds == _FLOATS else "real numbers"
    fix = _FIXES.get(x.dtype.kind, "Convert it with astype('float32').")
    raise DtypeError(f"{name} needs an array of {wanted}; got {x.dtype}. {fix}")


def as_rows(name: str, x: Any, features: int, dtype: Any) -> Array:
    """Return x of shape (N, features); integers and half precision are converted to this dtype.

    Float32 and float64 stay as they are. Half precision overflows in a sum of squares, so it is raised.
    """
    check_array(name, x, kinds=_NUMBERS)
    if x.ndim != 2 or x.shape[1] != features:
        raise ShapeError(
            f"{name} needs rows of {features} features; got x of shape {x.shape}. "
            "Reshape x to (N, features), or build the layer for the number of features in x."
        )
    keep = x.dtype.kind == "f" and x.dtype.itemsize >= 4
    rows: Array = x if keep else x.astype(dtype)
    return rows


def as_samples(name: str, x: Any) -> Array:
    """Return x (N, *) as one row per sample, (N, features)."""
    check_array(name, x, kinds=_NUMBERS)
    if not x.ndim:
        raise ShapeError(f"{name} needs a batch (N, *); got one number. Pass an array with a row per sample.")
    features = math.prod(x.shape[1:])
    rows: Array = x.reshape(len(x), features)
    return rows


def check_gradient(name: str, grad_output: Any, shape: tuple[int, ...]) -> None:
    """Raise DtypeError or ShapeError if this is not a gradient of the last output."""
    check_array(f"{name}.backward", grad_output)
    if grad_output.shape != shape:
        raise ShapeError(
            f"{name}.backward needs the gradient of its last output, of shape {shape}; "
            f"got {grad_output.shape}. Call it after the forward that it belongs to."
        )


def as_target(name: str, x: Any, target: Any) -> tuple[Array, Array]:
    """Return x and a target of the same shape, both in the dtype of x.

    A target in float64 would otherwise raise all gradients to float64. Half precision is raised to float32:
    the square of a residual above 256 would overflow.
    """
    check_array(name, x)
    target = as_numbers(f"{name}'s target", target)
    if x.shape != target.shape:  # broadcasting would compare every row with every other
        raise ShapeError(
            f"{name} needs x and target of one shape; got {x.shape} and {target.shape}. Reshape one of them."
        )
    dtype = np.dtype("float32") if x.dtype == np.float16 else x.dtype
    return np.asarray(x, dtype), np.asarray(target, dtype)


def as_labels(name: str, x: Any, target: Any) -> tuple[Array, Array]:
    """Return logits (N, C), in float32 at least, and the class index of each row (N,)."""
    check_array(name, x)
    labels = _as_array(f"{name}'s target", target)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ShapeError(
            f"{name} needs logits (N, C) and class indices (N,); got {x.shape} and {labels.shape}. "
            "Pass one row of logits and one index per sample."
        )
    if not labels.size and labels.dtype.kind == "f":
        labels = labels.astype(np.int64)  # an empty list becomes an array of floats
    if labels.dtype.kind not in "iu":
        raise DtypeError(
            f"{name} needs class indices, which are integers; got {labels.dtype}. "
            "Convert them: target.astype(int)."
        )
    if labels.size and (labels.min() < 0 or labels.max() >= x.shape[1]):
        raise LabelError(
            f"{name} needs class indices from 0 to {x.shape[1] - 1}; got {labels.min()} to {labels.max()}. "
            "Give the network as many outputs as there are classes."
        )
    return (x.astype(np.float32) if x.dtype == np.float16 else x), labels


def as_numbers(name: str, given: Any) -> Array:
    """Return an array of real numbers; a list or a number is converted."""
    array = _as_array(name, given)
    _check_kind(name, array, _NUMBERS)
    return array


def _as_array(name: str, given: Any) -> Array:
    """Return an array of this list or number, with its numbers unchanged."""
    check_plain(name, given)
    try:
        array: Array = np.asarray(given)
    except ValueError as error:
        raise ShapeError(f"{name} needs rows of one length; got a ragged list. Pad or cut them.") from error
    return array
