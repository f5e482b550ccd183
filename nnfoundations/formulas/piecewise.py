"""Activations made of straight pieces: kinks, where a one-sided slope has to be chosen, and dead zones.

Notation: x input, y output, g the gradient of y, a a slope, [x > t] one where it holds, else zero. A dead
zone stops any g, an infinite one too; so it is a gate and no factor. Elementwise: see `activations`.
"""

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = [
    "hardshrink",
    "hardshrink_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "hardtanh",
    "hardtanh_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "prelu",
    "prelu_backward",
    "prelu_jvp",
    "relu",
    "relu_backward",
    "softshrink",
    "softshrink_backward",
    "threshold",
    "threshold_backward",
]


def relu(x: Array, *, xp: Namespace) -> Array:
    """y = max(x, 0)."""
    return xp.clamp(x, 0, None)


def relu_backward(grad_output: Array, y: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1 where y > 0, else 0, also at x = 0. A NaN in y lets the gradient pass, as in torch."""
    return xp.gated(grad_output, y)


def leaky_relu(x: Array, *, negative_slope: float, xp: Namespace) -> Array:
    """y = max(x, 0) + a min(x, 0)."""
    if 0 < negative_slope <= 1:
        return xp.maximum(x, negative_slope * x)
    return _leaky(x, x, negative_slope, xp)


def leaky_relu_backward(grad_output: Array, x: Array, *, negative_slope: float, xp: Namespace) -> Array:
    """dy/dx = 1 where x > 0, else a."""
    return _leaky(x, grad_output, negative_slope, xp)


def _leaky(x: Array, value: Array, slope: Array | float, xp: Namespace) -> Array:
    """The value where x > 0, else a times it. A choice and no sum: an infinite a has no part in x > 0."""
    return xp.select(xp.above(x, 0), value, slope * value)


def prelu(x: Array, weight: Array, *, xp: Namespace) -> Array:
    """y = max(x, 0) + a min(x, 0); the weight a has the axes of x, all but the channels of size one."""
    return _leaky(x, x, weight, xp)


def prelu_backward(
    grad_output: Array, x: Array, weight: Array, *, wanted: tuple[bool, bool], xp: Namespace
) -> tuple[Array | None, Array | None]:
    """dy/dx = 1 where x > 0, else a. grad_a = sum of g min(x, 0) over what shares it."""
    grad_x = _leaky(x, grad_output, weight, xp) if wanted[0] else None
    if not wanted[1]:
        return grad_x, None
    grad = xp.select(xp.above(x, 0), 0.0, x * grad_output)
    shared = tuple(axis for axis, size in enumerate(weight.shape) if size == 1)
    return grad_x, xp.sum(grad, shared, keepdims=True) if shared else grad


def prelu_jvp(
    tangent_x: Array | None, tangent_weight: Array | None, x: Array, weight: Array, *, xp: Namespace
) -> Array:
    """dy = dx (1 where x > 0, else a) + da min(x, 0)."""
    y = xp.zeros_like(x) if tangent_x is None else _leaky(x, tangent_x, weight, xp)
    return y if tangent_weight is None else y + xp.select(xp.above(x, 0), 0.0, x * tangent_weight)


def hardtanh(x: Array, *, low: float, high: float, xp: Namespace) -> Array:
    """y = min(max(x, low), high); ReLU6 is from 0 to 6."""
    return xp.clamp(x, low, high)


def hardtanh_backward(grad_output: Array, x: Array, *, low: float, high: float, xp: Namespace) -> Array:
    """dy/dx = 1 where low < x < high, else 0."""
    return xp.switched(grad_output, _between(x, low, high, xp))


def _between(x: Array, low: float, high: float, xp: Namespace) -> Array:
    return xp.scaled(xp.above(x, low), xp.below(x, high))


def hardsigmoid(x: Array, *, xp: Namespace) -> Array:
    """y = min(max(x + 3, 0), 6) / 6."""
    return xp.scaled(xp.clamped(x + 3, 0, 6), 1 / 6)


_SIXTH = 0.1666666716337204  # in float32, which torch takes for the gradient in float64 too


def hardsigmoid_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1/6 where -3 < x < 3, else 0."""
    return xp.switched(grad_output * _SIXTH, _between(x, -3, 3, xp))


def hardswish(x: Array, *, xp: Namespace) -> Array:
    """y = x min(max(x + 3, 0), 6) / 6."""
    return xp.scaled(xp.scaled(xp.clamped(x + 3, 0, 6), x), 1 / 6)


def hardswish_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = 0 up to -3, x/3 + 1/2 up to 3, 1 from there."""
    bent = xp.scaled(xp.shifted(x / 3, 0.5), grad_output)
    alive = xp.select(xp.at_most(-x, -3), grad_output, bent)
    return xp.switched(alive, _past(x, -3, xp))


def _past(x: Array, t: float, xp: Namespace) -> Array:
    """[x > t], and one where x is NaN."""
    return xp.shifted(xp.scaled(xp.at_most(x, t), -1), 1)


def hardshrink(x: Array, *, lambd: float, xp: Namespace) -> Array:
    """y = x where |x| > lambda, else 0."""
    return xp.switched(x, _past(xp.abs(x), lambd, xp))


def hardshrink_backward(grad_output: Array, x: Array, *, lambd: float, xp: Namespace) -> Array:
    """dy/dx = 1 where |x| > lambda, else 0; of softshrink too."""
    return xp.switched(grad_output, xp.above(xp.abs(x), lambd))


def softshrink(x: Array, *, lambd: float, xp: Namespace) -> Array:
    """y = x - min(max(x, -lambda), lambda): x moved towards zero by lambda, and not past it."""
    return x - xp.clamp(x, -lambd, lambd)


softshrink_backward = hardshrink_backward


def threshold(x: Array, *, threshold: float, value: float, xp: Namespace) -> Array:
    """y = x where x > threshold, else value."""
    return xp.select(xp.at_most(x, threshold), value, x)


def threshold_backward(
    grad_output: Array, x: Array, *, threshold: float, value: float, xp: Namespace
) -> Array:
    """dy/dx = 1 where x > threshold, else 0. A NaN lets the gradient pass, as in torch."""
    return xp.switched(grad_output, _past(x, threshold, xp))
