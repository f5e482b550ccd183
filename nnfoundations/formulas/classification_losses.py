"""Losses of class labels: cross-entropy and negative log-likelihood.

Notation: logits x with C classes along one axis (`axis`), m the largest, p = softmax(x), label t, class
weights w, label smoothing s. g = `grad_output` is the gradient with respect to the reduced loss, dx the
tangent of x. A row is one sample: all entries along the class axis. Rows with the label `ignore_index`
do not count.

A cross-entropy is -sum_c q_c log p_c, where q = (1 - s) w_t onehot(t) + (s / C) w is the target as a
distribution. With Q = sum_c q_c the gradient with respect to x is Q p - q. The loss is linear in log p, so
its tangent is the loss of d log p = dx - sum_c p_c dx_c.

log p is computed as (x - m) - log sum exp(x - m). The sum m + log sum exp(x - m) would lose the digits of
the loss if the logits are large.
"""

from nnfoundations.formulas._classes import class_weights, normalizer, softmax_times
from nnfoundations.formulas._namespace import Array, Namespace
from nnfoundations.formulas._reduction import Reduction

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_jvp",
    "nll_loss",
    "nll_loss_backward",
    "nll_loss_jvp",
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
    """Cross-entropy of labels: -(1 - s) w_t log p_t - (s / C) sum_c w_c log p_c.

    Args:
        logits: x, with the classes along the axis.
        target: labels t, without that axis.
        weight: class weights w, or None.
        axis: axis of the classes.
        ignore_index: label of rows that do not count.
        label_smoothing: s, from 0 to 1.
        reduction: "none", "mean" or "sum".
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all rows, or their sum; a mean is over w_t of the rows that count.
    """
    m, log_total = normalizer(logits, axis, xp)
    return _of_labels(
        logits, m, log_total, target, weight, axis, ignore_index, label_smoothing, reduction, xp
    )


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
    """grad_x = g (Q p - q), zero in ignored rows; for a mean, g is divided by the sum of w_t."""
    valid, index, row_weight = _labels(logits, target, weight, axis, ignore_index, xp)
    g = _of_row(grad_output, valid, row_weight, logits, axis, reduction, xp)
    # g times the part of q at the label (hard), and times its part at every class (soft, from smoothing).
    hard = g if row_weight is None else g * row_weight
    if not label_smoothing:
        grad_logits = softmax_times(hard, logits, axis, xp)
        return xp.scatter_add_(grad_logits, axis, index, -hard)
    hard = (1 - label_smoothing) * hard
    soft = (label_smoothing / logits.shape[axis]) * g
    total = logits.shape[axis] if weight is None else xp.sum(weight)
    grad_logits = softmax_times(hard + total * soft, logits, axis, xp)
    grad_logits = grad_logits - soft * class_weights(weight, logits, axis, xp)
    return xp.scatter_add_(grad_logits, axis, index, -hard)


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
    mean = xp.sum(softmax_times(1.0, logits, axis, xp) * tangent, axis, keepdims=True)
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
    """Negative log-likelihood: -w_t x_t for log-probabilities x.

    Args:
        x: log-probabilities, with the classes along the axis.
        target: labels t, without that axis.
        weight: class weights w, or None.
        axis: axis of the classes.
        ignore_index: label of rows that do not count.
        reduction: "none", "mean" or "sum".
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        The losses of all rows, or their sum; a mean is over w_t of the rows that count.
    """
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
    """grad_x = -g w_t at the label, zero elsewhere; for a mean, g is divided by the sum of w_t."""
    valid, index, row_weight = _labels(x, target, weight, axis, ignore_index, xp)
    g = _of_row(grad_output, valid, row_weight, x, axis, reduction, xp)
    hard = g if row_weight is None else g * row_weight
    return xp.scatter_add_(xp.zeros_like(x), axis, index, -hard)


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


def _labels(
    logits: Array, target: Array, weight: Array | None, axis: int, ignore_index: int, xp: Namespace
) -> tuple[Array, Array, Array | None]:
    """Return which rows count, a valid index for each row, and w_t of each row, 0 if it is ignored."""
    target = xp.expand_dims(target, axis)
    valid = target != ignore_index
    index = target * valid
    if weight is None:
        return valid, index, None
    return valid, index, xp.type_as(valid, logits) * xp.take(weight, index)


def _total_weight(valid: Array, row_weight: Array | None, like: Array, xp: Namespace) -> Array:
    """Return the sum of w_t over the rows that count."""
    return xp.sum(xp.type_as(valid, like) if row_weight is None else row_weight)


def _of_row(
    grad_output: Array,
    valid: Array,
    row_weight: Array | None,
    like: Array,
    axis: int,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """Return g of each row, 0 if it is ignored, even if all rows are and the mean is 0 / 0."""
    g = xp.expand_dims(grad_output, axis) if reduction == "none" else grad_output
    if reduction == "mean":
        g = g / _total_weight(valid, row_weight, like, xp)
    return xp.where(valid, g, 0.0)


def _of_labels(
    x: Array,
    m: Array | None,
    log_total: Array | float,
    target: Array,
    weight: Array | None,
    axis: int,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    xp: Namespace,
) -> Array:
    """Return the loss for log p = (x - m) - log_total, with m and log_total per row; m = None is 0."""
    valid, index, row_weight = _labels(x, target, weight, axis, ignore_index, xp)
    at_label = xp.gather(x, axis, index)
    loss = log_total - (at_label if m is None else at_label - m)
    if row_weight is not None:
        loss = row_weight * loss
    if label_smoothing:
        smooth = _of_all_classes(x, m, log_total, weight, axis, xp)
        loss = (1 - label_smoothing) * loss + (label_smoothing / x.shape[axis]) * smooth
    if reduction == "none":
        # Squeezed before xp.where, which makes a new array: the caller may change it in place, unlike a view.
        return xp.where(xp.squeeze(valid, axis), xp.squeeze(loss, axis), 0.0)
    loss = xp.sum(xp.where(valid, loss, 0.0))  # an ignored row may contain anything, also NaN
    return loss / _total_weight(valid, row_weight, x, xp) if reduction == "mean" else loss


def _of_all_classes(
    x: Array, m: Array | None, log_total: Array | float, weight: Array | None, axis: int, xp: Namespace
) -> Array:
    """-sum_c w_c log p_c of each row."""
    x = x if m is None else x - m
    total_weight = x.shape[axis] if weight is None else xp.sum(weight)
    return total_weight * log_total - xp.sum(x * class_weights(weight, x, axis, xp), axis, keepdims=True)
