"""Losses of probabilities, each number apart: of two outcomes, and of a distribution against another.

Notation: x probability, logit or log-probability, t target probability, p = sigmoid(x) of a logit, w
weight, q positive weight, g the gradient of the loss, divided by the number of elements where it is a mean.
"""

from nnfoundations.formulas._namespace import Array, Namespace
from nnfoundations.formulas._reduction import Reduction, reduced, spread

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_jvp",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "binary_cross_entropy_with_logits_jvp",
    "kl_div",
    "kl_div_backward",
    "kl_div_jvp",
]

_Wanted = tuple[bool, bool]
_Gradients = tuple[Array | None, Array | None]

_LEAST_LOG = -100.0  # a certain mistake costs 100, not infinity
_LEAST_VARIANCE = 1e-12  # of x (1 - x), by which the gradient is divided


def binary_cross_entropy(
    x: Array, target: Array, weight: Array | None, *, reduction: Reduction, xp: Namespace
) -> Array:
    """-w (t log x + (1 - t) log(1 - x)), each logarithm at least -100."""
    hit = xp.scaled(xp.clamp(xp.log(x), _LEAST_LOG, None), target)
    miss = xp.scaled(xp.clamp(xp.log1p(-x), _LEAST_LOG, None), target - 1)
    return reduced(_times(miss - hit, weight, xp), reduction, xp)


def binary_cross_entropy_backward(
    grad_output: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    reduction: Reduction,
    wanted: _Wanted,
    xp: Namespace,
) -> _Gradients:
    """Of x: g w (x - t) / (x (1 - x)), the divisor at least 1e-12. Of t: g w (log(1 - x) - log x)."""
    g = _times(spread(grad_output, x, reduction), weight, xp)
    grad_x = xp.scaled(_bce_slope(x, target, xp), g) if wanted[0] else None
    return grad_x, xp.scaled(xp.log1p(-x) - xp.log(x), g) if wanted[1] else None


def binary_cross_entropy_jvp(
    tangent_x: Array | None,
    tangent_target: Array | None,
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """(x - t) / (x (1 - x)) dx + (log(1 - x) - log x) dt, times w."""
    moved = xp.zeros_like(x) if tangent_x is None else _bce_slope(x, target, xp) * tangent_x
    if tangent_target is not None:
        moved = moved + (xp.log1p(-x) - xp.log(x)) * tangent_target
    return reduced(_times(moved, weight, xp), reduction, xp)


def binary_cross_entropy_with_logits(
    x: Array,
    target: Array,
    weight: Array | None,
    pos_weight: Array | None,
    *,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """w ((1 - t) x - (1 + (q - 1) t) log p), the sum of -t q log p and -(1 - t) log(1 - p)."""
    surprise = _softplus_of_minus(x, xp)
    if pos_weight is not None:
        surprise = xp.scaled(surprise, 1 + (pos_weight - 1) * target)
    loss = xp.shifted(surprise, xp.scaled(1 - target, x))
    return reduced(_times(loss, weight, xp), reduction, xp)


def binary_cross_entropy_with_logits_backward(
    grad_output: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    pos_weight: Array | None,
    *,
    reduction: Reduction,
    wanted: _Wanted,
    xp: Namespace,
) -> _Gradients:
    """Of x: g w (p - t), with q g w ((1 + (q - 1) t) p - q t). Of t: g w (-x + (1 - q) log p)."""
    g = _times(spread(grad_output, x, reduction), weight, xp)
    grad_x = xp.scaled(_logit_slope(x, target, pos_weight, xp), g) if wanted[0] else None
    return grad_x, g * _target_slope(x, pos_weight, xp) if wanted[1] else None


def binary_cross_entropy_with_logits_jvp(
    tangent_x: Array | None,
    tangent_target: Array | None,
    x: Array,
    target: Array,
    weight: Array | None,
    pos_weight: Array | None,
    *,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """The two slopes times dx and dt, summed."""
    moved = xp.zeros_like(x) if tangent_x is None else _logit_slope(x, target, pos_weight, xp) * tangent_x
    if tangent_target is not None:
        moved = moved + _target_slope(x, pos_weight, xp) * tangent_target
    return reduced(_times(moved, weight, xp), reduction, xp)


def kl_div(x: Array, target: Array, *, reduction: Reduction, log_target: bool, xp: Namespace) -> Array:
    """t (log t - x) for log-probabilities x, zero at t = 0; e^t (t - x) where the target is a log too."""
    if log_target:
        return reduced(xp.scaled(target - x, xp.exp(target)), reduction, xp)
    return reduced(xp.shifted(xp.xlogy(target, target), xp.scaled(-target, x)), reduction, xp)


def kl_div_backward(
    grad_output: Array,
    x: Array,
    target: Array,
    *,
    reduction: Reduction,
    log_target: bool,
    wanted: _Wanted,
    xp: Namespace,
) -> _Gradients:
    """Of x: -g t, or -g e^t. Of t: g (log t + t / t - x), NaN at zero as in torch; or g e^t (t - x + 1)."""
    g = spread(grad_output, target, reduction)
    grad_x = -g * (xp.exp(target) if log_target else target) if wanted[0] else None
    return grad_x, g * _kl_slope(x, target, log_target, xp) if wanted[1] else None


def kl_div_jvp(
    tangent_x: Array | None,
    tangent_target: Array | None,
    x: Array,
    target: Array,
    *,
    reduction: Reduction,
    log_target: bool,
    xp: Namespace,
) -> Array:
    """-t dx + (log t + 1 - x) dt, or the same with e^t."""
    moved = xp.zeros_like(target)
    if tangent_x is not None:
        moved = moved - (xp.exp(target) if log_target else target) * tangent_x
    if tangent_target is not None:
        moved = moved + _kl_slope(x, target, log_target, xp) * tangent_target
    return reduced(moved, reduction, xp)


def _times(x: Array, weight: Array | None, xp: Namespace) -> Array:
    return x if weight is None else x * weight


def _bce_slope(x: Array, target: Array, xp: Namespace) -> Array:
    return (x - target) / xp.clamp((1 - x) * x, _LEAST_VARIANCE, None)


def _softplus_of_minus(x: Array, xp: Namespace) -> Array:
    """-log p = log(1 + e^-x), without overflow."""
    return xp.log1p(xp.exponentiated(xp.scaled(xp.abs(x), -1.0))) - xp.clamp(x, None, 0)


def _logit_slope(x: Array, target: Array, pos_weight: Array | None, xp: Namespace) -> Array:
    p = xp.sigmoid(x)
    if pos_weight is None:
        return p - target
    positive = pos_weight * target
    return xp.scaled(p, positive + (1 - target)) - positive


def _target_slope(x: Array, pos_weight: Array | None, xp: Namespace) -> Array:
    return -x if pos_weight is None else (pos_weight - 1) * _softplus_of_minus(x, xp) - x


def _kl_slope(x: Array, target: Array, log_target: bool, xp: Namespace) -> Array:
    return xp.exp(target) * (target - x + 1) if log_target else xp.log(target) + target / target - x
