"""The array operations that a formula may use, the same for NumPy and for torch.

A formula receives them as `xp`. It does not use NumPy or torch directly, because these differ too much: NumPy
has no `rsqrt`; torch's `max` along an axis returns a pair, and its `maximum` rejects a Python number. The
operations are elementary functions, sums, products and moves of data. Layers, activations and losses are
formulas, not operations.

A name that ends in an underscore means "in place", as in torch: the operation may write its result into its
first argument (`gate_`: into its second). That argument must therefore be a temporary array of the formula,
which nothing else uses; never an input. `y = xp.mul_(x - m, r)` saves one array compared with `y = (x - m) *
r`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

__all__ = ["Array", "Namespace", "numpy_namespace", "torch_namespace"]

Array: TypeAlias = Any
"""An array of the library behind `xp`; NumPy's and torch's have no common type."""

_Unary: TypeAlias = Callable[[Array], Array]
_Binary: TypeAlias = Callable[[Array, Array], Array]
_Clamp: TypeAlias = Callable[[Array, float | None, float | None], Array]
_Comparison: TypeAlias = Callable[[Array, float], Array]


@dataclass(frozen=True)
class Namespace:
    """The operations of one array library, as functions.

    Two arrays in one call have the same dtype, and so has the result. A name that ends in an underscore may
    use up its first argument.

    Args:
        abs: |x|.
        sign: sign of x, 0 at 0; x / |x| if complex.
        square: x^2.
        sqrt: square root.
        rsqrt: 1 / sqrt(x).
        exp: e^x.
        exp_: e^x in place.
        expm1: e^x - 1, exact for small x.
        log: natural logarithm.
        log1p: log(1 + x), exact for small x.
        xlogy: (x, y) -> x log y, and 0 if x is 0.
        tanh: hyperbolic tangent.
        sigmoid: 1 / (1 + e^-x), without overflow.
        erf_: error function in place.
        conj: complex conjugate.
        real: real part.
        maximum: larger of two, entry by entry.
        minimum: smaller of two, entry by entry.
        clamp: (x, low, high) -> x limited to this range; None is no limit.
        clamp_: clamp in place.
        above: (x, t) -> 1 if x > t, else 0 (also for NaN), in the dtype of x.
        below: (x, t) -> 1 if x < t, else 0.
        at_most: (x, t) -> 1 if x <= t, else 0.
        gate: (x, gate) -> x if gate is not 0 (also if it is NaN), else 0, even for an x of inf or NaN.
        gate_: the same for a gate of ones and zeros; may use up the gate, which is the second argument.
        select: (gate, a, b) -> a if the gate is 1, else b.
        where: (mask, a, b) -> a where the mask holds, else b; slow on CPU, so used per row only.
        type_as: (mask, x) -> the mask as ones and zeros in the dtype of x.
        sum: (x, axis=None, keepdims=False) -> sum over one axis, several or all.
        mean: (x, axis=None, keepdims=False) -> mean.
        amax: (x, axis, keepdims=False) -> largest entry.
        matmul: matrix product.
        transpose: x with its last two axes exchanged.
        affine: (bias, x, w) -> bias + x w, for matrices x and w.
        mul_: product in place.
        add_: sum in place.
        take: (x, index) -> x[index], for a vector x.
        gather: (x, axis, index) -> entries of x at these places along an axis; index has the axes of x.
        scatter_add_: (x, axis, index, values) -> x with values added at these places, in place.
        expand_dims: (x, axis) -> x with a new axis of size 1.
        reshape: (x, shape) -> x in this shape.
        squeeze: (x, axis) -> x without this axis, which has size 1.
        halves: (x, axis) -> the two halves of x along an axis.
        concat: (a, b, axis) -> b after a along an axis.
        ones_like: ones in the shape of x.
        zeros_like: zeros in the shape of x.
    """

    abs: _Unary
    sign: _Unary
    square: _Unary
    sqrt: _Unary
    rsqrt: _Unary
    exp: _Unary
    exp_: _Unary
    expm1: _Unary
    log: _Unary
    log1p: _Unary
    xlogy: _Binary
    tanh: _Unary
    sigmoid: _Unary
    erf_: _Unary
    conj: _Unary
    real: _Unary
    maximum: _Binary
    minimum: _Binary
    clamp: _Clamp
    clamp_: _Clamp
    above: _Comparison
    below: _Comparison
    at_most: _Comparison
    gate: _Binary
    gate_: _Binary
    select: Callable[[Array, Array | float, Array], Array]
    where: Callable[[Array, Array, Array], Array]
    type_as: _Binary
    sum: Callable[..., Array]
    mean: Callable[..., Array]
    amax: Callable[..., Array]
    matmul: _Binary
    transpose: _Unary
    affine: Callable[[Array, Array, Array], Array]
    mul_: _Binary
    add_: _Binary
    take: _Binary
    gather: Callable[[Array, int, Array], Array]
    scatter_add_: Callable[[Array, int, Array, Array], Array]
    expand_dims: Callable[[Array, int], Array]
    reshape: Callable[[Array, tuple[int, ...]], Array]
    squeeze: Callable[[Array, int], Array]
    halves: Callable[[Array, int], tuple[Array, ...]]
    concat: Callable[[Array, Array, int], Array]
    ones_like: _Unary
    zeros_like: _Unary


@cache
def numpy_namespace() -> Namespace:
    """Get the operations of NumPy; this imports NumPy.

    Returns:
        The operations.
    """
    from nnfoundations.formulas._numpy_namespace import NUMPY

    return NUMPY


@cache
def torch_namespace(*, reuse: bool = False) -> Namespace:
    """Get the operations of torch; this imports torch.

    Args:
        reuse: let operations that end in an underscore write in place. Not allowed if autograd records the
            formula itself, as for second derivatives.

    Returns:
        The operations.
    """
    from nnfoundations.formulas._torch_namespace import PURE, REUSING

    return REUSING if reuse else PURE
