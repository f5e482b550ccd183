"""What comes from outside, looked at where it comes in: sizes, number formats, arrays, labels, gradients."""

from numbers import Integral
from typing import Any

import numpy as np

from nnfoundations._errors import DtypeError, LabelError, OptionError, ShapeError
from nnfoundations.numpy._layer import Array

__all__ = [
    "check_dtype",
    "check_eps",
    "check_gradient",
    "check_sizes",
    "is_count",
    "labels_of",
    "needs_array",
    "rows_of",
]


def is_count(size: Any) -> bool:
    """Whether it is a whole number of at least 1."""
    return isinstance(size, Integral) and int(size) >= 1


def check_sizes(name: str, **sizes: Any) -> None:
    """Raises: ShapeError: one of them is no positive whole number."""
    if not all(map(is_count, sizes.values())):
        came = ", ".join(f"{option}={size!r}" for option, size in sizes.items())
        raise ShapeError(
            f"{name} needs whole numbers of at least 1 for {' and '.join(sizes)}; got {came}. "
            "Count the numbers of a sample, and the units to be built."
        )


def check_eps(name: str, eps: float) -> None:
    """Raises: OptionError: it is negative."""
    if not eps >= 0:
        raise OptionError(f"{name} needs an eps of at least 0; got {eps}. 1e-5 is usual.")


def check_dtype(name: str, dtype: Any) -> None:
    """Raises: DtypeError: weights in this dtype could not be learnt, or it is none."""
    try:
        fits = np.dtype(dtype).kind == "f"
    except TypeError:
        fits = False
    if not fits:
        raise DtypeError(f"{name} needs a dtype of floats; got {dtype!r}. Take 'float32' or 'float64'.")


def needs_array(name: str, x: Any, *, kinds: str = "f") -> None:
    """Raises: DtypeError: x is no array, or one of other than numbers."""
    if not isinstance(x, np.ndarray | np.generic):
        raise DtypeError(
            f"{name} needs a NumPy array; got {type(x).__name__}. Convert it: np.asarray(x, 'float32')."
        )
    if x.dtype.kind not in kinds:
        raise DtypeError(
            f"{name} needs an array of {'floats' if kinds == 'f' else 'numbers'}; got {x.dtype}. "
            "Convert it: x.astype('float32')."
        )


def rows_of(name: str, x: Any, features: int, dtype: Any) -> Array:
    """x, if it is rows of so many features; integers become floats of this dtype, which promotes nothing.

    Raises: DtypeError: it is no array of numbers. ShapeError: it is not such rows.
    """
    needs_array(name, x, kinds="fiub")
    if x.ndim != 2 or x.shape[1] != features:
        raise ShapeError(
            f"{name} needs rows of {features} features; got x of shape {x.shape}. "
            "Reshape x to (N, features), or build the layer for the features that x has."
        )
    rows: Array = x if x.dtype.kind == "f" else x.astype(dtype)
    return rows


def check_gradient(name: str, grad_output: Any, shape: tuple[int, ...]) -> None:
    """Raises: DtypeError, ShapeError: it is no gradient of the forward's output."""
    needs_array(f"{name}.backward", grad_output)
    if grad_output.shape != shape:
        raise ShapeError(
            f"{name}.backward needs the gradient of its last output, of shape {shape}; "
            f"got {grad_output.shape}. Call it after the forward that it belongs to."
        )


def labels_of(name: str, x: Any, target: Any) -> Array:
    """The classes (N,) of logits (N, C), as an array.

    Raises: DtypeError, ShapeError, LabelError: x or target is not that.
    """
    needs_array(name, x)
    labels: Array = np.asarray(target)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ShapeError(
            f"{name} needs logits (N, C) and class indices (N,); got {x.shape} and {labels.shape}. "
            "Give one row of logits and one index a sample."
        )
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
    return labels
