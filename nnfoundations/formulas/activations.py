"""Activations: functions of one number, applied to each.

Notation: x input, y output. An elementwise function has a diagonal Jacobian, which is its own transpose,
so that the backward formula also carries tangents forward.
"""

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["relu", "relu_backward"]


def relu(x: Array, *, xp: Namespace) -> Array:
    """y = max(x, 0)."""
    return xp.clamp(x, 0, None)


def relu_backward(grad_output: Array, y: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1 where y > 0, else 0, also at x = 0. A NaN in y lets the gradient pass, as in torch."""
    return xp.gated(grad_output, y)
