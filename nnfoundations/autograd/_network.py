"""A multilayer perceptron on the engine: only the forward is written, the engine finds the gradients."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np

from nnfoundations.autograd import _functions
from nnfoundations.autograd._arrays import numbers
from nnfoundations.autograd._engine import Operand, Value, as_value
from nnfoundations.errors import DtypeError, OptionError, ShapeError
from nnfoundations.formulas import Array, initialization

__all__ = ["MLP"]

_ACTIVATIONS: dict[str, Callable[[Value], Value]] = {
    name: getattr(_functions, name) for name in ("relu", "gelu", "silu", "tanh", "sigmoid")
}
_LOSSES: dict[str, Callable[[Value, Any], Value]] = {
    "cross_entropy": _functions.softmax_cross_entropy,
    "mse": _functions.mean_squared_error,
}


class MLP:
    r"""Multilayer perceptron on `Value`: linear layers with an activation between each two.

    Shape: x `(N, *)` with `sizes[0]` numbers per sample -> outputs `(N, sizes[-1])`.

    Args:
        sizes: features of the input, of each hidden layer and of the output.
        activation: "relu", "gelu", "silu", "tanh" or "sigmoid".
        seed: random seed of the weights, which have variance 2 / in before relu, gelu and silu, else 1 / in;
            None draws a seed from NumPy's global generator. Biases are zero.
        loss: "cross_entropy" of logits and class indices, or "mse" of outputs and numbers of the same shape.
        skip: add a linear map of the input to the output, so that the layers learn only the rest.
        dtype: dtype of the parameters. x in this dtype, or of integers, gives everything in it.

    Attributes:
        values: the parameters as leaves of the graph, by name.

    Raises:
        ShapeError: there are fewer than two sizes, or one is not positive.
        OptionError: activation or loss is unknown.
        DtypeError: dtype is not a floating-point dtype.

    >>> MLP([2, 8, 2], seed=0)(np.zeros((4, 2), np.float32)).shape
    (4, 2)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        seed: int | None = None,
        loss: str = "cross_entropy",
        skip: bool = False,
        dtype: str = "float32",
    ) -> None:
        sizes = list(sizes)
        if len(sizes) < 2 or not all(map(_is_count, sizes)):
            raise ShapeError(
                f"MLP needs at least two sizes, all positive whole numbers; got {sizes}. "
                "Give the features of the input, of each hidden layer and of the output: [64, 32, 10]."
            )
        if activation not in _ACTIVATIONS:
            raise OptionError(
                f"MLP's activation must be one of {', '.join(_ACTIVATIONS)}; got {activation!r}. "
                "Use 'relu' or 'gelu'."
            )
        if loss not in _LOSSES:
            raise OptionError(
                f"MLP's loss must be one of {', '.join(_LOSSES)}; got {loss!r}. Use 'mse' for numbers."
            )
        if not _is_float(dtype):
            raise DtypeError(f"MLP needs a floating-point dtype; got {dtype}. Use 'float32' or 'float64'.")
        self.activation, self.loss, self._layers = _ACTIVATIONS[activation], _LOSSES[loss], len(sizes) - 1
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
        if skip:
            std = initialization.he_std(sizes[0], 1.0)
            self.values["skip.weight"] = Value(generator.normal(0, std, (sizes[-1], sizes[0])).astype(dtype))

    @property
    def parameters(self) -> dict[str, Array]:
        """The arrays by name; an optimizer changes them in place."""
        return {name: value.data for name, value in self.values.items()}

    def __call__(self, x: Operand) -> Value:
        h = as_value(x, self.values["0.weight"].data.dtype)
        if h.ndim > 2:
            h = h.reshape(h.shape[0], math.prod(h.shape[1:]))
        x = h
        for index in range(self._layers):
            weight, bias = self.values[f"{index}.weight"], self.values[f"{index}.bias"]
            if h.ndim != 2 or h.shape[1] != weight.shape[1]:
                raise ShapeError(
                    f"MLP needs {weight.shape[1]} numbers per sample; got x of shape {h.shape}. "
                    "Pass x as (N, *), and sizes that begin with the numbers per sample."
                )
            h = h @ weight.transpose() + bias
            if index < self._layers - 1:
                h = self.activation(h)
        skip = self.values.get("skip.weight")
        return h if skip is None else h + x @ skip.transpose()

    def forward(self, x: Array) -> Array:
        """Compute the output without a gradient.

        Args:
            x: the input `(N, *)`.

        Returns:
            The output `(N, sizes[-1])`, as an array.
        """
        return self(x).data

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """Compute the mean loss and its gradients.

        Args:
            x: the input `(N, *)`.
            target: class indices `(N,)`, or for "mse" numbers `(N, sizes[-1])`.

        Returns:
            The loss, the output, and the gradient of each parameter by name.
        """
        output = self(x)
        loss = self.loss(output, target)
        loss.backward()
        gradients = {name: value.grad for name, value in self.values.items() if value.grad is not None}
        return loss.item(), output.data, gradients

    def bind(self, arrays: Mapping[str, Array]) -> None:
        """Use these arrays themselves as parameters, so that changes from outside take effect.

        Args:
            arrays: an array for each parameter, by name.
        """
        for name, value in self.values.items():
            value.data = numbers(arrays[name])


def _is_float(dtype: Any) -> bool:
    try:
        kind = np.dtype(dtype).kind
    except TypeError:
        return False
    return bool(kind == "f")


def _is_count(size: Any) -> bool:
    return isinstance(size, Integral) and int(size) >= 1
