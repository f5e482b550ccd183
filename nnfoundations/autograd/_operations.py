"""The table of operations: what each computes, and its gradient.

Notation: a and b are operands, y the output, g the gradient of y. An entry has a forward of the operands, and
a backward of g, y and the operands that returns one gradient per operand. The table does not depend on the
graph. The engine contains no mathematics, except that it sums a gradient over broadcast axes. The
activations and the cross-entropy come from `nnfoundations.formulas`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnfoundations import formulas
from nnfoundations.formulas import Array, numpy_namespace

__all__ = ["OPERATIONS", "UFUNCS", "Operation"]

XP = numpy_namespace()


@dataclass(frozen=True)
class Operation:
    """One operation: its value and its gradient.

    Options (an axis, a shape, labels) are keywords of both functions, and have no gradient.

    Args:
        forward: computes y from the operands.
        backward: computes the gradient of each operand from g, y and the operands.
    """

    forward: Callable[..., Array]
    backward: Callable[..., tuple[Array, ...]]


def _power(g: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """b a^(b - 1) for a; y log a for b, which is 0 if y is 0 and NaN if a is negative."""
    with np.errstate(invalid="ignore", divide="ignore"):
        exponent = np.where(b == 0, 1, b - 1)
        slope_a = np.where(b == 0, 0, b * a**exponent)
        slope_b = XP.xlogy(y, a)
        return g * slope_a, g * slope_b


def _matmul(g: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """g B^T and A^T g; a vector counts as a matrix with one row (as A) or one column (as B)."""
    left = a[None] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    g = g[..., None] if b.ndim == 1 else g
    g = g[..., None, :] if a.ndim == 1 else g
    grad_a = g @ np.swapaxes(right, -1, -2)
    grad_b = np.swapaxes(left, -1, -2) @ g
    grad_a = grad_a[..., 0, :] if a.ndim == 1 else grad_a
    grad_b = grad_b[..., 0] if b.ndim == 1 else grad_b
    return grad_a, grad_b


def _unreduced(g: Array, axis: Any, keepdims: bool) -> Array:
    """Give g the axes that a reduction removed, with size 1, so that it broadcasts."""
    return g if axis is None or keepdims else np.expand_dims(g, axis)


def _sum(g: Array, y: Array, a: Array, *, axis: Any, keepdims: bool) -> tuple[Array]:
    return (np.broadcast_to(_unreduced(g, axis, keepdims), a.shape),)


def _mean(g: Array, y: Array, a: Array, *, axis: Any, keepdims: bool) -> tuple[Array]:
    return (_sum(g, y, a, axis=axis, keepdims=keepdims)[0] / (a.size / max(y.size, 1)),)


def _max(g: Array, y: Array, a: Array, *, axis: Any, keepdims: bool) -> tuple[Array]:
    """To the largest entries, in equal parts if several are equal."""
    largest = (a == _unreduced(y, axis, keepdims)).astype(a.dtype)
    share = largest / largest.sum(axis=axis, keepdims=True)
    return (_unreduced(g, axis, keepdims) * share,)


def _getitem(g: Array, y: Array, a: Array, *, index: Any) -> tuple[Array]:
    grad = np.zeros_like(a)
    np.add.at(grad, index, g)  # an entry that is picked twice gets the sum of two gradients
    return (grad,)


def _transpose(g: Array, y: Array, a: Array, *, axes: tuple[int, ...]) -> tuple[Array]:
    return (np.transpose(g, np.argsort([axis % a.ndim for axis in axes])),)


_LABELS: dict[str, Any] = {
    "weight": None,
    "axis": 1,
    "ignore_index": -100,
    "label_smoothing": 0.0,
    "reduction": "mean",
    "xp": XP,
}


def _cross_entropy(a: Array, target: Array) -> Array:
    if not len(a):
        return np.asarray(np.nan, a.dtype)  # the mean of no losses, as in torch
    return formulas.cross_entropy(a, target, **_LABELS)


def _cross_entropy_backward(g: Array, a: Array, target: Array) -> Array:
    if not len(a):
        return np.zeros_like(a)
    return formulas.cross_entropy_backward(g, a, target, **_LABELS)


OPERATIONS = {
    "add": Operation(lambda a, b: a + b, lambda g, y, a, b: (g, g)),
    "sub": Operation(lambda a, b: a - b, lambda g, y, a, b: (g, -g)),
    "mul": Operation(lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a)),
    "div": Operation(lambda a, b: a / b, lambda g, y, a, b: (g / b, -g * y / b)),
    "pow": Operation(lambda a, b: a**b, _power),
    "neg": Operation(lambda a: -a, lambda g, y, a: (-g,)),
    "matmul": Operation(lambda a, b: a @ b, _matmul),
    "exp": Operation(np.exp, lambda g, y, a: (g * y,)),
    "log": Operation(np.log, lambda g, y, a: (g / a,)),
    "sum": Operation(np.sum, _sum),
    "mean": Operation(np.mean, _mean),
    "max": Operation(np.max, _max),
    "reshape": Operation(lambda a, shape: a.reshape(shape), lambda g, y, a, shape: (g.reshape(a.shape),)),
    "transpose": Operation(lambda a, axes: np.transpose(a, axes), _transpose),
    "getitem": Operation(lambda a, index: a[index], _getitem),
    "tanh": Operation(
        lambda a: formulas.tanh(a, xp=XP), lambda g, y, a: (formulas.tanh_backward(g, y, xp=XP),)
    ),
    "sigmoid": Operation(
        lambda a: formulas.sigmoid(a, xp=XP), lambda g, y, a: (formulas.sigmoid_backward(g, y, xp=XP),)
    ),
    "relu": Operation(
        lambda a: formulas.relu(a, xp=XP), lambda g, y, a: (formulas.relu_backward(g, y, xp=XP),)
    ),
    "gelu": Operation(
        lambda a: formulas.gelu(a, xp=XP), lambda g, y, a: (formulas.gelu_backward(g, a, xp=XP),)
    ),
    "silu": Operation(
        lambda a: formulas.silu(a, xp=XP), lambda g, y, a: (formulas.silu_backward(g, a, xp=XP),)
    ),
    "softmax_cross_entropy": Operation(
        _cross_entropy, lambda g, y, a, target: (_cross_entropy_backward(g, a, target),)
    ),
}
"""All operations by name; each name is also a function or a method of `Value`."""

UFUNCS = {
    np.add: "add", np.subtract: "sub", np.multiply: "mul", np.divide: "div", np.power: "pow",
    np.negative: "neg", np.matmul: "matmul", np.exp: "exp", np.log: "log", np.tanh: "tanh",
}  # fmt: skip
"""NumPy's own functions that accept a `Value`, and the operation that each calls."""
