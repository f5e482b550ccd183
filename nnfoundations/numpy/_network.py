"""A sequence of layers, and the multilayer perceptron."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from nnfoundations.errors import OptionError, ShapeError
from nnfoundations.formulas import initialization
from nnfoundations.numpy import _activation
from nnfoundations.numpy._check import as_samples, is_count
from nnfoundations.numpy._layer import Array, Layer
from nnfoundations.numpy._linear import Generator, Linear, generator_of
from nnfoundations.numpy._loss import CrossEntropyLoss, Loss

__all__ = ["MLP", "Sequential"]


class Sequential(Layer):
    """Layers applied one after the other; backpropagation goes through them in reverse.

    Parameters, gradients and buffers are those of the layers, each named `INDEX.NAME` ("0.weight").

    Args:
        *layers: layers in the order of the forward.
        loss: the loss that `differentiate` uses; None for CrossEntropyLoss.

    Raises:
        TypeError: an argument is not a layer, or loss is not a loss.

    Source: Rumelhart, Hinton and Williams 1986.
    """

    def __init__(self, *layers: Layer, loss: Loss | None = None) -> None:
        super().__init__()
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"Sequential needs layers, one per argument; got {layer!r}. "
                    "Call a class, as in ReLU(); unpack a list, as in Sequential(*layers)."
                )
        if isinstance(loss, type) or (loss is not None and not hasattr(loss, "backward")):
            raise TypeError(
                f"Sequential needs a loss with a backward; got {loss!r}. Pass MSELoss() or similar."
            )
        self.generators = [generator for layer in layers for generator in layer.generators]
        self.layers, self.loss = layers, loss or CrossEntropyLoss()
        self._collect()

    def _collect(self) -> None:
        for own in ("parameters", "gradients", "buffers"):
            found = {
                f"{index}.{name}": array
                for index, layer in enumerate(self.layers)
                for name, array in getattr(layer, own).items()
            }
            setattr(self, own, found)

    def forward(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        grad: Array | None = grad_output
        self.gradients = {}
        for index in reversed(range(len(self.layers))):
            assert grad is not None
            self.layers[index].gradients = {}  # frees the old gradients for the new ones
            grad = self.layers[index].backward(grad, grad_input=grad_input or index > 0)
        self.gradients = {
            f"{index}.{name}": array
            for index, layer in enumerate(self.layers)
            for name, array in layer.gradients.items()
        }
        return grad

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """Do one forward and one backward pass.

        Args:
            x: the input, one row per sample.
            target: what the loss compares the output with.

        Returns:
            The mean loss, the output, and the gradient of each parameter by name.
        """
        output = self.forward(x)
        loss = self.loss(output, target)
        self.backward(self.loss.backward(), grad_input=False)
        return loss, output, self.gradients

    def train(self) -> None:
        super().train()
        for layer in self.layers:
            layer.train()

    def eval(self) -> None:
        super().eval()
        for layer in self.layers:
            layer.eval()

    def bind(self, arrays: Mapping[str, Array]) -> None:
        for index, layer in enumerate(self.layers):
            own = [*layer.parameters, *layer.buffers]
            layer.bind({name: arrays[f"{index}.{name}"] for name in own})
        self._collect()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"


class MLP(Sequential):
    r"""Multilayer perceptron: linear layers with an activation between each two.

    `nnfoundations.models.MLP` is the same on torch.

    Shape: x `(N, *)` with `sizes[0]` numbers per sample -> `(N, sizes[-1])`.

    Args:
        sizes: features of the input, of each hidden layer and of the output.
        activation: the name of an activation in this package ("ReLU", "Tanh"), or a function that builds a
            layer.
        init: "he" for weights of variance 2 / in, 1 / in in the last layer; "xavier" for 2 / (in + out).
        seed: random seed of the weights, as in Linear.
        dtype: dtype of the parameters.

    Raises:
        ShapeError: there are fewer than two sizes, or one is not positive.
        OptionError: activation or init is unknown.

    >>> import numpy as np
    >>> MLP([64, 32, 10], seed=0)(np.zeros((5, 1, 8, 8), np.float32)).shape
    (5, 10)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Callable[[], Layer] = "ReLU",
        init: Literal["he", "xavier"] = "he",
        seed: int | Generator | None = None,
        dtype: str = "float32",
    ) -> None:
        sizes = list(sizes)
        if len(sizes) < 2 or not all(map(is_count, sizes)):
            raise ShapeError(
                f"MLP needs at least two sizes, all positive whole numbers; got {sizes}. "
                "Give the features of the input, of each hidden layer and of the output: [784, 128, 10]."
            )
        generator = generator_of(seed)
        layers: list[Layer] = []
        for index, (features, units) in enumerate(pairwise(sizes)):
            last = index == len(sizes) - 2
            gain = initialization.gain("relu") if init == "he" and not last else 1.0
            layers += [
                Linear(features, units, init=init, gain=gain, seed=generator, dtype=dtype),
                _build(activation),
            ]
        super().__init__(*layers[:-1])

    def forward(self, x: Array) -> Array:
        return super().forward(as_samples("MLP", x))


def _build(activation: str | Callable[[], Layer]) -> Layer:
    if callable(activation) and not isinstance(activation, Layer):
        return activation()
    if activation not in _activation.__all__:
        raise OptionError(
            f"MLP's activation must be one of {', '.join(_activation.__all__)}; got {activation!r}. "
            "Use one of these names, or pass a function or class that builds a layer."
        )
    built: Layer = getattr(_activation, activation)()
    return built
