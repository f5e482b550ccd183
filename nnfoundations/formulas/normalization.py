"""Normalization: to mean zero and variance one over some axes, or to a mean square of one.

Notation: x input, m mean and v variance over the axes `over`, r = 1 / sqrt(v + eps), d = x - m, n = d r;
weight w and bias b are vectors along the axes `along`, or None; h = g w, the gradient of n. v is biased, and
two-pass: E[x^2] - m^2 would be lost in rounding where the mean is large. It is a result, like m, so that a
backward need not compute it again, running statistics can follow it, and second derivatives see it.
`wanted` says, in the order x, weight, bias, whose gradient is asked for; the others are None.

Layer: rows x features, over and along the features. Batch: batch x channels x space, over batch and space.
Group: batch x groups x channels of a group x space, over the last two. Instance: over space alone.
Running statistics are the modules' business.
"""

import math

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = [
    "rms_norm",
    "rms_norm_backward",
    "rms_norm_jvp",
    "standardize",
    "standardize_backward",
    "standardize_by",
    "standardize_by_backward",
    "standardize_by_jvp",
    "standardize_jvp",
]

_Axes = tuple[int, ...]
_Gradients = tuple[Array | None, Array | None, Array | None]


def standardize(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    *,
    over: _Axes,
    along: _Axes,
    eps: float,
    xp: Namespace,
) -> tuple[Array, Array, Array]:
    """y = n w + b, then m and v."""
    mean = xp.mean(x, over, keepdims=True)
    d = x - mean
    variance = xp.mean(xp.square(d), over, keepdims=True)
    return _affine(d, xp.rsqrt(variance + eps), weight, bias, over, along, xp), mean, variance


def standardize_backward(
    grad_output: Array,
    grad_mean: Array | None,
    grad_variance: Array | None,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    *,
    over: _Axes,
    along: _Axes,
    eps: float,
    wanted: tuple[bool, bool, bool],
    xp: Namespace,
) -> _Gradients:
    """grad_x = r (h - mean of h - n mean of h n), grad_weight = sum of g n, grad_bias = sum of g.

    What does not vary with w is summed first: where w and m share no axis, sums of g and g n are all it
    takes.
    """
    first = tuple([axis for axis in over if axis not in along])
    shared = tuple([axis for axis in over if axis in along])
    total = xp.sum(grad_output, first, keepdims=True) if first else grad_output
    grad_bias = _collected(total, along, xp) if wanted[2] else None
    if not (wanted[0] or wanted[1]):
        return None, None, grad_bias
    r = xp.rsqrt(variance + eps)
    d = x - mean
    product = xp.sum(grad_output * d, first, keepdims=True) if first else grad_output * d
    product = xp.scaled(product, r)
    grad_weight = _collected(product, along, xp) if wanted[1] else None
    if not wanted[0]:
        return None, grad_weight, grad_bias

    # One temporary at a time as large as x: fresh memory costs more than the arithmetic in it.
    count = math.prod([x.shape[axis] for axis in over])
    w = None if weight is None else _laid(weight, x, along, xp)
    product = product if w is None else xp.scaled(product, w)
    product = xp.sum(product, shared, keepdims=True) if shared else product
    of_d = product * xp.square(r) / -count
    if grad_variance is not None:
        of_d = of_d + grad_variance * (2 / count)
    h = total if w is None else total * w
    total = xp.sum(h, shared, keepdims=True) if shared else h
    constant = total * r / -count
    if grad_mean is not None:
        constant = constant + grad_mean / count
    if first:
        grad_h = grad_output * (r if w is None else w * r)
    else:
        grad_h = grad_output * r if w is None else xp.scaled(h, r)
    return xp.shifted(xp.shifted(xp.scaled(d, of_d), constant), grad_h), grad_weight, grad_bias


def standardize_jvp(
    tangent_x: Array | None,
    tangent_weight: Array | None,
    tangent_bias: Array | None,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    *,
    over: _Axes,
    along: _Axes,
    eps: float,
    xp: Namespace,
) -> tuple[Array, Array, Array]:
    """dm = mean of dx, dv = 2 mean of d dx, dn = r (dx - dm) - n r^2 dv / 2, dy = dn w + n dw + db."""
    if tangent_x is None:
        tangent_x = xp.zeros_like(x)
    r = xp.rsqrt(variance + eps)
    d = x - mean
    moved_mean = xp.mean(tangent_x, over, keepdims=True)
    moved = tangent_x - moved_mean
    moved_variance = 2 * xp.mean(d * moved, over, keepdims=True)
    moved_n = r * moved - d * (0.5 * r * xp.square(r) * moved_variance)
    y = _moved_affine(moved_n, d * r, weight, tangent_weight, tangent_bias, along, xp)
    return y, moved_mean, moved_variance


def standardize_by(
    x: Array,
    mean: Array,
    variance: Array,
    weight: Array | None,
    bias: Array | None,
    *,
    along: _Axes,
    eps: float,
    xp: Namespace,
) -> Array:
    """y = n w + b for an m and a v that are given, vectors along the same axes as w."""
    d = x - _laid(mean, x, along, xp)
    return _affine(d, xp.rsqrt(_laid(variance, x, along, xp) + eps), weight, bias, (), along, xp)


