"""Softmax and its logarithm, along one axis.

Notation: x input, y output, g = `grad_output` the gradient of the loss with respect to y, dx the tangent of
x; sums are along the axis. The largest x is subtracted before the exponential: the result is the same, and
nothing overflows. Softmin is the softmax of -x.
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
    """Softmax: y = e^x / sum e^x.

    Args:
        x: input.
        axis: axis of the sums.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    e = xp.exp_(x - xp.amax(x, axis, keepdims=True))
    total = xp.sum(e, axis, keepdims=True)
    return xp.mul_(e, 1 / total)


def softmax_backward(grad_output: Array, y: Array, *, axis: int, xp: Namespace) -> Array:
    """grad_x = y (g - sum g y). The Jacobian diag(y) - y y^T is symmetric, so this also maps tangents."""
    total = xp.sum(grad_output * y, axis, keepdims=True)
    return xp.mul_(grad_output - total, y)


def log_softmax(x: Array, *, axis: int, xp: Namespace) -> Array:
    """Logarithm of the softmax: y = x - log sum e^x.

    Args:
        x: input.
        axis: axis of the sums.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    z = x - xp.amax(x, axis, keepdims=True)
    total = xp.sum(xp.exp(z), axis, keepdims=True)
    return xp.add_(z, -xp.log(total))


def log_softmax_backward(grad_output: Array, y: Array, *, axis: int, xp: Namespace) -> Array:
    """grad_x = g - e^y sum g."""
    total = xp.sum(grad_output, axis, keepdims=True)
    return grad_output - xp.mul_(xp.exp(y), total)


def log_softmax_jvp(tangent: Array, y: Array, *, axis: int, xp: Namespace) -> Array:
    """dy = dx - sum e^y dx."""
    mean = xp.sum(xp.exp(y) * tangent, axis, keepdims=True)
    return tangent - mean
