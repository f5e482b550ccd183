"""The words that a formula may use, over any array library: about 25, and all of them ours.

A formula receives them as `xp`. Raw libraries differ too much to be handed over: NumPy has no `rsqrt`,
torch's `max` along an axis returns a pair and its `maximum` refuses a number. The words are elementary
functions, products, sums and moves of data; whatever is a layer, an activation or a loss is a formula.

A library is imported when its namespace is asked for, not before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

__all__ = ["Array", "Namespace", "numpy_namespace", "torch_namespace"]

Array: TypeAlias = Any
"""An array of whichever library `xp` speaks for: they share no type."""

_Unary: TypeAlias = Callable[[Array], Array]
_Binary: TypeAlias = Callable[[Array, Array], Array]
_Comparison: TypeAlias = Callable[[Array, float], Array]


@dataclass(frozen=True)
class Namespace:
    """One field a word. Two arrays in one call have one dtype; a result has that dtype too."""

    # elementary functions
    abs: _Unary
    sign: _Unary
    square: _Unary
    sqrt: _Unary
    rsqrt: _Unary
    exp: _Unary
    expm1: _Unary
    log: _Unary
    log1p: _Unary
    xlogy: _Binary  # x log y, zero where x is zero
    tanh: _Unary
    sigmoid: _Unary
    erf: _Unary  # of a fresh x: see `scaled`
    conj: _Unary
    real: _Unary
    maximum: _Binary
    minimum: _Binary
    clamp: Callable[[Array, float | None, float | None], Array]  # None: no bound on that side
    clamped: Callable[[Array, float | None, float | None], Array]  # the same of a fresh x: see `scaled`
    gated: _Binary  # x, gate: x where gate != 0 (also where it is NaN), else 0, even for an x of inf or NaN
    above: _Comparison  # x, t: 1 where x > t, else 0 (also where x is NaN), in x's dtype
    below: _Comparison  # x < t
    at_most: _Comparison  # x <= t
    switched: _Binary  # x, gate: the same for a fresh gate of ones and zeros, which may be used up
    select: Callable[[Array, Array | float, Array], Array]  # gate, a, b: a where that gate is one, else b
    number: _Binary  # mask, x: 1 where the mask holds, else 0, in x's dtype
    where: Callable[[Array, Array, Array], Array]  # slow on CPU: for one number a row, not for elements

    # sums; the axis stays, with size one, if `keepdims`
    sum: Callable[..., Array]  # (x, axis=None, keepdims=False), one axis or several
    mean: Callable[..., Array]  # (x, axis=None, keepdims=False)
    amax: Callable[..., Array]  # (x, axis, keepdims=False)

    # products
    matmul: _Binary
    transpose: _Unary  # of the last two axes
    affine: Callable[[Array, Array, Array], Array]  # bias, x, w: bias + x @ w for matrices x and w
    scaled: _Binary  # fresh, x: their product; `fresh`, a temporary of the formula's own, may be used up
    shifted: _Binary  # fresh, x: their sum; see `scaled`
    exponentiated: _Unary  # fresh: e to its power; see `scaled`

    # moves of data; `index` has the axes of x
    take: Callable[[Array, Array], Array]  # x, index: x[index] for a vector x
    take_along: Callable[[Array, Array, int], Array]  # x, index, axis
    add_along: Callable[[Array, Array, Array, int], Array]  # fresh, index, values, axis: see `scaled`
    expand_dims: Callable[[Array, int], Array]  # x, axis
    reshape: Callable[[Array, tuple[int, ...]], Array]
    squeeze: Callable[[Array, int], Array]  # x, axis
    halves: Callable[[Array, int], tuple[Array, ...]]  # x, axis: its two halves on that axis
    concat: Callable[[Array, Array, int], Array]  # a, b, axis: one after the other on that axis
    ones_like: _Unary
    zeros_like: _Unary


@cache
def numpy_namespace() -> Namespace:
    """The words in NumPy."""
    import numpy as np

    def add_along(fresh: Array, index: Array, values: Array, axis: int) -> Array:
        # One index a row on that axis, so that no place is met twice.
        np.put_along_axis(fresh, index, np.take_along_axis(fresh, index, axis) + values, axis)
        return fresh

    def erf(x: Array) -> Array:
        from scipy import special  # type: ignore[import-untyped]  # a slow import, for GELU alone

        return special.erf(x)

    def accumulated(reduce: Callable[..., Array]) -> Callable[..., Array]:
        # In float64: down a column NumPy adds one by one, and float32 would lose 700 eps in a million rows.
        def of(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
            wide = np.float64 if x.dtype == np.float32 else None
            return reduce(x, axis=axis, keepdims=keepdims, dtype=wide).astype(x.dtype, copy=False)

        return of

    def memory(fresh: Array) -> Array | None:
        return fresh if isinstance(fresh, np.ndarray) else None  # one number has none to be used up

    def add_in_place(fresh: Array, x: Array) -> Array:
        return np.add(fresh, x, out=memory(fresh))

    whole_of = {np.dtype(f"f{size}"): np.dtype(f"i{size}") for size in (2, 4, 8)}

    def affine(bias: Array, x: Array, w: Array) -> Array:
        if 4 * len(x) > min(w.shape):
            return add_in_place(x @ w, bias)
        y = (w.T @ x.T).T  # for few rows OpenBLAS is 1.1 to 2 times faster with the large matrix in front
        return np.add(y, bias, order="C", dtype=y.dtype)

    def gated(x: Array, gate: Array) -> Array:
        whole = whole_of.get(x.dtype)
        if whole is None:
            return np.where(gate != 0, x, x.dtype.type(0))
        # All bits of x, or none: twice as fast as a choice, and 0 of an inf or NaN too.
        return (x.view(whole) & -(gate != 0).astype(whole)).view(x.dtype)

    return Namespace(
        abs=np.abs,
        sign=np.sign,
        square=np.square,
        sqrt=np.sqrt,
        rsqrt=lambda x: 1 / np.sqrt(x),
        exp=np.exp,
        expm1=np.expm1,
        log=np.log,
        log1p=np.log1p,
        xlogy=lambda x, y: x * np.log(np.where((x == 0) & (y == y), 1, y)),
        tanh=np.tanh,
        sigmoid=lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))),  # no overflow
        erf=erf,
        conj=np.conj,
        real=np.real,
        maximum=np.maximum,
        minimum=np.minimum,
        clamp=lambda x, low, high: np.clip(x, low, high),
        clamped=lambda fresh, low, high: np.clip(fresh, low, high, out=memory(fresh)),
        above=lambda x, t: (x > t).astype(x.dtype),
        below=lambda x, t: (x < t).astype(x.dtype),
        at_most=lambda x, t: (x <= t).astype(x.dtype),
        select=lambda gate, a, b: np.where(gate != 0, np.asarray(a, b.dtype), b),
        gated=gated,
        switched=gated,
        number=lambda mask, x: mask.astype(x.dtype),
        where=np.where,
        sum=accumulated(np.add.reduce),
        mean=accumulated(np.mean),
        amax=lambda x, axis, keepdims=False: np.maximum.reduce(x, axis=axis, keepdims=keepdims),
        matmul=np.matmul,
        transpose=lambda x: np.swapaxes(x, -2, -1),
        affine=affine,
        scaled=lambda fresh, x: np.multiply(fresh, x, out=memory(fresh)),
        shifted=add_in_place,
        exponentiated=lambda fresh: np.exp(fresh, out=memory(fresh)),
        take=lambda x, index: x[index],
        take_along=np.take_along_axis,
        add_along=add_along,
        expand_dims=np.expand_dims,
        reshape=np.reshape,
        squeeze=np.squeeze,
        halves=lambda x, axis: tuple(np.split(x, 2, axis)),
        concat=lambda a, b, axis: np.concatenate((a, b), axis),
        ones_like=np.ones_like,
        zeros_like=np.zeros_like,
    )


@cache
def torch_namespace(*, reuse: bool = False) -> Namespace:
    """The words in torch. `reuse` lets them write into temporaries: not where the work is itself recorded."""
    import torch

    add = torch.Tensor.scatter_add_ if reuse else torch.scatter_add
    bits = {torch.float32: torch.int32, torch.float64: torch.int64}

    def gated(x: Array, gate: Array) -> Array:
        return torch.where(gate != 0, x, 0.0)

    def gated_bits(x: Array, gate: Array) -> Array:
        # A boolean mask is 15 times slower on CPU. So x's bits times 1 or 0: unlike x itself, they have no
        # inf or NaN. A float without its sign is positive as an integer unless it is zero.
        whole = bits.get(gate.dtype)
        if whole is None or x.dtype != gate.dtype or not gate.is_cpu:
            return gated(x, gate)
        return gate.abs().view(whole).gt_(0).mul_(x.view(whole)).view(x.dtype)

    def switched_bits(x: Array, gate: Array) -> Array:
        whole = bits.get(gate.dtype)
        if whole is None or x.dtype != gate.dtype or not gate.is_cpu:
            return gated(x, gate)
        return gate.view(whole).gt_(0).mul_(x.view(whole)).view(x.dtype)

    def select(gate: Array, a: Array | float, b: Array) -> Array:
        return torch.where(gate != 0, a, b)

    def select_bits(gate: Array, a: Array | float, b: Array) -> Array:
        whole = bits.get(gate.dtype)
        if whole is None or gate.dtype != b.dtype or not gate.is_cpu:
            return select(gate, a, b)
        a = a if isinstance(a, torch.Tensor) else torch.tensor(a, dtype=b.dtype)
        to, otherwise = a.view(whole), b.view(whole)
        return gate.view(whole).gt_(0).mul_(to ^ otherwise).bitwise_xor_(otherwise).view(b.dtype)

    def filled(compare: Callable[..., Array]) -> _Comparison:
        # Straight into numbers: a mask of booleans, converted, is 10 times slower on CPU.
        return lambda x, t: compare(x, t, out=torch.empty_like(x))

    return Namespace(
        abs=torch.abs,
        sign=torch.sgn,
        square=torch.square,
        sqrt=torch.sqrt,
        rsqrt=torch.rsqrt,
        exp=torch.exp,
        expm1=torch.expm1,
        log=torch.log,
        log1p=torch.log1p,
        xlogy=torch.xlogy,
        tanh=torch.tanh,
        sigmoid=torch.sigmoid,
        erf=torch.Tensor.erf_ if reuse else torch.erf,
        conj=torch.conj,
        real=torch.real,
        maximum=torch.maximum,
        minimum=torch.minimum,
        clamp=torch.clamp,
        clamped=torch.Tensor.clamp_ if reuse else torch.clamp,
        above=filled(torch.gt) if reuse else lambda x, t: (x > t).to(x.dtype),
        below=filled(torch.lt) if reuse else lambda x, t: (x < t).to(x.dtype),
        at_most=filled(torch.le) if reuse else lambda x, t: (x <= t).to(x.dtype),
        select=select_bits if reuse else select,
        gated=gated_bits if reuse else gated,
        switched=switched_bits if reuse else gated,
        number=lambda mask, x: mask.to(x.dtype),
        where=torch.where,
        sum=lambda x, axis=None, keepdims=False: torch.sum(x, axis, keepdims),
        mean=lambda x, axis=None, keepdims=False: torch.mean(x, axis, keepdims),
        amax=torch.amax,
        matmul=torch.matmul,
        transpose=lambda x: x.mT,
        affine=torch.addmm,
        scaled=torch.Tensor.mul_ if reuse else torch.mul,
        shifted=torch.Tensor.add_ if reuse else torch.add,
        exponentiated=torch.Tensor.exp_ if reuse else torch.exp,
        take=lambda x, index: x[index],
        take_along=lambda x, index, axis: torch.gather(x, axis, index),
        add_along=lambda fresh, index, values, axis: add(fresh, axis, index, values),
        expand_dims=torch.unsqueeze,
        reshape=torch.reshape,
        squeeze=torch.squeeze,
        halves=lambda x, axis: x.chunk(2, axis),
        concat=lambda a, b, axis: torch.cat((a, b), axis),
        ones_like=torch.ones_like,
        zeros_like=torch.zeros_like,
    )
