"""Activations: a formula, its derivative, and which of x and y the derivative is written in."""

from collections.abc import Callable
from typing import Any, ClassVar

from nnfoundations import formulas
from nnfoundations.numpy._check import check_gradient, needs_array
from nnfoundations.numpy._layer import XP, Array, Layer

__all__ = ["GELU", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softmax", "Tanh"]


class Activation(Layer):
    """A pair of formulas as a layer: a subclass names the pair and says what the derivative reads."""

    formula: ClassVar[Callable[..., Any]]
    derivative: ClassVar[Callable[..., Any]]
    reads_output: ClassVar[bool] = False

    def __init__(self, **options: float) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Array) -> Array:
        needs_array(type(self).__name__, x)
        y: Array = type(self).formula(x, **self.options, xp=XP)
        self._kept = (y if self.reads_output else x,)
        return y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        (kept,) = self.kept
        check_gradient(type(self).__name__, grad_output, kept.shape)
        if not grad_input:
            return None
        grad: Array = type(self).derivative(grad_output, kept, **self.options, xp=XP)
        return grad

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self.options.items())})"
        )


class ReLU(Activation):
    """y = max(x, 0); slope 0 at 0. Source: Nair and Hinton 2010."""

    formula, derivative, reads_output = formulas.relu, formulas.relu_backward, True


class Sigmoid(Activation):
    """y = 1 / (1 + e^-x); slope y (1 - y), at most 1/4."""

    formula, derivative, reads_output = formulas.sigmoid, formulas.sigmoid_backward, True


class Tanh(Activation):
    """y = tanh x; slope 1 - y^2."""

    formula, derivative, reads_output = formulas.tanh, formulas.tanh_backward, True


class SiLU(Activation):
    """y = x / (1 + e^-x), also called Swish. Source: Ramachandran, Zoph and Le 2017."""

    formula, derivative = formulas.silu, formulas.silu_backward


class LeakyReLU(Activation):
    """y = max(x, 0) + a min(x, 0); slope a at 0. Source: Maas, Hannun and Ng 2013.

    Args: negative_slope: a.
    """

    formula, derivative = formulas.leaky_relu, formulas.leaky_relu_backward

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__(negative_slope=float(negative_slope))  # a NumPy number would promote x


class GELU(Activation):
    """y = x P(X < x) for a standard normal X. Source: Hendrycks and Gimpel 2016."""

    formula, derivative = formulas.gelu, formulas.gelu_backward


class Softmax(Activation):
    """y = e^x / sum e^x over each row. Not before CrossEntropyLoss, which takes logits."""

    formula, derivative, reads_output = formulas.softmax, formulas.softmax_backward, True

    def __init__(self) -> None:
        super().__init__(axis=-1)
