"""Losses over classes.

Notation: logits x with C classes on one axis (`axis`), m their largest, p = softmax(x), target t, g the
gradient of the loss. A cross-entropy is -sum_c q_c log p_c with q the target as a distribution: of a label
t with class weights w and smoothing s it is q = (1 - s) w_t onehot(t) + (s / C) w, of class probabilities
q = ((1 - s) t + s / C) w. With Q = sum_c q_c the gradient is Q p - q.
Each loss is linear in log p, so that the tangent of a loss is the loss of d log p = dx - sum_c p_c dx_c.

log p is formed as (x - m) - log sum exp(x - m): m + log sum exp(x - m) would round the loss away where
the logits are large.
"""

import math

from nnfoundations.formulas._namespace import Array, Namespace
from nnfoundations.formulas._reduction import Reduction, reduced

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_jvp",
    "nll_loss",
    "nll_loss_backward",
    "nll_loss_jvp",
    "soft_cross_entropy",
    "soft_cross_entropy_backward",
    "soft_cross_entropy_jvp",
]


def cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """-(1 - s) w_t log p_t - (s / C) sum_c w_c log p_c; a mean is over w_t of the labels that count."""
    m, total = _normalizer(logits, axis, xp)
    return _of_labels(logits, m, total, target, weight, axis, ignore_index, label_smoothing, reduction, xp)


