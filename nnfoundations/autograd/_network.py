"""A multilayer perceptron on the engine: the forward alone is written; the gradients follow."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np

from nnfoundations._errors import DtypeError, OptionError, ShapeError
from nnfoundations.autograd import _functions
from nnfoundations.autograd._engine import Operand, Value, as_value
from nnfoundations.formulas import Array, initialization

__all__ = ["MLP"]

_ACTIVATIONS: dict[str, Callable[[Value], Value]] = {
    name: getattr(_functions, name) for name in ("relu", "gelu", "silu", "tanh", "sigmoid")
}


class MLP:
    r"""Affine maps with an activation between each two, on `Value`.

    Shape: x `(N, *)` with `sizes[0]` numbers a sample -> logits `(N, sizes[-1])`.
    Args:
        sizes: features of the input, of each hidden layer and of the output.
        activation: "relu", "gelu", "silu", "tanh" or "sigmoid".
        seed: of the weights, of variance 2 / in before relu, gelu and silu, else 1 / in; None draws one from
            NumPy's global state. Biases are zero.
        dtype: of the parameters; x in the same one, or of integers, gives all else in it.
    Raises: ShapeError: fewer than two sizes, or one that is not positive. OptionError: another activation.
        DtypeError: a dtype of other than floats.

    >>> MLP([2, 8, 2], seed=0)(np.zeros((4, 2), np.float32)).shape
    (4, 2)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        seed: int | None = None,
        dtype: str = "float32",
    ) -> None:
        sizes = list(sizes)
        if len(sizes) < 2 or not all(map(_is_count, sizes)):
            raise ShapeError(
                f"MLP needs at least two sizes, all positive whole numbers; got {sizes}. "
                "Name the features of the input, of each hidden layer and of the output: [64, 32, 10]."
            )
        if activation not in _ACTIVATIONS:
            raise OptionError(
                f"MLP's activation must be one of {', '.join(_ACTIVATIONS)}; got {activation!r}. "
                "Take 'relu' or 'gelu'."
            )
        if np.dtype(dtype).kind != "f":
            raise DtypeError(f"MLP needs a dtype of floats; got {dtype}. Take 'float32' or 'float64'.")
        self.activation = _ACTIVATIONS[activation]
        generator = np.random.default_rng(np.random.randint(2**31) if seed is None else seed)
        self.values: dict[str, Value] = {}
        for index, (features, units) in enumerate(pairwise(sizes)):
            rectifies = activation in ("relu", "gelu", "silu") and index < len(sizes) - 2
            std = initialization.he_std(features, initialization.gain("relu") if rectifies else 1.0)
            weight = generator.normal(0, std, (units, features)).astype(dtype)
            self.values |= {
                f"{index}.weight": Value(weight),
                f"{index}.bias": Value(np.zeros(units, dtype)),
            }

    @property
    def parameters(self) -> dict[str, Array]:
        """The arrays, by name; to be changed in place."""
        return {name: value.data for name, value in self.values.items()}

    def __call__(self, x: Operand) -> Value:
        h = as_value(x, self.values["0.weight"].data.dtype)
        if h.ndim > 2:
            h = h.reshape(h.shape[0], math.prod(h.shape[1:]))
        layers = len(self.values) // 2
        for index in range(layers):
            weight, bias = self.values[f"{index}.weight"], self.values[f"{index}.bias"]
            if h.ndim != 2 or h.shape[1] != weight.shape[1]:
                raise ShapeError(
                    f"MLP needs rows of {weight.shape[1]} numbers a sample; got {h.shape}. "
                    "Give x as (N, *), and sizes that begin with what a sample has."
                )
            h = h @ weight.transpose() + bias
            if index < layers - 1:
                h = self.activation(h)
        return h

    def forward(self, x: Array) -> Array:
        """The logits as an array."""
        return self(x).data

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """The mean cross-entropy with labels `(N,)`, the logits, and the gradient of each parameter."""
        logits = self(x)
        loss = _functions.softmax_cross_entropy(logits, target)
        loss.backward()
        gradients = {name: value.grad for name, value in self.values.items() if value.grad is not None}
        return loss.item(), logits.data, gradients

    def bind(self, arrays: Mapping[str, Array]) -> None:
        """Use these very arrays as parameters: what changes them from outside is seen here."""
        for name, value in self.values.items():
            value.data = arrays[name]


def _is_count(size: Any) -> bool:
    return isinstance(size, Integral) and int(size) >= 1
