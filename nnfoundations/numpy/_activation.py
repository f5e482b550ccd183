"""Activations: a formula, its derivative, and whether the derivative reads the input or the output."""

from collections.abc import Callable
from typing import Any, ClassVar

from nnfoundations import formulas
from nnfoundations.numpy._check import check_array, check_gradient
from nnfoundations.numpy._layer import XP, Array, Layer

__all__ = ["GELU", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softmax", "Tanh"]


class Activation(Layer):
    """A pair of formulas as a layer; a subclass names the pair and what the derivative reads."""

    _formula: ClassVar[Callable[..., Any]]
    _derivative: ClassVar[Callable[..., Any]]
    _reads_output: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.options: dict[str, float] = {}

    def forward(self, x: Array) -> Array:
        check_array(type(self).__name__, x)
        y: Array = type(self)._formula(x, **self.options, xp=XP)
        self._kept = (y if self._reads_output else x,)
        return y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        (kept,) = self.kept
        check_gradient(type(self).__name__, grad_output, kept.shape)
        if not grad_input:
            return None
        grad: Array = type(self)._derivative(grad_output, kept, **self.options, xp=XP)
        return grad

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{type(self).__name__}({options})"


class ReLU(Activation):
    """Rectified linear unit: y = max(x, 0), with slope 0 at 0.

    Source: Nair and Hinton 2010.
    """

    _formula, _derivative, _reads_output = formulas.relu, formulas.relu_backward, True


class Sigmoid(Activation):
    """Logistic function: y = 1 / (1 + e^-x), with slope y (1 - y), at most 1/4."""

    _formula, _derivative, _reads_output = formulas.sigmoid, formulas.sigmoid_backward, True


class Tanh(Activation):
    """Hyperbolic tangent: y = tanh x, with slope 1 - y^2."""

    _formula, _derivative, _reads_output = formulas.tanh, formulas.tanh_backward, True


class SiLU(Activation):
    """Sigmoid linear unit, also called Swish: y = x / (1 + e^-x).

    Source: Ramachandran, Zoph and Le 2017.
    """

    _formula, _derivative = formulas.silu, formulas.silu_backward


class LeakyReLU(Activation):
    """Leaky rectifier: y = max(x, 0) + a min(x, 0), with slope a at 0.

    Args:
        negative_slope: the slope a for negative x.

    Source: Maas, Hannun and Ng 2013.
    """

    _formula, _derivative = formulas.leaky_relu, formulas.leaky_relu_backward

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.options = {"negative_slope": float(negative_slope)}  # a NumPy number would promote x


class GELU(Activation):
    """Gaussian error linear unit: y = x P(X < x) for a standard normal X.

    Source: Hendrycks and Gimpel 2016.
    """

    _formula, _derivative = formulas.gelu, formulas.gelu_backward


class Softmax(Activation):
    """Softmax of each row: y = e^x / sum e^x.

    Do not use it before CrossEntropyLoss, which takes logits and applies softmax itself.
    """

    _formula, _derivative, _reads_output = formulas.softmax, formulas.softmax_backward, True

    def __init__(self) -> None:
        super().__init__()
        self.options = {"axis": -1}

    def forward(self, x: Array) -> Array:
        check_array("Softmax", x)
        if x.size:
            return super().forward(x)
        self._kept = (x,)  # rows without classes have no maximum
        return x.copy()
