"""Normalization to mean zero and variance one over some axes.

Notation: x input, y output; m mean and v variance of x over the axes `over`; d = x - m,
r = 1 / sqrt(v + eps), n = d r. Weight w and bias b are vectors along the axes `along`, or None.
g = `grad_output` is the gradient of the loss with respect to y, h = g w that with respect to n. dx, dw, db
are tangents; one that is None is zero. `wanted` says, in the order x, weight, bias, which gradients are
needed; the others are None.

v is the biased variance, in two passes: E[x^2] - m^2 would lose its digits if the mean is large. m and v are
outputs, with gradients and tangents of their own: the backward need not compute them again, running
statistics can use them, and second derivatives are right.

Layer norm has rows x features, over and along the features. Batch norm has batch x channels x space, over
batch and space, along the channels. Group norm has batch x groups x channels of a group x space, over the
last two. Instance norm is over space alone. The modules update the running statistics.
"""

import math

from nnfoundations.formulas._axes import Axes, affine, affine_tangent, broadcast_along, summed, vector_sum
from nnfoundations.formulas._namespace import Array, Namespace

__all__ = [
    "standardize",
    "standardize_backward",
    "standardize_by",
    "standardize_by_backward",
    "standardize_by_jvp",
    "standardize_jvp",
]

_Gradients = tuple[Array | None, Array | None, Array | None]


def standardize(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    *,
    over: Axes,
    along: Axes,
    eps: float,
    xp: Namespace,
) -> tuple[Array, Array, Array]:
    """Normalize by the statistics of x: y = n w + b.

    Args:
        x: input.
        weight: w along the axes `along`, or None.
        bias: b along the axes `along`, or None.
        over: axes of the mean and variance.
        along: axes of the weight and bias.
        eps: number added to the variance.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y in the shape of x, then m and v with size 1 along `over`.
    """
    mean = xp.mean(x, over, keepdims=True)
    d = x - mean
    variance = xp.mean(xp.square(d), over, keepdims=True)
    r = xp.rsqrt(variance + eps)
    y = affine(d, r, weight, bias, over, along, xp)
    return y, mean, variance


def standardize_backward(
    grad_output: Array,
    grad_mean: Array | None,
    grad_variance: Array | None,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    *,
    over: Axes,
    along: Axes,
    eps: float,
    wanted: tuple[bool, bool, bool],
    xp: Namespace,
) -> _Gradients:
    """grad_x = r (h - mean h - n mean(h n)), grad_weight = sum of g n, grad_bias = sum of g.

    Sums over the axes `alone`, which have statistics but no weight, come first: all later arrays are smaller.
    """
    alone = tuple([axis for axis in over if axis not in along])
    shared = tuple([axis for axis in over if axis in along])
    sum_g = summed(grad_output, alone, xp)
    grad_bias = vector_sum(sum_g, along, xp) if wanted[2] else None
    if not (wanted[0] or wanted[1]):
        return None, None, grad_bias
    r = xp.rsqrt(variance + eps)
    d = x - mean
    w = None if weight is None else broadcast_along(weight, x, along, xp)
    grad_weight, sum_hn = _grad_weight(grad_output, d, r, w, alone, shared, along, wanted, xp)
    if not wanted[0]:
        return None, grad_weight, grad_bias

    count = math.prod([x.shape[axis] for axis in over])
    slope_d = sum_hn * xp.square(r) / -count
    if grad_variance is not None:
        slope_d = slope_d + grad_variance * (2 / count)
    grad_x = _grad_input(grad_output, grad_mean, slope_d, sum_g, d, r, w, alone, shared, count, xp)
    return grad_x, grad_weight, grad_bias


def _grad_weight(
    grad_output: Array,
    d: Array,
    r: Array,
    w: Array | None,
    alone: Axes,
    shared: Axes,
    along: Axes,
    wanted: tuple[bool, bool, bool],
    xp: Namespace,
) -> tuple[Array | None, Array | None]:
    """Return the sum of g n for the weight, and the sum of h n for the input.

    g n may be as large as x. It is freed here: new memory costs more time than the arithmetic in it.
    """
    gn = summed(grad_output * d, alone, xp)
    gn = xp.mul_(gn, r)
    grad_weight = vector_sum(gn, along, xp) if wanted[1] else None
    if not wanted[0]:
        return grad_weight, None
    hn = gn if w is None else xp.mul_(gn, w)
    return grad_weight, summed(hn, shared, xp)