def cross_entropy_backward(
    grad_output: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """g (Q p - q), for a mean divided by the sum of w_t; zero in rows whose label is ignored."""
    valid, index, row_weight = _labels(logits, target, weight, axis, ignore_index, xp)
    g = _of_row(grad_output, valid, row_weight, logits, axis, reduction, xp)
    hard = g if row_weight is None else g * row_weight
    if not label_smoothing:
        return xp.add_along(_softmax_times(hard, logits, axis, xp), index, -hard, axis)
    hard = (1 - label_smoothing) * hard
    soft = (label_smoothing / logits.shape[axis]) * g
    total = logits.shape[axis] if weight is None else xp.sum(weight)
    grad = _softmax_times(hard + total * soft, logits, axis, xp)
    return xp.add_along(grad - soft * _class_weights(weight, logits, axis, xp), index, -hard, axis)


def cross_entropy_jvp(
    tangent: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """The loss of d log p."""
    mean = xp.sum(_softmax_times(1.0, logits, axis, xp) * tangent, axis, keepdims=True)
    return _of_labels(tangent, None, mean, target, weight, axis, ignore_index, label_smoothing, reduction, xp)


def nll_loss(
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    ignore_index: int,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """-w_t x_t for log-probabilities x; a mean is over w_t of the labels that count."""
    return _of_labels(x, None, 0.0, target, weight, axis, ignore_index, 0.0, reduction, xp)


def nll_loss_backward(
    grad_output: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    ignore_index: int,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """-g w_t at the label, for a mean divided by the sum of w_t; zero elsewhere."""
    valid, index, row_weight = _labels(x, target, weight, axis, ignore_index, xp)
    g = _of_row(grad_output, valid, row_weight, x, axis, reduction, xp)
    hard = g if row_weight is None else g * row_weight
    return xp.add_along(xp.zeros_like(x), index, -hard, axis)


def nll_loss_jvp(
    tangent: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    axis: int,
    ignore_index: int,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """The loss of dx."""
    return nll_loss(tangent, target, weight, axis=axis, ignore_index=ignore_index, reduction=reduction, xp=xp)


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
    """-sum_c ((1 - s) t_c + s / C) w_c log p_c for class probabilities t; a mean is over rows."""
    q = _smoothed(target, label_smoothing, axis) * _class_weights(weight, logits, axis, xp)
    return reduced(-xp.sum(q * _log_softmax(logits, axis, xp), axis), reduction, xp)


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
    """Of x: g (Q p - q). Of t: -g (1 - s) w log p. Of w: -g ((1 - s) t + s / C) log p, over all rows."""
    g = xp.expand_dims(grad_output, axis) if reduction == "none" else grad_output
    if reduction == "mean":
        g = g / (math.prod(logits.shape) / logits.shape[axis])
    w = _class_weights(weight, logits, axis, xp)
    grad_logits = grad_target = grad_weight = None
    if wanted[0]:
        q = g * w * _smoothed(target, label_smoothing, axis)
        grad_logits = _softmax_times(xp.sum(q, axis, keepdims=True), logits, axis, xp) - q
    if wanted[1] or wanted[2]:
        surprise = -g * _log_softmax(logits, axis, xp)
        grad_target = (1 - label_smoothing) * w * surprise if wanted[1] else None
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
    """-sum_c dq_c log p_c - sum_c q_c d log p_c; a tangent that is None is zero."""
    w = _class_weights(weight, logits, axis, xp)
    smoothed = _smoothed(target, label_smoothing, axis)
    moved = xp.zeros_like(logits)
    if tangent_logits is not None:
        mean = xp.sum(_softmax_times(1.0, logits, axis, xp) * tangent_logits, axis, keepdims=True)
        moved = moved + smoothed * w * (tangent_logits - mean)
    if tangent_target is not None:
        moved = moved + (1 - label_smoothing) * tangent_target * w * _log_softmax(logits, axis, xp)
    if tangent_weight is not None:
        tangent_weight = _class_weights(tangent_weight, logits, axis, xp)
        moved = moved + smoothed * tangent_weight * _log_softmax(logits, axis, xp)
    return reduced(-xp.sum(moved, axis), reduction, xp)


def _normalizer(logits: Array, axis: int, xp: Namespace) -> tuple[Array, Array]:
    """m and log sum exp(x - m), the two numbers a row that make (x - m) - log sum exp(x - m) of x."""
    m = xp.amax(logits, axis, keepdims=True)
    return m, xp.log(xp.sum(xp.exponentiated(logits - m), axis, keepdims=True))


def _log_softmax(logits: Array, axis: int, xp: Namespace) -> Array:
    m, total = _normalizer(logits, axis, xp)
    return xp.shifted(logits - m, -total)


def _softmax_times(rows: Array | float, logits: Array, axis: int, xp: Namespace) -> Array:
    """p times one number a row."""
    e = xp.exponentiated(logits - xp.amax(logits, axis, keepdims=True))
    return xp.scaled(e, rows / xp.sum(e, axis, keepdims=True))


def _class_weights(weight: Array | None, like: Array, axis: int, xp: Namespace) -> Array | float:
    """w, laid along the class axis of `like`."""
    if weight is None:
        return 1.0
    for _ in range(like.ndim - axis - 1):
        weight = xp.expand_dims(weight, -1)
    return weight


def _labels(
    logits: Array, target: Array, weight: Array | None, axis: int, ignore_index: int, xp: Namespace
) -> tuple[Array, Array, Array | None]:
    """Which rows count, a legal index for each row, and w_t of each row, zero where it does not count."""
    target = xp.expand_dims(target, axis)
    valid = target != ignore_index
    index = target * valid
    return valid, index, None if weight is None else xp.number(valid, logits) * xp.take(weight, index)


def _total_weight(valid: Array, row_weight: Array | None, like: Array, xp: Namespace) -> Array:
    return xp.sum(xp.number(valid, like) if row_weight is None else row_weight)


def _of_row(
    grad_output: Array,
    valid: Array,
    row_weight: Array | None,
    like: Array,
    axis: int,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """The gradient that each row's weighted loss gets: none, also where the mean is over no label."""
    g = xp.expand_dims(grad_output, axis) if reduction == "none" else grad_output
    if reduction == "mean":
        g = g / _total_weight(valid, row_weight, like, xp)
    return xp.where(valid, g, 0.0)


def _of_labels(
    x: Array,
    m: Array | None,
    total: Array | float,
    target: Array,
    weight: Array | None,
    axis: int,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """The loss where log p is (x - m) - total, with a number a row for m, if there is one, and total."""
    valid, index, row_weight = _labels(x, target, weight, axis, ignore_index, xp)
    label = xp.take_along(x, index, axis)
    loss = total - (label if m is None else label - m)
    if row_weight is not None:
        loss = row_weight * loss
    if label_smoothing:
        classes = x.shape[axis]
        of_all = classes if weight is None else xp.sum(weight)
        x = x if m is None else x - m
        smooth = of_all * total - xp.sum(x * _class_weights(weight, x, axis, xp), axis, keepdims=True)
        loss = (1 - label_smoothing) * loss + (label_smoothing / classes) * smooth
    if reduction == "none":  # squeezed first: a view that a formula returns can't be changed in place
        valid, loss = xp.squeeze(valid, axis), xp.squeeze(loss, axis)
    loss = xp.where(valid, loss, 0.0)  # an ignored row may hold anything, NaN too
    if reduction == "none":
        return loss
    return xp.sum(loss) / _total_weight(valid, row_weight, x, xp) if reduction == "mean" else xp.sum(loss)


def _smoothed(target: Array, label_smoothing: float, axis: int) -> Array:
    if not label_smoothing:
        return target
    return (1 - label_smoothing) * target + label_smoothing / target.shape[axis]
