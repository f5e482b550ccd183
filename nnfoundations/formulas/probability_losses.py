"""Losses of probabilities: binary cross-entropy, and the Kullback-Leibler divergence.

Notation: x probability, logit or log-probability, t target probability, p = sigmoid(x) for a logit x, w
weight, q weight of the positive outcome. g = `grad_output` is the gradient with respect to the reduced loss,
divided by the number of elements if the loss is a mean. dx and dt are tangents; one that is None is zero.
`wanted` says, in the order x, t, which gradients are needed; the others are None.
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

_LEAST_LOG = -100.0  # a wrong prediction with probability 1 costs 100, not infinity
_LEAST_VARIANCE = 1e-12  # the smallest x (1 - x) that the gradient is divided by


def binary_cross_entropy(
    x: Array, target: Array, weight: Array | None, *, reduction: Reduction, xp: Namespace
) -> Array:
    """Binary cross-entropy: -w (t log x + (1 - t) log(1 - x)), each logarithm at least -100.

    Args:
        x: probabilities.
        target: t, in the shape of x.
        weight: w, in a shape that broadcasts, or None.
        reduction: "none", "mean" or "sum".
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all elements, or their mean or sum.
    """
    log_x = xp.clamp(xp.log(x), _LEAST_LOG, None)
    log_rest = xp.clamp(xp.log1p(-x), _LEAST_LOG, None)
    loss = xp.mul_(log_rest, target - 1) - xp.mul_(log_x, target)
    return reduced(_times(loss, weight), reduction, xp)


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
    """grad_x = g w (x - t) / (x (1 - x)), the divisor at least 1e-12; grad_t = g w (log(1 - x) - log x)."""
    g = _times(spread(grad_output, x, reduction), weight)
    grad_x = xp.mul_(_bce_slope(x, target, xp), g) if wanted[0] else None
    grad_target = xp.mul_(xp.log1p(-x) - xp.log(x), g) if wanted[1] else None
    return grad_x, grad_target


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
    """w ((x - t) / (x (1 - x)) dx + (log(1 - x) - log x) dt)."""
    tangent = xp.zeros_like(x) if tangent_x is None else _bce_slope(x, target, xp) * tangent_x
    if tangent_target is not None:
        tangent = tangent + (xp.log1p(-x) - xp.log(x)) * tangent_target
    return reduced(_times(tangent, weight), reduction, xp)


def binary_cross_entropy_with_logits(
    x: Array,
    target: Array,
    weight: Array | None,
    pos_weight: Array | None,
    *,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """Binary cross-entropy of logits: w ((1 - t) x - (1 + (q - 1) t) log p).

    It is the sum of -w q t log p and -w (1 - t) log(1 - p).

    Args:
        x: logits.
        target: t, in the shape of x.
        weight: w, in a shape that broadcasts, or None.
        pos_weight: q, in a shape that broadcasts, or None.
        reduction: "none", "mean" or "sum".
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all elements, or their mean or sum.
    """
    loss = _minus_log_sigmoid(x, xp)
    if pos_weight is not None:
        loss = xp.mul_(loss, 1 + (pos_weight - 1) * target)
    loss = xp.add_(loss, xp.mul_(1 - target, x))
    return reduced(_times(loss, weight), reduction, xp)


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
    """grad_x = g w ((1 + (q - 1) t) p - q t), grad_t = g w (-x + (1 - q) log p); q = 1 without pos_weight."""
    g = _times(spread(grad_output, x, reduction), weight)
    grad_x = xp.mul_(_logit_slope(x, target, pos_weight, xp), g) if wanted[0] else None
    grad_target = g * _target_slope(x, pos_weight, xp) if wanted[1] else None
    return grad_x, grad_target


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
    """w (((1 + (q - 1) t) p - q t) dx + (-x + (1 - q) log p) dt)."""
    tangent = xp.zeros_like(x) if tangent_x is None else _logit_slope(x, target, pos_weight, xp) * tangent_x
    if tangent_target is not None:
        tangent = tangent + _target_slope(x, pos_weight, xp) * tangent_target
    return reduced(_times(tangent, weight), reduction, xp)


def kl_div(x: Array, target: Array, *, reduction: Reduction, log_target: bool, xp: Namespace) -> Array:
    """Kullback-Leibler divergence: t (log t - x), 0 at t = 0; with log_target e^t (t - x).

    Args:
        x: log-probabilities.
        target: t, in the shape of x; log t with log_target.
        reduction: "none", "mean" or "sum".
        log_target: whether the target is a logarithm.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all elements, or their mean or sum.
    """
    if log_target:
        loss = xp.mul_(target - x, xp.exp(target))
    else:
        loss = xp.add_(xp.xlogy(target, target), xp.mul_(-target, x))
    return reduced(loss, reduction, xp)


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
    """grad_x = -g t, grad_t = g (log t + 1 - x), NaN at t = 0; with log_target -g e^t, g e^t (t - x + 1)."""
    g = spread(grad_output, target, reduction)
    grad_x = -g * _kl_probability(target, log_target, xp) if wanted[0] else None
    grad_target = g * _kl_target_slope(x, target, log_target, xp) if wanted[1] else None
    return grad_x, grad_target


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
    """-t dx + (log t + 1 - x) dt; with log_target -e^t dx + e^t (t - x + 1) dt."""
    tangent = xp.zeros_like(target)
    if tangent_x is not None:
        tangent = tangent - _kl_probability(target, log_target, xp) * tangent_x
    if tangent_target is not None:
        tangent = tangent + _kl_target_slope(x, target, log_target, xp) * tangent_target
    return reduced(tangent, reduction, xp)


def _times(x: Array, weight: Array | None) -> Array:
    return x if weight is None else x * weight


def _bce_slope(x: Array, target: Array, xp: Namespace) -> Array:
    """(x - t) / (x (1 - x))."""
    variance = xp.clamp((1 - x) * x, _LEAST_VARIANCE, None)
    return (x - target) / variance


def _minus_log_sigmoid(x: Array, xp: Namespace) -> Array:
    """-log p = log(1 + e^-|x|) - min(x, 0), which cannot overflow."""
    exponent = xp.mul_(xp.abs(x), -1.0)
    return xp.log1p(xp.exp_(exponent)) - xp.clamp(x, None, 0)


def _logit_slope(x: Array, target: Array, pos_weight: Array | None, xp: Namespace) -> Array:
    """(1 + (q - 1) t) p - q t."""
    p = xp.sigmoid(x)
    if pos_weight is None:
        return p - target
    positive = pos_weight * target
    return xp.mul_(p, positive + (1 - target)) - positive


def _target_slope(x: Array, pos_weight: Array | None, xp: Namespace) -> Array:
    """-x + (1 - q) log p."""
    if pos_weight is None:
        return -x
    return (pos_weight - 1) * _minus_log_sigmoid(x, xp) - x


def _kl_probability(target: Array, log_target: bool, xp: Namespace) -> Array:
    """The target as a probability."""
    return xp.exp(target) if log_target else target


def _kl_target_slope(x: Array, target: Array, log_target: bool, xp: Namespace) -> Array:
    """log t + 1 - x, or e^t (t - x + 1)."""
    if log_target:
        return xp.exp(target) * (target - x + 1)
    return xp.log(target) + target / target - x  # t / t is 1, and NaN at t = 0, as in torch
