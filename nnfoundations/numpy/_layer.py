"""The base class of layers: a forward, its backward, and the arrays that both use."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nnfoundations.formulas import numpy_namespace
from nnfoundations.numpy._check import Array, check_array

__all__ = ["XP", "Array", "Layer"]

XP = numpy_namespace()


class Layer(ABC):
    """A function of rows with a derivative that is written by hand.

    `forward` saves what `backward` needs, of the last call only. `backward` *sets* the gradients of the
    parameters, so that nothing has to be zeroed, and never changes a parameter.

    Attributes:
        parameters: the arrays that are trained, by name.
        gradients: the gradients of the parameters, by the same names, from the last `backward`.
        buffers: arrays that are saved but not trained (running statistics).
        generators: sources of random numbers in training; their states belong in a checkpoint.
        training: whether batch statistics and dropout are active; see `train` and `eval`.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Any] = {}
        self.buffers: dict[str, Array] = {}
        self.generators: list[np.random.Generator] = []
        self.training = True
        self._kept: tuple[Any, ...] | None = None

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """Compute the output.

        Args:
            x: the input, one row per sample.

        Returns:
            The output, one row per sample.

        Raises:
            DtypeError: x is not a plain array of numbers; a masked array and np.matrix are not.
            ShapeError: x has another shape than the layer was built for.
        """

    @abstractmethod
    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        """Compute the gradient of the input, and set the gradients of the parameters.

        Args:
            grad_output: gradient of the loss with respect to the last output.
            grad_input: False skips the gradient of the input, for a first layer, whose input is data.

        Returns:
            The gradient of the loss with respect to the input, or None if it is not wanted.

        Raises:
            RuntimeError: `forward` has not been called.
            DtypeError: grad_output is not a plain array of floats.
            ShapeError: grad_output has another shape than the last output.
        """

    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    def train(self) -> None:
        """Use batch statistics and dropout."""
        self.training = True

    def eval(self) -> None:
        """Use running statistics and no dropout."""
        self.training = False

    def bind(self, arrays: Mapping[str, Array]) -> None:
        """Use these arrays themselves as parameters and buffers, so that changes from outside take effect.

        Args:
            arrays: an array for each parameter and buffer, by name.
        """
        for own in (self.parameters, self.buffers):
            for name in own:
                check_array(f"{type(self).__name__}.bind", arrays[name])
                own[name] = arrays[name]

    @property
    def kept(self) -> tuple[Any, ...]:
        """What the last forward saved for the backward."""
        if self._kept is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it; got none. "
                "Call the layer on x first."
            )
        return self._kept

    def __repr__(self) -> str:
        shapes: Iterable[str] = (f"{name} {value.shape}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({', '.join(shapes)})"
