"""Activations made of straight pieces, which act on each entry.

Notation: x input, y output, a the slope for negative x, [x > t] is 1 if x > t, else 0. `grad_output` is the
gradient of the loss with respect to y; a backward multiplies it by the slope dy/dx that its docstring states.
A slope of 0 stops any gradient, also an infinite one, so it is a gate and not a factor (0 times inf is NaN).
At a kink the slope is torch's. The Jacobian is diagonal, so a backward also maps a tangent of x to the
tangent of y.
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
    """Rectified linear unit: y = max(x, 0).

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.clamp(x, 0, None)


def relu_backward(grad_output: Array, y: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1 if y > 0, else 0, also at x = 0. A NaN in y passes the gradient, as in torch."""
    return xp.gate(grad_output, y)


def leaky_relu(x: Array, *, negative_slope: float, xp: Namespace) -> Array:
    """Leaky rectifier: y = max(x, 0) + a min(x, 0).

    Args:
        x: input.
        negative_slope: slope a for negative x.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    if 0 < negative_slope <= 1:
        return xp.maximum(x, negative_slope * x)
    return _leaky(x, x, negative_slope, xp)


def leaky_relu_backward(grad_output: Array, x: Array, *, negative_slope: float, xp: Namespace) -> Array:
    """dy/dx = 1 if x > 0, else a."""
    return _leaky(x, grad_output, negative_slope, xp)


def _leaky(x: Array, value: Array, slope: Array | float, xp: Namespace) -> Array:
    """Return the value if x > 0, else a times it; selected, not added, so that an infinite a is harmless."""
    return xp.select(xp.above(x, 0), value, slope * value)


def prelu(x: Array, weight: Array, *, xp: Namespace) -> Array:
    """Parametric rectifier: y = max(x, 0) + a min(x, 0), with the weight a.

    Args:
        x: input.
        weight: slopes a for negative x, with the axes of x; all axes except that of the channels have size 1.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return _leaky(x, x, weight, xp)


def prelu_backward(
    grad_output: Array, x: Array, weight: Array, *, wanted: tuple[bool, bool], xp: Namespace
) -> tuple[Array | None, Array | None]:
    """dy/dx = 1 if x > 0, else a. grad_a = sum of g min(x, 0) over the entries that share a weight."""
    grad_x = _leaky(x, grad_output, weight, xp) if wanted[0] else None
    if not wanted[1]:
        return grad_x, None
    grad_weight = xp.select(xp.above(x, 0), 0.0, x * grad_output)
    shared = tuple(axis for axis, size in enumerate(weight.shape) if size == 1)
    if shared:
        grad_weight = xp.sum(grad_weight, shared, keepdims=True)
    return grad_x, grad_weight


def prelu_jvp(
    tangent_x: Array | None, tangent_weight: Array | None, x: Array, weight: Array, *, xp: Namespace
) -> Array:
    """dy = dx (1 if x > 0, else a) + da min(x, 0)."""
    y = xp.zeros_like(x) if tangent_x is None else _leaky(x, tangent_x, weight, xp)
    if tangent_weight is not None:
        y = y + xp.select(xp.above(x, 0), 0.0, x * tangent_weight)
    return y


def hardtanh(x: Array, *, low: float, high: float, xp: Namespace) -> Array:
    """Hardtanh: y = min(max(x, low), high); ReLU6 has the range 0 to 6.

    Args:
        x: input.
        low: smallest y.
        high: largest y.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.clamp(x, low, high)


def hardtanh_backward(grad_output: Array, x: Array, *, low: float, high: float, xp: Namespace) -> Array:
    """dy/dx = 1 if low < x < high, else 0."""
    return xp.gate_(grad_output, _between(x, low, high, xp))


def _between(x: Array, low: float, high: float, xp: Namespace) -> Array:
    """[low < x < high]."""
    return xp.mul_(xp.above(x, low), xp.below(x, high))


def hardsigmoid(x: Array, *, xp: Namespace) -> Array:
    """Piecewise linear sigmoid: y = min(max(x + 3, 0), 6) / 6.

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    y = xp.clamp_(x + 3, 0, 6)
    return xp.mul_(y, 1 / 6)


_SIXTH = 0.1666666716337204  # 1 / 6 in float32, which torch uses for the gradient in float64, too


def hardsigmoid_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = 1/6 if -3 < x < 3, else 0."""
    return xp.gate_(grad_output * _SIXTH, _between(x, -3, 3, xp))


def hardswish(x: Array, *, xp: Namespace) -> Array:
    """Hardswish: y = x min(max(x + 3, 0), 6) / 6.

    Args:
        x: input.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    y = xp.clamp_(x + 3, 0, 6)
    y = xp.mul_(y, x)
    return xp.mul_(y, 1 / 6)


def hardswish_backward(grad_output: Array, x: Array, *, xp: Namespace) -> Array:
    """dy/dx = 0 if x <= -3, x/3 + 1/2 if -3 < x < 3, 1 if x >= 3."""
    slope = xp.add_(x / 3, 0.5)
    curved = xp.mul_(slope, grad_output)
    grad_x = xp.select(xp.at_most(-x, -3), grad_output, curved)
    return xp.gate_(grad_x, _above_or_nan(x, -3, xp))


def _above_or_nan(x: Array, t: float, xp: Namespace) -> Array:
    """[x > t], and 1 for NaN."""
    negative = xp.mul_(xp.at_most(x, t), -1)
    return xp.add_(negative, 1)


def hardshrink(x: Array, *, lambd: float, xp: Namespace) -> Array:
    """Hardshrink: y = x if |x| > lambda, else 0.

    Args:
        x: input.
        lambd: lambda, half the width of the interval that becomes 0.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.gate_(x, _above_or_nan(xp.abs(x), lambd, xp))


def hardshrink_backward(grad_output: Array, x: Array, *, lambd: float, xp: Namespace) -> Array:
    """dy/dx = 1 if |x| > lambda, else 0; also for softshrink."""
    return xp.gate_(grad_output, xp.above(xp.abs(x), lambd))


def softshrink(x: Array, *, lambd: float, xp: Namespace) -> Array:
    """Softshrink: y = x - min(max(x, -lambda), lambda), which moves x towards zero by at most lambda.

    Args:
        x: input.
        lambd: lambda, half the width of the interval that becomes 0.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return x - xp.clamp(x, -lambd, lambd)


softshrink_backward = hardshrink_backward


def threshold(x: Array, *, threshold: float, value: float, xp: Namespace) -> Array:
    """Threshold: y = x if x > threshold, else value.

    Args:
        x: input.
        threshold: largest x that is replaced.
        value: its replacement.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y, in the shape of x.
    """
    return xp.select(xp.at_most(x, threshold), value, x)


def threshold_backward(
    grad_output: Array, x: Array, *, threshold: float, value: float, xp: Namespace
) -> Array:
    """dy/dx = 1 if x > threshold, else 0. A NaN in x passes the gradient, as in torch."""
    return xp.gate_(grad_output, _above_or_nan(x, threshold, xp))