def _grad_input(
    grad_output: Array,
    grad_mean: Array | None,
    slope_d: Array,
    sum_g: Array,
    d: Array,
    r: Array,
    w: Array | None,
    alone: Axes,
    shared: Axes,
    count: int,
    xp: Namespace,
) -> Array:
    """Return slope_d d - r mean h + r h, in place of d."""
    h = sum_g if w is None else sum_g * w  # summed over the axes `alone`, if there are any
    sum_h = summed(h, shared, xp)
    constant = sum_h * r / -count
    if grad_mean is not None:
        constant = constant + grad_mean / count
    if alone:
        rh = grad_output * (r if w is None else w * r)
    else:
        rh = grad_output * r if w is None else xp.mul_(h, r)
    grad_x = xp.mul_(d, slope_d)
    grad_x = xp.add_(grad_x, constant)
    return xp.add_(grad_x, rh)


def standardize_jvp(
    tangent_x: Array | None,
    tangent_weight: Array | None,
    tangent_bias: Array | None,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    *,
    over: Axes,
    along: Axes,
    eps: float,
    xp: Namespace,
) -> tuple[Array, Array, Array]:
    """dm = mean dx, dv = 2 mean(d dx), dn = r (dx - dm) - n r^2 dv / 2, dy = dn w + n dw + db."""
    if tangent_x is None:
        tangent_x = xp.zeros_like(x)
    r = xp.rsqrt(variance + eps)
    d = x - mean
    tangent_mean = xp.mean(tangent_x, over, keepdims=True)
    tangent_d = tangent_x - tangent_mean
    tangent_variance = 2 * xp.mean(d * tangent_d, over, keepdims=True)
    tangent_r = -0.5 * r * xp.square(r) * tangent_variance
    tangent_n = r * tangent_d + d * tangent_r
    tangent_y = affine_tangent(tangent_n, d * r, weight, tangent_weight, tangent_bias, along, xp)
    return tangent_y, tangent_mean, tangent_variance


def standardize_by(
    x: Array,
    mean: Array,
    variance: Array,
    weight: Array | None,
    bias: Array | None,
    *,
    along: Axes,
    eps: float,
    xp: Namespace,
) -> Array:
    """Normalize by given statistics: y = n w + b.

    Args:
        x: input.
        mean: m along the axes `along`.
        variance: v along the axes `along`.
        weight: w along the axes `along`, or None.
        bias: b along the axes `along`, or None.
        along: axes of all four vectors.
        eps: number added to the variance.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    d = x - broadcast_along(mean, x, along, xp)
    r = xp.rsqrt(broadcast_along(variance, x, along, xp) + eps)
    return affine(d, r, weight, bias, (), along, xp)


def standardize_by_backward(
    grad_output: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    *,
    along: Axes,
    eps: float,
    wanted: tuple[bool, bool, bool],
    xp: Namespace,
) -> _Gradients:
    """grad_x = g w r, grad_weight = sum of g n, grad_bias = sum of g; m and v are constants."""
    grad_x = grad_weight = grad_bias = None
    r = xp.rsqrt(variance + eps)
    if wanted[0]:
        slope = r if weight is None else weight * r
        grad_x = grad_output * broadcast_along(slope, grad_output, along, xp)
    if wanted[1]:
        gd = xp.mul_(x - broadcast_along(mean, x, along, xp), grad_output)
        grad_weight = vector_sum(gd, along, xp) * r
    if wanted[2]:
        grad_bias = vector_sum(grad_output, along, xp)
    return grad_x, grad_weight, grad_bias


def standardize_by_jvp(
    tangent_x: Array | None,
    tangent_weight: Array | None,
    tangent_bias: Array | None,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    *,
    along: Axes,
    eps: float,
    xp: Namespace,
) -> Array:
    """dy = dx r w + n dw + db."""
    if tangent_x is None:
        tangent_x = xp.zeros_like(x)
    r = broadcast_along(xp.rsqrt(variance + eps), x, along, xp)
    n = (x - broadcast_along(mean, x, along, xp)) * r
    return affine_tangent(tangent_x * r, n, weight, tangent_weight, tangent_bias, along, xp)