def standardize_by_backward(
    grad_output: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    *,
    along: _Axes,
    eps: float,
    wanted: tuple[bool, bool, bool],
    xp: Namespace,
) -> _Gradients:
    """grad_x = g w r, grad_weight = sum of g n, grad_bias = sum of g: m and v do not move with x."""
    grad_x = grad_weight = None
    if wanted[0]:
        r = xp.rsqrt(variance + eps)
        grad_x = grad_output * _laid(r if weight is None else weight * r, grad_output, along, xp)
    if wanted[1]:
        product = xp.scaled(x - _laid(mean, x, along, xp), grad_output)
        grad_weight = _collected(product, along, xp) * xp.rsqrt(variance + eps)
    return grad_x, grad_weight, _collected(grad_output, along, xp) if wanted[2] else None


def standardize_by_jvp(
    tangent_x: Array | None,
    tangent_weight: Array | None,
    tangent_bias: Array | None,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    *,
    along: _Axes,
    eps: float,
    xp: Namespace,
) -> Array:
    """dy = dx r w + n dw + db."""
    if tangent_x is None:
        tangent_x = xp.zeros_like(x)
    r = _laid(xp.rsqrt(variance + eps), x, along, xp)
    n = (x - _laid(mean, x, along, xp)) * r
    return _moved_affine(tangent_x * r, n, weight, tangent_weight, tangent_bias, along, xp)


def rms_norm(x: Array, weight: Array | None, *, eps: float, xp: Namespace) -> tuple[Array, Array]:
    """y = x r w with r = 1 / sqrt(mean of x^2 + eps) a row, then the mean of x^2."""
    mean_square = xp.mean(xp.square(x), 1, keepdims=True)
    y = x * xp.rsqrt(mean_square + eps)
    return (y if weight is None else xp.scaled(y, weight)), mean_square


def rms_norm_backward(
    grad_output: Array,
    grad_mean_square: Array | None,
    x: Array,
    weight: Array | None,
    mean_square: Array,
    *,
    eps: float,
    wanted: tuple[bool, bool],
    xp: Namespace,
) -> tuple[Array | None, Array | None]:
    """grad_x = r (h - n mean of h n) with n = x r, grad_weight = sum of g n; conjugated if complex."""
    r = xp.conj(xp.rsqrt(mean_square + eps))
    conjugate = xp.conj(x)
    product = xp.scaled(grad_output * conjugate, r)
    grad_weight = xp.sum(product, 0) if wanted[1] else None
    if not wanted[0]:
        return None, grad_weight
    product = product if weight is None else xp.scaled(product, xp.conj(weight))
    of_x = xp.mean(product, 1, keepdims=True) * -xp.square(r)
    del product  # its memory serves the next
    if grad_mean_square is not None:
        of_x = of_x + grad_mean_square * (2 / x.shape[1])
    h = grad_output * r if weight is None else xp.scaled(grad_output * xp.conj(weight), r)
    return xp.shifted(h, conjugate * of_x), grad_weight


def rms_norm_jvp(
    tangent_x: Array | None,
    tangent_weight: Array | None,
    x: Array,
    weight: Array | None,
    mean_square: Array,
    *,
    eps: float,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Of the mean square: 2 mean of x dx; of r: -r^3 times half of that."""
    if tangent_x is None:
        tangent_x = xp.zeros_like(x)
    r = xp.rsqrt(mean_square + eps)
    half = xp.mean(x * tangent_x, 1, keepdims=True)
    moved_n = r * tangent_x - x * (r * xp.square(r) * half)
    return _moved_affine(moved_n, x * r, weight, tangent_weight, None, (1,), xp), 2 * half


def _laid(vector: Array, x: Array, along: _Axes, xp: Namespace) -> Array:
    """A vector in a shape that broadcasts along these axes of x."""
    if along == (x.ndim - 1,):
        return vector
    return xp.reshape(vector, tuple([x.shape[axis] if axis in along else 1 for axis in range(x.ndim)]))


def _collected(x: Array, along: _Axes, xp: Namespace) -> Array:
    """The vector along these axes that is left when all others are summed."""
    found = xp.sum(x, tuple([axis for axis in range(x.ndim) if axis not in along]))
    return found if len(along) == 1 else xp.reshape(found, (-1,))


def _affine(
    d: Array,
    r: Array,
    weight: Array | None,
    bias: Array | None,
    over: _Axes,
    along: _Axes,
    xp: Namespace,
) -> Array:
    """d r w + b, in place of d."""
    if weight is None:
        y = xp.scaled(d, r)
    else:
        w = _laid(weight, d, along, xp)
        whole = not set(over).isdisjoint(along)  # r w would be as large as d
        y = xp.scaled(xp.scaled(d, r), w) if whole else xp.scaled(d, r * w)
    return y if bias is None else xp.shifted(y, _laid(bias, d, along, xp))


def _moved_affine(
    moved_n: Array,
    n: Array,
    weight: Array | None,
    tangent_weight: Array | None,
    tangent_bias: Array | None,
    along: _Axes,
    xp: Namespace,
) -> Array:
    """dn w + n dw + db."""
    y = moved_n if weight is None else moved_n * _laid(weight, n, along, xp)
    if tangent_weight is not None:
        y = y + n * _laid(tangent_weight, n, along, xp)
    return y if tangent_bias is None else y + _laid(tangent_bias, n, along, xp)
