"""Cross-entropy of class probabilities.

Notation: logits x with C classes along one axis (`axis`), p = softmax(x), target probabilities t, class
weights w, label smoothing s. g = `grad_output` is the gradient with respect to the reduced loss. The loss of
a row is -sum_c q_c log p_c with q = ((1 - s) t + s / C) w. With Q = sum_c q_c the gradient with respect to x
is Q p - q. dx, dt, dw are tangents, d log p = dx - sum_c p_c dx_c; a tangent that is None is zero. `wanted`
says, in the order x, t, w, which gradients are needed; the others are None.
"""

import math

from nnfoundations.formulas._classes import class_weights, normalizer, softmax_times
from nnfoundations.formulas._namespace import Array, Namespace
from nnfoundations.formulas._reduction import Reduction, reduced

__all__ = ["soft_cross_entropy", "soft_cross_entropy_backward", "soft_cross_entropy_jvp"]


def soft_cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    label_smoothing: float,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """Cross-entropy of class probabilities: -sum_c ((1 - s) t_c + s / C) w_c log p_c; a mean is over rows.

    Args:
        logits: x, with the classes along the axis.
        target: class probabilities t, in the shape of x.
        weight: class weights w, or None.
        axis: axis of the classes.
        label_smoothing: s, from 0 to 1.
        reduction: "none", "mean" or "sum".
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all rows, or their mean or sum.
    """
    q = _smoothed(target, label_smoothing, axis) * class_weights(weight, logits, axis, xp)
    loss = -xp.sum(q * _log_softmax(logits, axis, xp), axis)
    return reduced(loss, reduction, xp)


def soft_cross_entropy_backward(
    grad_output: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    label_smoothing: float,
    reduction: Reduction,
    wanted: tuple[bool, bool, bool],
    xp: Namespace,
) -> tuple[Array | None, Array | None, Array | None]:
    """grad_x = g (Q p - q), grad_t = -g (1 - s) w log p, grad_w = -sum of g ((1 - s) t + s / C) log p."""
    g = xp.expand_dims(grad_output, axis) if reduction == "none" else grad_output
    if reduction == "mean":
        g = g / (math.prod(logits.shape) / logits.shape[axis])
    w = class_weights(weight, logits, axis, xp)
    grad_logits = grad_target = grad_weight = None
    if wanted[0]:
        q = g * w * _smoothed(target, label_smoothing, axis)
        grad_logits = softmax_times(xp.sum(q, axis, keepdims=True), logits, axis, xp) - q
    if wanted[1] or wanted[2]:
        surprise = -g * _log_softmax(logits, axis, xp)
    if wanted[1]:
        grad_target = (1 - label_smoothing) * w * surprise
    if wanted[2]:
        others = tuple(i for i in range(logits.ndim) if i != axis)
        grad_weight = xp.sum(_smoothed(target, label_smoothing, axis) * surprise, others)
    return grad_logits, grad_target, grad_weight


def soft_cross_entropy_jvp(
    tangent_logits: Array | None,
    tangent_target: Array | None,
    tangent_weight: Array | None,
    logits: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    label_smoothing: float,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """-sum_c dq_c log p_c - sum_c q_c d log p_c."""
    w = class_weights(weight, logits, axis, xp)
    smoothed = _smoothed(target, label_smoothing, axis)
    tangent = xp.zeros_like(logits)
    if tangent_logits is not None:
        mean = xp.sum(softmax_times(1.0, logits, axis, xp) * tangent_logits, axis, keepdims=True)
        tangent = tangent + smoothed * w * (tangent_logits - mean)
    if tangent_target is not None:
        tangent = tangent + (1 - label_smoothing) * tangent_target * w * _log_softmax(logits, axis, xp)
    if tangent_weight is not None:
        tangent_weight = class_weights(tangent_weight, logits, axis, xp)
        tangent = tangent + smoothed * tangent_weight * _log_softmax(logits, axis, xp)
    return reduced(-xp.sum(tangent, axis), reduction, xp)


def _log_softmax(logits: Array, axis: int, xp: Namespace) -> Array:
    m, log_total = normalizer(logits, axis, xp)
    return xp.add_(logits - m, -log_total)


def _smoothed(target: Array, label_smoothing: float, axis: int) -> Array:
    """Return (1 - s) t + s / C."""
    if not label_smoothing:
        return target
    return (1 - label_smoothing) * target + label_smoothing / target.shape[axis]
