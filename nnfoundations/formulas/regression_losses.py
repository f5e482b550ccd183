"""Losses of the residual between prediction and target.

Notation: x prediction, t target, z = x - t the residual, f(z) the loss of one element, w weight, l losses. g
= `grad_output` is the gradient with respect to the reduced loss, divided by the number of elements if the
loss is a mean. The gradient with respect to x is g f'(z), that with respect to t is -g f'(z); a docstring
states f'. dx, dt, dz are tangents; one that is None is zero. `wanted` says, in the order of the arrays, which
gradients are needed; the others are None.
"""

from nnfoundations.formulas._namespace import Array, Namespace
from nnfoundations.formulas._reduction import Reduction, reduced, spread

__all__ = [
    "huber_loss",
    "huber_loss_backward",
    "huber_loss_jvp",
    "l1_loss",
    "l1_loss_backward",
    "l1_loss_jvp",
    "mse_loss",
    "mse_loss_backward",
    "mse_loss_jvp",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
    "smooth_l1_loss_jvp",
    "weighted_loss",
    "weighted_loss_backward",
    "weighted_loss_jvp",
]

_Wanted = tuple[bool, bool]
_Gradients = tuple[Array | None, Array | None]


def mse_loss(x: Array, target: Array, *, reduction: Reduction, xp: Namespace) -> Array:
    """Squared error: f = z^2.

    Args:
        x: predictions.
        target: t, in the shape of x.
        reduction: "none", "mean" or "sum".
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all elements, or their mean or sum.
    """
    residual = x - target
    loss = xp.mul_(residual, residual)
    return reduced(loss, reduction, xp)


def mse_loss_backward(
    grad_output: Array, x: Array, target: Array, *, reduction: Reduction, wanted: _Wanted, xp: Namespace
) -> _Gradients:
    """f' = 2 z."""
    g = spread(grad_output, x, reduction)
    return _opposite_gradients(xp.mul_(x - target, 2 * g), wanted)


