"""What the classification losses share: softmax along the class axis, and class weights.

Notation: logits x, m the largest of a row, p = softmax(x), class weights w.
"""

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["class_weights", "normalizer", "softmax_times"]


def normalizer(logits: Array, axis: int, xp: Namespace) -> tuple[Array, Array]:
    """Return m and log sum exp(x - m) of each row; log p = (x - m) - log sum exp(x - m)."""
    m = xp.amax(logits, axis, keepdims=True)
    total = xp.sum(xp.exp_(logits - m), axis, keepdims=True)
    return m, xp.log(total)


def softmax_times(rows: Array | float, logits: Array, axis: int, xp: Namespace) -> Array:
    """Return p times one number per row."""
    e = xp.exp_(logits - xp.amax(logits, axis, keepdims=True))
    total = xp.sum(e, axis, keepdims=True)
    return xp.mul_(e, rows / total)


def class_weights(weight: Array | None, like: Array, axis: int, xp: Namespace) -> Array | float:
    """Return w in a shape that broadcasts along the class axis of `like`."""
    if weight is None:
        return 1.0
    for _ in range(like.ndim - axis - 1):
        weight = xp.expand_dims(weight, -1)
    return weight
