"""Sums and affine maps along some axes, for the normalizations.

Notation: d = x - mean, r the reciprocal deviation, n = d r; weight w and bias b are vectors along the axes
`along`.
"""

from typing import TypeAlias

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["Axes", "affine", "affine_tangent", "broadcast_along", "summed", "vector_sum"]

Axes: TypeAlias = tuple[int, ...]


def summed(x: Array, axes: Axes, xp: Namespace) -> Array:
    """Return the sum over these axes, which keep size 1; x itself if there are none."""
    return xp.sum(x, axes, keepdims=True) if axes else x


def vector_sum(x: Array, along: Axes, xp: Namespace) -> Array:
    """Return the sum over all other axes, as a vector along these."""
    others = tuple([axis for axis in range(x.ndim) if axis not in along])
    total = xp.sum(x, others)
    return total if len(along) == 1 else xp.reshape(total, (-1,))


def broadcast_along(vector: Array, x: Array, along: Axes, xp: Namespace) -> Array:
    """Return the vector in a shape that broadcasts along these axes of x."""
    if along == (x.ndim - 1,):
        return vector
    shape = tuple([x.shape[axis] if axis in along else 1 for axis in range(x.ndim)])
    return xp.reshape(vector, shape)


def affine(
    d: Array,
    r: Array,
    weight: Array | None,
    bias: Array | None,
    over: Axes,
    along: Axes,
    xp: Namespace,
) -> Array:
    """Return d r w + b, in place of d."""
    if weight is None:
        y = xp.mul_(d, r)
    else:
        w = broadcast_along(weight, d, along, xp)
        r_w_is_large = not set(over).isdisjoint(along)  # r w would have the size of d
        y = xp.mul_(xp.mul_(d, r), w) if r_w_is_large else xp.mul_(d, r * w)
    if bias is not None:
        y = xp.add_(y, broadcast_along(bias, d, along, xp))
    return y


def affine_tangent(
    tangent_n: Array,
    n: Array,
    weight: Array | None,
    tangent_weight: Array | None,
    tangent_bias: Array | None,
    along: Axes,
    xp: Namespace,
) -> Array:
    """dn w + n dw + db."""
    y = tangent_n if weight is None else tangent_n * broadcast_along(weight, n, along, xp)
    if tangent_weight is not None:
        y = y + n * broadcast_along(tangent_weight, n, along, xp)
    if tangent_bias is not None:
        y = y + broadcast_along(tangent_bias, n, along, xp)
    return y
