"""Gated units: one half of an axis decides how much of the other passes.

Notation: x = (a, b) halves along the axis, y output, g the gradient of y, s = 1 / (1 + e^-z) of the half z
that gates. The gradient of x is that of a, then that of b.
"""

from nnfoundations.formulas._namespace import Array, Namespace
from nnfoundations.formulas.activations import silu, silu_backward

__all__ = ["glu", "glu_backward", "glu_jvp", "swiglu", "swiglu_backward", "swiglu_jvp"]


def glu(x: Array, *, axis: int, xp: Namespace) -> Array:
    """y = a s(b)."""
    a, b = xp.halves(x, axis)
    return xp.scaled(xp.sigmoid(b), a)


def glu_backward(grad_output: Array, x: Array, *, axis: int, xp: Namespace) -> Array:
    """grad_a = g s, grad_b = g a s (1 - s)."""
    a, b = xp.halves(x, axis)
    s = xp.sigmoid(b)
    grad_a = grad_output * s
    return xp.concat(grad_a, xp.scaled(xp.scaled(1 - s, a), grad_a), axis)


def glu_jvp(tangent: Array, x: Array, *, axis: int, xp: Namespace) -> Array:
    """dy = da s + db a s (1 - s)."""
    (a, b), (moved_a, moved_b) = xp.halves(x, axis), xp.halves(tangent, axis)
    s = xp.sigmoid(b)
    return (moved_a + moved_b * a * (1 - s)) * s


def swiglu(x: Array, *, axis: int, xp: Namespace) -> Array:
    """y = silu(a) b, silu(a) = a s(a)."""
    a, b = xp.halves(x, axis)
    return xp.scaled(silu(a, xp=xp), b)


def swiglu_backward(grad_output: Array, x: Array, *, axis: int, xp: Namespace) -> Array:
    """grad_a = g b silu'(a), grad_b = g silu(a)."""
    a, b = xp.halves(x, axis)
    grad_b = xp.scaled(silu(a, xp=xp), grad_output)
    return xp.concat(silu_backward(grad_output * b, a, xp=xp), grad_b, axis)


def swiglu_jvp(tangent: Array, x: Array, *, axis: int, xp: Namespace) -> Array:
    """dy = da b silu'(a) + db silu(a)."""
    (a, b), (moved_a, moved_b) = xp.halves(x, axis), xp.halves(tangent, axis)
    return silu_backward(moved_a * b, a, xp=xp) + silu(a, xp=xp) * moved_b
