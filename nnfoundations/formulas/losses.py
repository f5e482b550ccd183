"""Losses over classes.

Notation: logits x with C classes on one axis (`axis`), m their largest, p = softmax(x), target t, g the
gradient of the loss. A cross-entropy is -sum_c q_c log p_c, with q the target as a distribution: a label
t with class weights w and smoothing s has q = (1 - s) w_t onehot(t) + (s / C) w. With Q = sum_c q_c the
gradient is Q p - q.

log p is formed as (x - m) - log sum exp(x - m): m + log sum exp(x - m) would round the loss away where
the logits are large.
"""

from typing import Literal, TypeAlias

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["Reduction", "cross_entropy", "cross_entropy_backward", "cross_entropy_jvp"]

Reduction: TypeAlias = Literal["none", "mean", "sum"]


def _log_softmax(logits: Array, axis: int, xp: Namespace) -> Array:
    shifted = logits - xp.amax(logits, axis, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis, keepdims=True))


def _class_weights(weight: Array | None, like: Array, axis: int, xp: Namespace) -> Array | float:
    """w along the class axis of `like`."""
    if weight is None:
        return 1.0
    for _ in range(like.ndim - axis - 1):
        weight = xp.expand_dims(weight, -1)
    return weight


def _labels(
    logits: Array, target: Array, weight: Array | None, axis: int, ignore_index: int, xp: Namespace
) -> tuple[Array, Array, Array]:
    """Which rows count, a legal index for every row, and w_t of each row, zero where it does not count."""
    target = xp.expand_dims(target, axis)
    valid = target != ignore_index
    index = xp.where(valid, target, xp.zeros_like(target))
    row = xp.take_along(logits, index, axis)
    row = xp.ones_like(row) if weight is None else xp.take(weight, index)
    return valid, index, xp.where(valid, row, xp.zeros_like(row))


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
    """-(1 - s) w_t log p_t - (s / C) sum_c w_c log p_c; the mean is over w_t of the labels that count."""
    log_p = _log_softmax(logits, axis, xp)
    valid, index, row_weight = _labels(logits, target, weight, axis, ignore_index, xp)
    loss = -row_weight * xp.take_along(log_p, index, axis)
    if label_smoothing:
        share = label_smoothing / logits.shape[axis]
        smooth = xp.sum(log_p * _class_weights(weight, logits, axis, xp), axis, keepdims=True)
        loss = (1 - label_smoothing) * loss - share * smooth
    loss = xp.where(valid, loss, xp.zeros_like(loss))  # an ignored row may hold anything, NaN too
    if reduction == "none":
        return xp.squeeze(loss, axis)
    return xp.sum(loss) / xp.sum(row_weight) if reduction == "mean" else xp.sum(loss)


def _logit_gradient(
    grad_rows: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    axis: int,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """g (Q p - q), with g of each row, or of the whole."""
    valid, index, row_weight = _labels(logits, target, weight, axis, ignore_index, xp)
    hard = (1 - label_smoothing) * grad_rows * row_weight
    if reduction == "mean":
        hard = hard / xp.sum(row_weight)
    p = xp.exp(_log_softmax(logits, axis, xp))
    if not label_smoothing:
        return xp.add_along(p * hard, index, -hard, axis)
    smooth = xp.where(valid, xp.ones_like(hard), xp.zeros_like(hard))
    smooth = smooth * grad_rows * (label_smoothing / logits.shape[axis])
    if reduction == "mean":
        smooth = smooth / xp.sum(row_weight)
    weights = _class_weights(weight, logits, axis, xp)
    total = logits.shape[axis] if weight is None else xp.sum(weight)
    grad = p * (hard + total * smooth) - smooth * weights
    return xp.add_along(grad, index, -hard, axis)


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
    """g (Q p - q), divided by the sum of w_t for a mean. Rows whose label is ignored get zero."""
    rows = xp.expand_dims(grad_output, axis) if reduction == "none" else grad_output
    return _logit_gradient(rows, logits, target, weight, axis, ignore_index, label_smoothing, reduction, xp)


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
    """The tangent along the gradient: sum_c (Q p - q)_c dx_c, over each row or over all."""
    one = xp.ones_like(xp.amax(logits, axis, keepdims=True))
    gradient = _logit_gradient(
        one, logits, target, weight, axis, ignore_index, label_smoothing, reduction, xp
    )
    moved = gradient * tangent
    return xp.sum(moved, axis) if reduction == "none" else xp.sum(moved)
