"""Layers in a row, and the multilayer perceptron."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from nnfoundations._errors import OptionError, ShapeError
from nnfoundations.formulas import initialization
from nnfoundations.numpy import _activation
from nnfoundations.numpy._check import is_count, needs_array
from nnfoundations.numpy._layer import Array, Layer
from nnfoundations.numpy._linear import Generator, Linear, generator_of
from nnfoundations.numpy._loss import CrossEntropyLoss, Loss

__all__ = ["MLP", "Sequential"]


class Sequential(Layer):
    """Layers one after the other; back-propagation is the same way back.

    Parameters, gradients and buffers are those of the layers, each named `INDEX.NAME` ("0.weight").

    Args: layers: in the order of the forward. loss: what `differentiate` minimises.
    Raises: TypeError: one of them is no layer, or the loss none.
    Source: Rumelhart, Hinton and Williams 1986.
    """

    def __init__(self, *layers: Layer, loss: Loss | None = None) -> None:
        super().__init__()
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"Sequential needs layers, one an argument; got {layer!r}. "
                    "Call a class, as in ReLU(); unpack a list, as in Sequential(*layers)."
                )
        if isinstance(loss, type) or (loss is not None and not hasattr(loss, "backward")):
            raise TypeError(
                f"Sequential needs a loss with a backward; got {loss!r}. Give MSELoss() or the like."
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
        """The last layer first. No parameter changes on the way: the layers below need it as it was."""
        grad: Array | None = grad_output
        self.gradients = {}
        for index in reversed(range(len(self.layers))):
            assert grad is not None
            self.layers[index].gradients = {}  # their memory serves the new ones
            grad = self.layers[index].backward(grad, grad_input=grad_input or index > 0)
        self.gradients = {
            f"{index}.{name}": array
            for index, layer in enumerate(self.layers)
            for name, array in layer.gradients.items()
        }
        return grad

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """One forward and one backward: the mean loss, the output, and the gradient of each parameter."""
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
    r"""Affine maps with an activation between each two, as `nnfoundations.models.MLP` is on torch.

    Shape: x `(N, *)` with `sizes[0]` numbers a sample -> `(N, sizes[-1])`.
    Args:
        sizes: features of the input, of each hidden layer and of the output.
        activation: the name of one in this package ("ReLU", "Tanh"), or what builds one.
        init: "he" for weights of variance 2 / in, the last map's 1 / in; "xavier" for 2 / (in + out).
        seed: of the weights, as in Linear.
        dtype: of the parameters.
    Raises: ShapeError: fewer than two sizes, or one that is not positive. OptionError: an activation or an
        init that is not known.

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
                "Name the features of the input, of each hidden layer and of the output: [784, 128, 10]."
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
        needs_array("MLP", x, kinds="fiub")
        return super().forward(x.reshape(*x.shape[:1], math.prod(x.shape[1:])))


def _build(activation: str | Callable[[], Layer]) -> Layer:
    if callable(activation) and not isinstance(activation, Layer):
        return activation()
    if activation not in _activation.__all__:
        raise OptionError(
            f"MLP's activation must be one of {', '.join(_activation.__all__)}; got {activation!r}. "
            "Name one of them, or hand over what builds a layer, as its class does."
        )
    built: Layer = getattr(_activation, activation)()
    return built
