"""Smooth activations, which act on each entry.

Notation: x input, y output, s = 1 / (1 + e^-x). `grad_output` is the gradient of the loss with respect to y;
a backward multiplies it by the slope dy/dx that its docstring states, conjugated if x is complex. The
Jacobian of an elementwise function is diagonal, so the backward also maps a tangent of x to the tangent of y.
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
    """Logistic sigmoid: y = 1 / (1 + e^-x).

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.sigmoid(x)


def sigmoid_backward(grad_output: Array, y: Array, *, xp: Namespace) -> Array:
    """dy/dx = y (1 - y)."""
    slope = xp.mul_(1 - y, y)
    return xp.mul_(xp.conj(slope), grad_output)


def tanh(x: Array, *, xp: Namespace) -> Array:
    """Hyperbolic tangent: y = (e^x - e^-x) / (e^x + e^-x).

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.tanh(x)


def tanh_backward(grad_output: Array, y: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1 - y^2."""
    slope = 1 - y * y
    return xp.mul_(xp.conj(slope), grad_output)


def silu(x: Array, *, xp: Namespace) -> Array:
    """Sigmoid linear unit, or Swish: y = x s.

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.mul_(xp.sigmoid(x), x)


def silu_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = s (1 + x (1 - s))."""
    s = xp.sigmoid(x)
    slope = xp.mul_(1 - s, x)
    slope = xp.add_(slope, 1)
    slope = xp.mul_(slope, s)
    return xp.mul_(xp.conj(slope), grad_output)


def gelu(x: Array, *, xp: Namespace) -> Array:
    """Gaussian error linear unit: y = x P(X < x) for a standard normal X.

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.mul_(_normal_cdf(x, xp), x)


def gelu_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = P(X < x) + x p(x), with p the density e^(-x^2 / 2) / sqrt(2 pi)."""
    exponent = xp.mul_(x * x, -0.5)
    density = xp.mul_(xp.exp_(exponent), 1 / math.sqrt(2 * math.pi))
    slope = xp.mul_(density, x)
    slope = xp.add_(slope, _normal_cdf(x, xp))
    return xp.mul_(slope, grad_output)


def _normal_cdf(x: Array, xp: Namespace) -> Array:
    """P(X < x) = (1 + erf(x / sqrt 2)) / 2."""
    error = xp.erf_(x * math.sqrt(0.5))
    return xp.mul_(xp.add_(error, 1), 0.5)


_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715  # Hendrycks and Gimpel's fit to the error function


def gelu_tanh(x: Array, *, xp: Namespace) -> Array:
    """Approximation of GELU: y = x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3).

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    y = xp.add_(_tanh_u(x, xp), 1)
    y = xp.mul_(y, x)
    return xp.mul_(y, 0.5)


def gelu_tanh_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = (1 + t) / 2 + x (1 - t^2) u' / 2, t = tanh u, u' = sqrt(2 / pi) (1 + 0.134145 x^2)."""
    t = _tanh_u(x, xp)
    half_slope_u = xp.mul_(x * x, 1.5 * _CUBIC * _ROOT)
    half_slope_u = xp.add_(half_slope_u, 0.5 * _ROOT)
    slope = xp.mul_(1 - t * t, x)
    slope = xp.mul_(slope, half_slope_u)
    slope = xp.add_(slope, 0.5)
    slope = xp.add_(slope, 0.5 * t)
    return xp.mul_(slope, grad_output)


def _tanh_u(x: Array, xp: Namespace) -> Array:
    u = xp.mul_(x * x, _CUBIC * _ROOT)
    u = xp.add_(u, _ROOT)
    u = xp.mul_(u, x)
    return xp.tanh(u)


def mish(x: Array, *, xp: Namespace) -> Array:
    """Mish: y = x t, t = tanh(log(1 + e^x)).

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.mul_(_tanh_softplus(x, xp), x)


def mish_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = t + x s (1 - t^2)."""
    t = _tanh_softplus(x, xp)
    slope = xp.mul_(1 - t * t, xp.sigmoid(x))
    slope = xp.mul_(slope, x)
    slope = xp.add_(slope, t)
    return xp.mul_(slope, grad_output)


