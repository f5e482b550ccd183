"""The table of operations: what each computes, and how a gradient passes back through it.

A line is a forward of the arrays, and a backward of g (the gradient of the output), y (the output) and the
same arrays, which gives a gradient for each. Nothing here knows of a graph; the engine knows no mathematics,
and sums what broadcasting has repeated. What is in `nnfoundations.formulas` is not written twice.
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
    """Options (an axis, a shape, labels) are keywords of both functions, and have no gradient."""

    forward: Callable[..., Array]
    backward: Callable[..., tuple[Array, ...]]


def _power(g: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """b a^(b - 1), and y log a: 0 where y is 0, NaN where a is negative and b an array of its own."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return g * np.where(b == 0, 0, b * a ** np.where(b == 0, 1, b - 1)), g * XP.xlogy(y, a)


def _matmul(g: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """g B^T and A^T g; a vector is a matrix of one row (as A) or of one column (as B)."""
    left, right = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    g = g[..., None] if b.ndim == 1 else g
    g = g[..., None, :] if a.ndim == 1 else g
    of_a, of_b = g @ np.swapaxes(right, -1, -2), np.swapaxes(left, -1, -2) @ g
    return of_a[..., 0, :] if a.ndim == 1 else of_a, of_b[..., 0] if b.ndim == 1 else of_b


def _spread(g: Array, a: Array, axis: Any, keepdims: bool) -> Array:
    """A reduction's gradient, as an array that broadcasts over what was reduced."""
    return g if axis is None or keepdims else np.expand_dims(g, axis)


def _sum(g: Array, y: Array, a: Array, *, axis: Any, keepdims: bool) -> tuple[Array]:
    return (np.broadcast_to(_spread(g, a, axis, keepdims), a.shape),)


def _mean(g: Array, y: Array, a: Array, *, axis: Any, keepdims: bool) -> tuple[Array]:
    return (_sum(g, y, a, axis=axis, keepdims=keepdims)[0] / (a.size / max(y.size, 1)),)


def _max(g: Array, y: Array, a: Array, *, axis: Any, keepdims: bool) -> tuple[Array]:
    """To the largest entries, in equal parts where several are."""
    chosen = (a == _spread(y, a, axis, keepdims)).astype(a.dtype)
    return (_spread(g, a, axis, keepdims) * chosen / chosen.sum(axis=axis, keepdims=True),)


def _picked(g: Array, y: Array, a: Array, *, index: Any) -> tuple[Array]:
    grad = np.zeros_like(a)
    np.add.at(grad, index, g)  # an entry picked twice has two gradients
    return (grad,)


def _transposed(g: Array, y: Array, a: Array, *, axes: tuple[int, ...]) -> tuple[Array]:
    return (np.transpose(g, np.argsort([axis % a.ndim for axis in axes])),)


_LABELS: dict[str, Any] = {
    "weight": None,
    "axis": 1,
    "ignore_index": -100,
    "label_smoothing": 0.0,
    "reduction": "mean",
    "xp": XP,
}

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
    "transpose": Operation(lambda a, axes: np.transpose(a, axes), _transposed),
    "getitem": Operation(lambda a, index: a[index], _picked),
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
        lambda a, target: formulas.cross_entropy(a, target, **_LABELS),
        lambda g, y, a, target: (formulas.cross_entropy_backward(g, a, target, **_LABELS),),
    ),
}
"""By name; each name is also a function or a method of `Value`."""

UFUNCS = {
    np.add: "add", np.subtract: "sub", np.multiply: "mul", np.divide: "div", np.power: "pow",
    np.negative: "neg", np.matmul: "matmul", np.exp: "exp", np.log: "log", np.tanh: "tanh",
}  # fmt: skip
"""What NumPy calls those that it has, too."""
