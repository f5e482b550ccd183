"""Smooth activations: functions of one number, applied to each.

Notation: x input, y output, g the gradient of y, s = 1 / (1 + e^-x). An elementwise function has a diagonal
Jacobian, which is its own transpose, so that the backward formula also carries tangents forward; where
complex numbers are allowed, it multiplies by the conjugate slope.
"""

import math

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = [
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "gelu_tanh",
    "gelu_tanh_backward",
    "logsigmoid",
    "logsigmoid_backward",
    "mish",
    "mish_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softplus",
    "softplus_backward",
    "softsign",
    "softsign_backward",
    "tanh",
    "tanh_backward",
    "tanhshrink",
    "tanhshrink_backward",
]


def sigmoid(x: Array, *, xp: Namespace) -> Array:
    """y = 1 / (1 + e^-x)."""
    return xp.sigmoid(x)


def sigmoid_backward(grad_output: Array, y: Array, *, xp: Namespace) -> Array:
    """dy/dx = y (1 - y)."""
    return xp.scaled(xp.conj(xp.scaled(1 - y, y)), grad_output)


def tanh(x: Array, *, xp: Namespace) -> Array:
    """y = (e^x - e^-x) / (e^x + e^-x)."""
    return xp.tanh(x)


def tanh_backward(grad_output: Array, y: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1 - y^2."""
    return xp.scaled(xp.conj(1 - y * y), grad_output)


def silu(x: Array, *, xp: Namespace) -> Array:
    """y = x s."""
    return xp.scaled(xp.sigmoid(x), x)


def silu_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = s (1 + x (1 - s))."""
    s = xp.sigmoid(x)
    slope = xp.scaled(xp.shifted(xp.scaled(1 - s, x), 1), s)
    return xp.scaled(xp.conj(slope), grad_output)


def gelu(x: Array, *, xp: Namespace) -> Array:
    """y = x P(X < x) for a standard normal X."""
    return xp.scaled(_normal(x, xp), x)


def gelu_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = P(X < x) + x p(x), with p the density e^(-x^2 / 2) / sqrt(2 pi)."""
    density = xp.scaled(xp.exponentiated(xp.scaled(x * x, -0.5)), 1 / math.sqrt(2 * math.pi))
    return xp.scaled(xp.shifted(xp.scaled(density, x), _normal(x, xp)), grad_output)


def _normal(x: Array, xp: Namespace) -> Array:
    return xp.scaled(xp.shifted(xp.erf(x * math.sqrt(0.5)), 1), 0.5)


_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715  # Hendrycks and Gimpel's fit to the error function


def gelu_tanh(x: Array, *, xp: Namespace) -> Array:
    """y = x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    return xp.scaled(xp.scaled(xp.shifted(_tanh_u(x, xp), 1), x), 0.5)


def gelu_tanh_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = (1 + t) / 2 + x (1 - t^2) u' / 2, t = tanh u, u' = sqrt(2 / pi) (1 + 0.134145 x^2)."""
    t = _tanh_u(x, xp)
    bend = xp.shifted(xp.scaled(x * x, 1.5 * _CUBIC * _ROOT), 0.5 * _ROOT)
    slope = xp.shifted(xp.scaled(xp.scaled(1 - t * t, x), bend), 0.5)
    return xp.scaled(xp.shifted(slope, 0.5 * t), grad_output)


def _tanh_u(x: Array, xp: Namespace) -> Array:
    return xp.tanh(xp.scaled(xp.shifted(xp.scaled(x * x, _CUBIC * _ROOT), _ROOT), x))


def mish(x: Array, *, xp: Namespace) -> Array:
    """y = x t, t = tanh(log(1 + e^x))."""
    return xp.scaled(_tanh_softplus(x, xp), x)


def mish_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = t + x s (1 - t^2)."""
    t = _tanh_softplus(x, xp)
    slope = xp.scaled(xp.scaled(1 - t * t, xp.sigmoid(x)), x)
    return xp.scaled(xp.shifted(slope, t), grad_output)


def _tanh_softplus(x: Array, xp: Namespace) -> Array:
    """n / (n + 2), n = e^x (e^x + 2): one exponential for three functions. From 20 on it is 1 in float64."""
    e = xp.exponentiated(xp.clamp(x, None, 20))
    n = xp.scaled(e + 2, e)
    return n / (n + 2)


def softplus(x: Array, *, beta: float, threshold: float, xp: Namespace) -> Array:
    """y = log(1 + e^(beta x)) / beta, and x itself where beta x > threshold."""
    z = beta * x
    curve = xp.scaled(
        xp.log1p(xp.exponentiated(xp.clamp(z, None, threshold))), 1 / beta if beta else math.inf
    )
    return xp.select(xp.above(z, threshold), x, curve)


def softplus_backward(grad_output: Array, x: Array, *, beta: float, threshold: float, xp: Namespace) -> Array:
    """dy/dx = 1 / (1 + e^(-beta x)), or 1."""
    z = beta * x
    return xp.scaled(xp.maximum(xp.sigmoid(z), xp.above(z, threshold)), grad_output)


def logsigmoid(x: Array, *, xp: Namespace) -> Array:
    """y = log s = min(x, 0) - log(1 + e^-|x|): neither end overflows."""
    return xp.clamp(x, None, 0) - xp.log1p(xp.exponentiated(xp.scaled(xp.abs(x), -1)))


def logsigmoid_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1 - s = 1 / (1 + e^x)."""
    return xp.scaled(xp.sigmoid(-x), grad_output)


def softsign(x: Array, *, xp: Namespace) -> Array:
    """y = x / (1 + |x|)."""
    return x / (1 + xp.abs(x))


def softsign_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = (1 - |y|) / (1 + |x|), which is 1 / (1 + |x|)^2, but no number at infinity, as y."""
    size = xp.abs(x)
    return xp.scaled(1 - size / (1 + size), grad_output) / (1 + size)


def tanhshrink(x: Array, *, xp: Namespace) -> Array:
    """y = x - tanh x."""
    return x - xp.tanh(x)


def tanhshrink_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = tanh^2 x."""
    return xp.scaled(xp.conj(xp.square(xp.tanh(x))), grad_output)


def elu(x: Array, *, alpha: float, scale: float, rate: float, xp: Namespace) -> Array:
    """y = scale (max(x, 0) + alpha (e^(rate min(x, 0)) - 1)); CELU has rate 1 / alpha, SELU a scale."""
    curve = xp.scaled(xp.expm1(xp.scaled(xp.clamp(x, None, 0), rate)), alpha * scale)
    return xp.shifted(xp.scaled(xp.clamp(x, 0, None), scale), curve)


def elu_backward(
    grad_output: Array, x: Array, *, alpha: float, scale: float, rate: float, xp: Namespace
) -> Array:
    """dy/dx = scale where x > 0, else scale alpha rate e^(rate x)."""
    curve = xp.scaled(xp.exponentiated(xp.scaled(xp.clamp(x, None, 0), rate)), alpha * scale * rate)
    straight = xp.above(x, 0)
    slope = xp.shifted(scale * straight, xp.scaled(1 - straight, curve))
    return xp.scaled(slope, grad_output)