def _tanh_softplus(x: Array, xp: Namespace) -> Array:
    """t = n / (n + 2), n = e^x (e^x + 2): one exponential for three functions; 1 in float64 from x = 20."""
    e = xp.exp_(xp.clamp(x, None, 20))
    n = xp.mul_(e + 2, e)
    return n / (n + 2)


def softplus(x: Array, *, beta: float, threshold: float, xp: Namespace) -> Array:
    """Softplus: y = log(1 + e^(beta x)) / beta, and y = x if beta x > threshold.

    Args:
        x: input.
        beta: factor of x.
        threshold: beta x above which y is x.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    z = beta * x
    e = xp.exp_(xp.clamp(z, None, threshold))
    curve = xp.mul_(xp.log1p(e), 1 / beta if beta else math.inf)
    return xp.select(xp.above(z, threshold), x, curve)


def softplus_backward(grad_output: Array, x: Array, *, beta: float, threshold: float, xp: Namespace) -> Array:
    """dy/dx = 1 / (1 + e^(-beta x)), and 1 if beta x > threshold."""
    z = beta * x
    slope = xp.maximum(xp.sigmoid(z), xp.above(z, threshold))
    return xp.mul_(slope, grad_output)


def logsigmoid(x: Array, *, xp: Namespace) -> Array:
    """Logarithm of the sigmoid: y = log s = min(x, 0) - log(1 + e^-|x|), which cannot overflow.

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    exponent = xp.mul_(xp.abs(x), -1)
    return xp.clamp(x, None, 0) - xp.log1p(xp.exp_(exponent))


def logsigmoid_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1 - s = 1 / (1 + e^x)."""
    return xp.mul_(xp.sigmoid(-x), grad_output)


def softsign(x: Array, *, xp: Namespace) -> Array:
    """Softsign: y = x / (1 + |x|).

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return x / (1 + xp.abs(x))


def softsign_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1 / (1 + |x|)^2, computed as (1 - |y|) / (1 + |x|), which is NaN at infinity, like y."""
    size = xp.abs(x)
    slope = 1 - size / (1 + size)
    return xp.mul_(slope, grad_output) / (1 + size)


def tanhshrink(x: Array, *, xp: Namespace) -> Array:
    """Tanhshrink: y = x - tanh x.

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return x - xp.tanh(x)


def tanhshrink_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = tanh^2 x."""
    slope = xp.square(xp.tanh(x))
    return xp.mul_(xp.conj(slope), grad_output)


def elu(x: Array, *, alpha: float, scale: float, rate: float, xp: Namespace) -> Array:
    """Exponential linear unit: y = scale (max(x, 0) + alpha (e^(rate min(x, 0)) - 1)).

    CELU has rate 1 / alpha; SELU has a scale.

    Args:
        x: input.
        alpha: factor of the exponential.
        scale: factor of y.
        rate: factor of x in the exponential.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    exponent = xp.mul_(xp.clamp(x, None, 0), rate)
    curve = xp.mul_(xp.expm1(exponent), alpha * scale)
    straight = xp.mul_(xp.clamp(x, 0, None), scale)
    return xp.add_(straight, curve)


def elu_backward(
    grad_output: Array, x: Array, *, alpha: float, scale: float, rate: float, xp: Namespace
) -> Array:
    """dy/dx = scale if x > 0, else scale alpha rate e^(rate x)."""
    exponent = xp.mul_(xp.clamp(x, None, 0), rate)
    curve = xp.mul_(xp.exp_(exponent), alpha * scale * rate)
    positive = xp.above(x, 0)
    slope = xp.add_(scale * positive, xp.mul_(1 - positive, curve))
    return xp.mul_(slope, grad_output)
