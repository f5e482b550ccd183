"""Gradients of the engine against differences of every step, `torch.autograd.gradcheck`, and torch's own.

A function here takes values of the engine and returns one number of the engine.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nnfoundations import autograd
from nnfoundations.autograd import Value
from nnfoundations.formulas import Array
from nnfoundations.labs._runner.markdown import markdown_table

if TYPE_CHECKING:
    from IPython.display import Markdown

__all__ = [
    "check_operations",
    "difference_errors",
    "gradient_error",
    "loss_of",
    "operations_table",
    "passes_gradcheck",
]

Function = Callable[..., Value]

STEPS = tuple(10.0**-k for k in range(1, 13))
USUAL_STEP = 1e-5

_LABELS, _TWICE = np.array([0, 2, 1]), np.array([0, 2, 2])
EXPRESSIONS: dict[str, tuple[Function, tuple[tuple[int, ...], ...]]] = {
    "add": (lambda a, b: a + b, ((3, 4), (4,))),
    "sub": (lambda a, b: a - b, ((3, 4), (3, 1))),
    "mul": (lambda a, b: a * b, ((3, 4), (4,))),
    "div": (lambda a, b: a / b, ((3, 4), (3, 1))),
    "pow": (lambda a, b: a**b, ((3, 4), (4,))),
    "neg": (lambda a: -a, ((3, 4),)),
    "matmul": (lambda a, b: a @ b, ((3, 4), (4, 2))),
    "exp": (autograd.exp, ((3, 4),)),
    "log": (autograd.log, ((3, 4),)),
    "sum": (lambda a: a.sum(1), ((3, 4),)),
    "mean": (lambda a: a.mean(0), ((3, 4),)),
    "max": (lambda a: a.max(1), ((3, 4),)),
    "reshape": (lambda a: a.reshape(2, 6), ((3, 4),)),
    "transpose": (lambda a: a.transpose(), ((3, 4),)),
    "getitem": (lambda a: a[_TWICE], ((3, 4),)),
    "tanh": (autograd.tanh, ((3, 4),)),
    "sigmoid": (autograd.sigmoid, ((3, 4),)),
    "relu": (autograd.relu, ((3, 4),)),
    "gelu": (autograd.gelu, ((3, 4),)),
    "silu": (autograd.silu, ((3, 4),)),
    "softmax_cross_entropy": (lambda a: autograd.softmax_cross_entropy(a, _LABELS), ((3, 4),)),
}
"""An expression for each operation, and the shapes of its arrays."""
_POSITIVE = ("div", "pow", "log")

TORCH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu, "gelu": torch.nn.functional.gelu, "silu": torch.nn.functional.silu,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid,
}  # fmt: skip


def loss_of(net: autograd.MLP, x: Array, y: Array) -> Function:
    """The loss of a batch as a function of the parameters of a network.

    Args:
        net: the network; it is not changed.
        x: a batch.
        y: its targets.

    Returns:
        The function; it takes the parameters in their order.
    """

    def loss(*parameters: Value) -> Value:
        other = copy(net)
        other.values = dict(zip(net.values, parameters, strict=True))
        return other.loss(other(x), y)

    return loss


def difference_errors(
    function: Function, arrays: Sequence[Array], entries: int = 10
) -> list[tuple[float, float]]:
    """The error of central differences for each step.

    Args:
        function: what is differentiated.
        arrays: its arguments, in float64.
        entries: how many entries are tried, drawn at random; all if there are fewer.

    Returns:
        Pairs of a step and the largest error, relative to the largest gradient.
    """
    leaves = [Value(array.copy()) for array in arrays]
    function(*leaves).backward()
    gradients = [np.zeros(leaf.shape) if leaf.grad is None else leaf.grad for leaf in leaves]
    largest = max(np.abs(gradient).max() for gradient in gradients) or 1.0
    places = [(i, place) for i, array in enumerate(arrays) for place in np.ndindex(array.shape)]
    chosen = [places[k] for k in np.random.default_rng(0).permutation(len(places))[:entries]]

    def error(i: int, place: tuple[int, ...], step: float) -> float:
        kept, ends = leaves[i].data[place], []
        for end in (kept + step, kept - step):
            leaves[i].data[place] = end
            ends.append(function(*leaves).item())
        leaves[i].data[place] = kept
        return abs((ends[0] - ends[1]) / (2 * step) - float(gradients[i][place]))

    return [(step, max(error(i, place, step) for i, place in chosen) / largest) for step in STEPS]


def passes_gradcheck(function: Function, arrays: Sequence[Array], *, fast: bool = False) -> bool:
    """Whether the gradients of a function pass `torch.autograd.gradcheck`.

    Args:
        function: what is differentiated.
        arrays: its arguments, in float64.
        fast: check one direction instead of every entry.

    Returns:
        The verdict.
    """

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: torch.Tensor) -> torch.Tensor:
            ctx.leaves = [Value(tensor.detach().numpy()) for tensor in tensors]
            ctx.out = function(*ctx.leaves)
            return torch.tensor(ctx.out.item(), dtype=torch.float64)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
            ctx.out.backward(grad.numpy())
            return tuple(torch.from_numpy(np.array(leaf.grad)) for leaf in ctx.leaves)

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    return torch.autograd.gradcheck(
        Wrapped.apply, tensors, atol=1e-7, rtol=1e-5, fast_mode=fast, raise_exception=False
    )  # with torch's own tolerances a derivative that is wrong by a thousandth passes


def check_operations() -> list[tuple[str, str, float, bool]]:
    """Check every operation of the engine on random arrays.

    Returns:
        For each its name, the shapes of its arrays, the largest relative error of central differences with a
        step of 1e-5, and whether it passes gradcheck.
    """
    rows = []
    for name in autograd.OPERATIONS:
        function, shapes = EXPRESSIONS[name]
        generator = np.random.default_rng(0)
        arrays = [generator.normal(size=shape) for shape in shapes]
        if name in _POSITIVE:
            arrays = [np.abs(array) + 0.5 for array in arrays]
        number = _as_number(function)
        error = dict(difference_errors(number, arrays, entries=100))[USUAL_STEP]
        rows.append((name, " and ".join(map(str, shapes)), error, passes_gradcheck(number, arrays)))
    return rows


def operations_table() -> "Markdown":
    """The result of `check_operations` as a table.

    Returns:
        What a notebook displays.
    """
    rows = [
        (f"`{name}`", shapes, f"{error:.0e}", "passes" if passes else "**fails**")
        for name, shapes, error, passes in check_operations()
    ]
    heads = ("operation", "shapes of its arrays", "largest relative error", "gradcheck")
    return markdown_table(heads, rows, right=(2,))


def _as_number(function: Function) -> Function:
    """The sum of all entries with a different weight each, so that a swap of two would show."""

    def number(*values: Value) -> Value:
        y = function(*values)
        return (y * np.linspace(1, 2, y.data.size).reshape(y.shape)).sum()

    return number


def gradient_error(net: autograd.MLP, activation: str, x: Array, y: Array) -> float:
    """The largest difference of the gradients of a network from torch's, relative to the largest gradient.

    Args:
        net: in float64.
        activation: its activation.
        x: a batch.
        y: its targets.

    Returns:
        The relative difference.
    """
    weights = {name: torch.tensor(array, requires_grad=True) for name, array in net.parameters.items()}
    h = flat = torch.from_numpy(x).flatten(1)
    layers = sum(name.endswith("bias") for name in weights)
    for i in range(layers):
        h = h @ weights[f"{i}.weight"].T + weights[f"{i}.bias"]
        h = TORCH[activation](h) if i < layers - 1 else h
    if "skip.weight" in weights:
        h = h + flat @ weights["skip.weight"].T
    target = torch.from_numpy(y)
    mse, cross_entropy = torch.nn.functional.mse_loss, torch.nn.functional.cross_entropy
    (mse if target.is_floating_point() else cross_entropy)(h, target).backward()
    _, _, ours = net.differentiate(x, y)
    theirs = {name: weight.grad.numpy() for name, weight in weights.items() if weight.grad is not None}
    largest = max(np.abs(one).max() for one in theirs.values())
    return float(max(np.abs(ours[name] - theirs[name]).max() for name in theirs) / largest)