def mse_loss_jvp(
    tangent_x: Array | None,
    tangent_target: Array | None,
    x: Array,
    target: Array,
    *,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """2 z dz."""
    tangent = _residual_tangent(tangent_x, tangent_target)
    return reduced(2 * (x - target) * tangent, reduction, xp)


def l1_loss(residual: Array, *, reduction: Reduction, xp: Namespace) -> Array:
    """Absolute error: f = |z|. It takes z itself, so that only one array is saved for the backward.

    Args:
        residual: z.
        reduction: "none", "mean" or "sum".
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all elements, or their mean or sum.
    """
    return reduced(xp.abs(residual), reduction, xp)


def l1_loss_backward(grad_output: Array, residual: Array, *, reduction: Reduction, xp: Namespace) -> Array:
    """f' = sign(z), zero at zero; z / |z| if complex."""
    g = spread(grad_output, residual, reduction)
    return xp.sign(residual) * g


def l1_loss_jvp(tangent: Array, residual: Array, *, reduction: Reduction, xp: Namespace) -> Array:
    """Re(conj(sign z) dz), the part of dz in the direction of z."""
    direction = xp.conj(xp.sign(residual))
    return reduced(xp.real(direction * tangent), reduction, xp)


def huber_loss(x: Array, target: Array, *, reduction: Reduction, delta: float, xp: Namespace) -> Array:
    """Huber loss: f = z^2 / 2 if |z| <= delta, else delta (|z| - delta / 2).

    Both cases are r (z - r / 2), where r is z clamped to +-delta.

    Args:
        x: predictions.
        target: t, in the shape of x.
        reduction: "none", "mean" or "sum".
        delta: largest slope.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all elements, or their mean or sum.
    """
    residual = x - target
    near = xp.clamp(residual, -delta, delta)
    loss = xp.add_(residual, -0.5 * near)
    loss = xp.mul_(loss, near)
    return reduced(loss, reduction, xp)


def huber_loss_backward(
    grad_output: Array,
    x: Array,
    target: Array,
    *,
    reduction: Reduction,
    delta: float,
    wanted: _Wanted,
    xp: Namespace,
) -> _Gradients:
    """f' = z clamped to +-delta."""
    slope = xp.clamp(x - target, -delta, delta)
    g = spread(grad_output, x, reduction)
    return _opposite_gradients(xp.mul_(slope, g), wanted)


def huber_loss_jvp(
    tangent_x: Array | None,
    tangent_target: Array | None,
    x: Array,
    target: Array,
    *,
    reduction: Reduction,
    delta: float,
    xp: Namespace,
) -> Array:
    """f' dz."""
    slope = xp.clamp(x - target, -delta, delta)
    return reduced(slope * _residual_tangent(tangent_x, tangent_target), reduction, xp)


def smooth_l1_loss(x: Array, target: Array, *, reduction: Reduction, beta: float, xp: Namespace) -> Array:
    """Smooth L1 loss, Huber's over beta: f = z^2 / (2 beta) if |z| <= beta, else |z| - beta / 2.

    Args:
        x: predictions.
        target: t, in the shape of x.
        reduction: "none", "mean" or "sum".
        beta: |z| at which the parabola becomes a line.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all elements, or their mean or sum.
    """
    residual = x - target
    near = xp.clamp(residual, -beta, beta)
    loss = xp.add_(residual, -0.5 * near)
    # near / beta is 1 for a large |z|; the product over beta could overflow.
    loss = xp.mul_(loss, xp.mul_(near, 1 / beta))
    return reduced(loss, reduction, xp)


def smooth_l1_loss_backward(
    grad_output: Array,
    x: Array,
    target: Array,
    *,
    reduction: Reduction,
    beta: float,
    wanted: _Wanted,
    xp: Namespace,
) -> _Gradients:
    """f' = z / beta clamped to +-1."""
    near = xp.clamp(x - target, -beta, beta)
    g = spread(grad_output, x, reduction)
    return _opposite_gradients(xp.mul_(near, g / beta), wanted)


def smooth_l1_loss_jvp(
    tangent_x: Array | None,
    tangent_target: Array | None,
    x: Array,
    target: Array,
    *,
    reduction: Reduction,
    beta: float,
    xp: Namespace,
) -> Array:
    """f' dz."""
    slope = xp.clamp(x - target, -beta, beta) / beta
    return reduced(slope * _residual_tangent(tangent_x, tangent_target), reduction, xp)


def weighted_loss(
    loss: Array, weight: Array, *, reduction: Reduction, by_weight: bool, xp: Namespace
) -> Array:
    """Weighted losses w l; the mean is sum w l / sum w (`by_weight`), or over the elements.

    Args:
        loss: losses l.
        weight: weights w, in the shape of l.
        reduction: "none", "mean" or "sum".
        by_weight: divide a mean by the sum of the weights, not by the number of elements.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The weighted losses, or their mean or sum.
    """
    if reduction == "mean" and by_weight:
        return xp.sum(weight * loss) / xp.sum(weight)
    return reduced(weight * loss, reduction, xp)


def weighted_loss_backward(
    grad_output: Array,
    loss: Array,
    weight: Array,
    *,
    reduction: Reduction,
    by_weight: bool,
    wanted: _Wanted,
    xp: Namespace,
) -> _Gradients:
    """grad_l = g w, grad_w = g l; if the mean is over the weights, grad_w = g (l - mean), g over sum w."""
    over_weights = reduction == "mean" and by_weight
    g = grad_output / xp.sum(weight) if over_weights else spread(grad_output, loss, reduction)
    grad_loss = g * weight if wanted[0] else None
    if not wanted[1]:
        return grad_loss, None
    mean = xp.sum(weight * loss) / xp.sum(weight) if over_weights else 0.0
    return grad_loss, g * (loss - mean)


def weighted_loss_jvp(
    tangent_loss: Array | None,
    tangent_weight: Array | None,
    loss: Array,
    weight: Array,
    *,
    reduction: Reduction,
    by_weight: bool,
    xp: Namespace,
) -> Array:
    """w dl + l dw; if the mean is over the weights, w dl + (l - mean) dw over sum w."""
    over_weights = reduction == "mean" and by_weight
    tangent = xp.zeros_like(loss) if tangent_loss is None else weight * tangent_loss
    if tangent_weight is not None:
        mean = xp.sum(weight * loss) / xp.sum(weight) if over_weights else 0.0
        tangent = tangent + (loss - mean) * tangent_weight
    return xp.sum(tangent) / xp.sum(weight) if over_weights else reduced(tangent, reduction, xp)


def _opposite_gradients(grad_x: Array, wanted: _Wanted) -> _Gradients:
    """Return the gradients of x and t, which have opposite signs."""
    return grad_x if wanted[0] else None, -grad_x if wanted[1] else None


def _residual_tangent(tangent_x: Array | None, tangent_target: Array | None) -> Array:
    """dz = dx - dt."""
    if tangent_target is None:
        return tangent_x
    return -tangent_target if tangent_x is None else tangent_x - tangent_target
