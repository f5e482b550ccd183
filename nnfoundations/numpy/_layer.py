"""What a layer is: a forward, the backward that goes with it, and the arrays that both use."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfoundations.formulas import numpy_namespace

__all__ = ["XP", "Array", "Layer"]

Array: TypeAlias = NDArray[Any]

XP = numpy_namespace()


class Layer(ABC):
    """A function of rows with a derivative written by hand.

    `forward` keeps what `backward` will read, of the latest call only. `backward` takes the gradient of the
    loss in the output and gives that in the input; it *sets* the gradients of the parameters, so that nothing
    has to be zeroed, and never changes a parameter.

    Attributes:
        parameters: what is learnt, by name.
        gradients: of the parameters, by the same names, since the last `backward`.
        buffers: arrays that are kept and not learnt (running statistics).
        generators: what random numbers are drawn from in training; their states belong to a checkpoint.
        training: whether batch statistics and dropout are on; see `train` and `eval`.
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
        """The output for rows x."""

    @abstractmethod
    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        """The gradient of the input, and those of the parameters on the way.

        Args: grad_input: False where nobody asks for the input's gradient, as for data: the product that it
            would take is left out, and None is given.
        Raises: RuntimeError: no forward came before. ShapeError: it is not of the output's shape.
        """

    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    def train(self) -> None:
        self.training = True

    def eval(self) -> None:
        self.training = False

    def bind(self, arrays: Mapping[str, Array]) -> None:
        """Use these very arrays as parameters and buffers: what changes them from outside is seen here."""
        for own in (self.parameters, self.buffers):
            own.update({name: arrays[name] for name in own})

    @property
    def kept(self) -> tuple[Any, ...]:
        if self._kept is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it; got none. "
                "Call the layer on x first."
            )
        return self._kept

    def __repr__(self) -> str:
        shapes: Iterable[str] = (f"{name} {value.shape}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({', '.join(shapes)})"
