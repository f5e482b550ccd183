"""The operations of `Namespace` in NumPy. Imported by `numpy_namespace()` only, because it imports NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["NUMPY"]

_INTEGER_OF = {np.dtype(f"f{size}"): np.dtype(f"i{size}") for size in (2, 4, 8)}
_FLOAT32_AND_LESS = (np.dtype("float16"), np.dtype("float32"))
_FLOAT32_OR_64 = (np.dtype("float32"), np.dtype("float64"))


def _memory(fresh: Array) -> Array | None:
    """Return where an in-place operation may write: nowhere for a number, which has no memory."""
    return fresh if isinstance(fresh, np.ndarray) else None


def _rsqrt(x: Array) -> Array:
    return 1 / np.sqrt(x)


def _xlogy(x: Array, y: Array) -> Array:
    return x * np.log(np.where((x == 0) & (y == y), 1, y))


def _sigmoid(x: Array) -> Array:
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))  # no exponent is positive: no overflow


def _erf(x: Array) -> Array:
    from scipy import special  # a slow import, which only GELU needs

    wide = x if x.dtype in _FLOAT32_OR_64 else x.astype(np.float64)
    return special.erf(wide).astype(x.dtype, copy=False)


def _exp_in_place(fresh: Array) -> Array:
    return np.exp(fresh, out=_memory(fresh))


def _mul_in_place(fresh: Array, x: Array) -> Array:
    return np.multiply(fresh, x, out=_memory(fresh))


def _add_in_place(fresh: Array, x: Array) -> Array:
    return np.add(fresh, x, out=_memory(fresh))


def _clamp(x: Array, low: float | None, high: float | None) -> Array:
    return np.clip(x, low, high)


def _clamp_in_place(fresh: Array, low: float | None, high: float | None) -> Array:
    return np.clip(fresh, low, high, out=_memory(fresh))


def _gate(x: Array, gate: Array) -> Array:
    integer = _INTEGER_OF.get(x.dtype)
    if integer is None:
        return np.where(gate != 0, x, x.dtype.type(0))
    # All bits of x, or none: twice as fast as np.where, and also 0 for an x of inf or NaN.
    return (x.view(integer) & -(gate != 0).astype(integer)).view(x.dtype)


def _select(gate: Array, a: Array | float, b: Array) -> Array:
    return np.where(gate != 0, np.asarray(a, b.dtype), b)


def _in_float64(reduce: Callable[..., Array]) -> Callable[..., Array]:
    """Accumulate in float64: NumPy adds down a column one by one, which costs float32 its digits.

    Over a million rows the float32 sum is 700 eps off.
    """

    def reduced(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
        wide = np.float64 if x.dtype in _FLOAT32_AND_LESS else None
        return reduce(x, axis=axis, keepdims=keepdims, dtype=wide).astype(x.dtype, copy=False)

    return reduced


def _affine(bias: Array, x: Array, w: Array) -> Array:
    if 4 * len(x) > min(w.shape):
        return _add_in_place(x @ w, bias)
    y = (w.T @ x.T).T  # for few rows OpenBLAS is 1.1 to 2 times faster with the large matrix in front
    return np.add(y, bias, order="C", dtype=y.dtype)


def _gather(x: Array, axis: int, index: Array) -> Array:
    return np.take_along_axis(x, index, axis)


def _scatter_add_in_place(fresh: Array, axis: int, index: Array, values: Array) -> Array:
    # Formulas have one index per row along the axis, so that no place is written twice.
    np.put_along_axis(fresh, index, np.take_along_axis(fresh, index, axis) + values, axis)
    return fresh


NUMPY = Namespace(
    abs=np.abs,
    sign=np.sign,
    square=np.square,
    sqrt=np.sqrt,
    rsqrt=_rsqrt,
    exp=np.exp,
    exp_=_exp_in_place,
    expm1=np.expm1,
    log=np.log,
    log1p=np.log1p,
    xlogy=_xlogy,
    tanh=np.tanh,
    sigmoid=_sigmoid,
    erf_=_erf,
    conj=np.conj,
    real=np.real,
    maximum=np.maximum,
    minimum=np.minimum,
    clamp=_clamp,
    clamp_=_clamp_in_place,
    above=lambda x, t: (x > t).astype(x.dtype),
    below=lambda x, t: (x < t).astype(x.dtype),
    at_most=lambda x, t: (x <= t).astype(x.dtype),
    gate=_gate,
    gate_=_gate,
    select=_select,
    where=np.where,
    type_as=lambda mask, x: mask.astype(x.dtype),
    sum=_in_float64(np.add.reduce),
    mean=_in_float64(np.mean),
    amax=lambda x, axis, keepdims=False: np.maximum.reduce(x, axis=axis, keepdims=keepdims),
    matmul=np.matmul,
    transpose=lambda x: np.swapaxes(x, -2, -1),
    affine=_affine,
    mul_=_mul_in_place,
    add_=_add_in_place,
    take=lambda x, index: x[index],
    gather=_gather,
    scatter_add_=_scatter_add_in_place,
    expand_dims=np.expand_dims,
    reshape=np.reshape,
    squeeze=np.squeeze,
    halves=lambda x, axis: tuple(np.split(x, 2, axis)),
    concat=lambda a, b, axis: np.concatenate((a, b), axis),
    ones_like=np.ones_like,
    zeros_like=np.zeros_like,
)
