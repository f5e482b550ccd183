"""Losses of a distance.

Notation: x prediction, t target, z = x - t the residual, g the gradient of the loss. A loss f(z) has the
gradient g f'(z) for x and -g f'(z) for t; g is divided by the number of elements where the loss is a mean.
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
    """z^2."""
    residual = x - target
    return reduced(xp.scaled(residual, residual), reduction, xp)


def mse_loss_backward(
    grad_output: Array, x: Array, target: Array, *, reduction: Reduction, wanted: _Wanted, xp: Namespace
) -> _Gradients:
    """f' = 2 z."""
    slope = xp.scaled(x - target, 2 * spread(grad_output, x, reduction))
    return _opposed(slope, wanted)


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
    return reduced(2 * (x - target) * _moved(tangent_x, tangent_target), reduction, xp)


def l1_loss(residual: Array, *, reduction: Reduction, xp: Namespace) -> Array:
    """|z|, of the residual itself: one array to keep in place of two."""
    return reduced(xp.abs(residual), reduction, xp)


def l1_loss_backward(grad_output: Array, residual: Array, *, reduction: Reduction, xp: Namespace) -> Array:
    """f' = sign(z), zero at zero; z / |z| if complex."""
    return xp.sign(residual) * spread(grad_output, residual, reduction)


def l1_loss_jvp(tangent: Array, residual: Array, *, reduction: Reduction, xp: Namespace) -> Array:
    """The part of dz along z."""
    return reduced(xp.real(xp.conj(xp.sign(residual)) * tangent), reduction, xp)


def huber_loss(x: Array, target: Array, *, reduction: Reduction, delta: float, xp: Namespace) -> Array:
    """r (z - r / 2) with r = z clamped to +-delta: z^2 / 2 near zero, delta (|z| - delta / 2) far from it."""
    residual = x - target
    near = xp.clamp(residual, -delta, delta)
    return reduced(xp.scaled(xp.shifted(residual, -0.5 * near), near), reduction, xp)


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
    slope = xp.scaled(xp.clamp(x - target, -delta, delta), spread(grad_output, x, reduction))
    return _opposed(slope, wanted)


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
    """The clamped z times dz."""
    slope = xp.clamp(x - target, -delta, delta)
    return reduced(slope * _moved(tangent_x, tangent_target), reduction, xp)


def smooth_l1_loss(x: Array, target: Array, *, reduction: Reduction, beta: float, xp: Namespace) -> Array:
    """Huber's loss over beta: z^2 / (2 beta) near zero, |z| - beta / 2 far from it."""
    residual = x - target
    near = xp.clamp(residual, -beta, beta)
    far = xp.shifted(residual, -0.5 * near)
    # near / beta, and not the product over beta: far from zero it is 1, and nothing can overflow.
    return reduced(xp.scaled(far, xp.scaled(near, 1 / beta)), reduction, xp)


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
    return _opposed(xp.scaled(near, spread(grad_output, x, reduction) / beta), wanted)


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
    """The clamped z / beta times dz."""
    slope = xp.clamp(x - target, -beta, beta) / beta
    return reduced(slope * _moved(tangent_x, tangent_target), reduction, xp)


def weighted_loss(
    loss: Array, weight: Array, *, reduction: Reduction, by_weight: bool, xp: Namespace
) -> Array:
    """w l for losses l; a mean is over the weights (`by_weight`), sum w l / sum w, or over the elements."""
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
    """Of l: g w. Of w: g l, less the mean where a mean is over the weights."""
    if reduction == "mean" and by_weight:
        grad_output = grad_output / xp.sum(weight)
        mean = xp.sum(weight * loss) / xp.sum(weight) if wanted[1] else 0.0
        return grad_output * weight if wanted[0] else None, grad_output * (loss - mean) if wanted[1] else None
    g = spread(grad_output, loss, reduction)
    return g * weight if wanted[0] else None, g * loss if wanted[1] else None


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
    """w dl + l dw, less the mean times dw where a mean is over the weights."""
    moved = xp.zeros_like(loss) if tangent_loss is None else weight * tangent_loss
    over_weights = reduction == "mean" and by_weight
    if tangent_weight is not None:
        mean = xp.sum(weight * loss) / xp.sum(weight) if over_weights else 0.0
        moved = moved + (loss - mean) * tangent_weight
    return xp.sum(moved) / xp.sum(weight) if over_weights else reduced(moved, reduction, xp)


def _opposed(slope: Array, wanted: _Wanted) -> _Gradients:
    """The gradients of x and t: one the negative of the other."""
    return slope if wanted[0] else None, -slope if wanted[1] else None


def _moved(tangent_x: Array | None, tangent_target: Array | None) -> Array:
    """The tangent of the residual; a tangent that is None is zero."""
    if tangent_target is None:
        return tangent_x
    return -tangent_target if tangent_x is None else tangent_x - tangent_target
