"""Softmax and its logarithm, along one axis.

Notation: x input, y output, g the gradient of y, sums along the axis. The largest x is subtracted before the
exponential: the result is the same, and nothing overflows. Softmin is the softmax of -x.
"""

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = [
    "log_softmax",
    "log_softmax_backward",
    "log_softmax_jvp",
    "softmax",
    "softmax_backward",
]


def softmax(x: Array, *, axis: int, xp: Namespace) -> Array:
    """y = e^x / sum e^x."""
    e = xp.exponentiated(x - xp.amax(x, axis, keepdims=True))
    return xp.scaled(e, 1 / xp.sum(e, axis, keepdims=True))


def softmax_backward(grad_output: Array, y: Array, *, axis: int, xp: Namespace) -> Array:
    """grad_x = y (g - sum g y). The Jacobian diag(y) - y y^T is symmetric: it carries tangents too."""
    return xp.scaled(grad_output - xp.sum(grad_output * y, axis, keepdims=True), y)


def log_softmax(x: Array, *, axis: int, xp: Namespace) -> Array:
    """y = x - log sum e^x."""
    z = x - xp.amax(x, axis, keepdims=True)
    return xp.shifted(z, -xp.log(xp.sum(xp.exp(z), axis, keepdims=True)))


def log_softmax_backward(grad_output: Array, y: Array, *, axis: int, xp: Namespace) -> Array:
    """grad_x = g - e^y sum g."""
    return grad_output - xp.scaled(xp.exp(y), xp.sum(grad_output, axis, keepdims=True))


def log_softmax_jvp(tangent: Array, y: Array, *, axis: int, xp: Namespace) -> Array:
    """dy = dx - sum e^y dx."""
    return tangent - xp.sum(xp.exp(y) * tangent, axis, keepdims=True)
