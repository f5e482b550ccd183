"""Gated linear units: one half of an axis scales the other half.

Notation: x = (a, b) halves along the axis, y output, s(z) = 1 / (1 + e^-z), silu(z) = z s(z). g =
`grad_output` is the gradient of the loss with respect to y, da and db the tangents of a and b. The gradient
of x is that of a, then that of b, along the axis.
"""

from nnfoundations.formulas._namespace import Array, Namespace
from nnfoundations.formulas.activations import silu, silu_backward

__all__ = ["glu", "glu_backward", "glu_jvp", "swiglu", "swiglu_backward", "swiglu_jvp"]


def glu(x: Array, *, axis: int, xp: Namespace) -> Array:
    """Gated linear unit: y = a s(b).

    Args:
        x: a and b, one after the other along the axis.
        axis: axis that is halved.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, with half the size along the axis.
    """
    a, b = xp.halves(x, axis)
    return xp.mul_(xp.sigmoid(b), a)


def glu_backward(grad_output: Array, x: Array, *, axis: int, xp: Namespace) -> Array:
    """grad_a = g s(b), grad_b = g a s(b) (1 - s(b))."""
    a, b = xp.halves(x, axis)
    s = xp.sigmoid(b)
    grad_a = grad_output * s
    grad_b = xp.mul_(1 - s, a)
    grad_b = xp.mul_(grad_b, grad_a)
    return xp.concat(grad_a, grad_b, axis)


def glu_jvp(tangent: Array, x: Array, *, axis: int, xp: Namespace) -> Array:
    """dy = da s(b) + db a s(b) (1 - s(b))."""
    a, b = xp.halves(x, axis)
    tangent_a, tangent_b = xp.halves(tangent, axis)
    s = xp.sigmoid(b)
    return (tangent_a + tangent_b * a * (1 - s)) * s


def swiglu(x: Array, *, axis: int, xp: Namespace) -> Array:
    """Swish-gated linear unit: y = silu(a) b.

    Args:
        x: a and b, one after the other along the axis.
        axis: axis that is halved.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, with half the size along the axis.
    """
    a, b = xp.halves(x, axis)
    return xp.mul_(silu(a, xp=xp), b)


def swiglu_backward(grad_output: Array, x: Array, *, axis: int, xp: Namespace) -> Array:
    """grad_a = g b silu'(a), grad_b = g silu(a)."""
    a, b = xp.halves(x, axis)
    grad_a = silu_backward(grad_output * b, a, xp=xp)
    grad_b = xp.mul_(silu(a, xp=xp), grad_output)
    return xp.concat(grad_a, grad_b, axis)


def swiglu_jvp(tangent: Array, x: Array, *, axis: int, xp: Namespace) -> Array:
    """dy = da b silu'(a) + db silu(a)."""
    a, b = xp.halves(x, axis)
    tangent_a, tangent_b = xp.halves(tangent, axis)
    return silu_backward(tangent_a * b, a, xp=xp) + silu(a, xp=xp) * tangent_b
