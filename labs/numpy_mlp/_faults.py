"""Layers and losses of the museum: small changes of those of `nnfoundations.numpy`.

All are wrong but TanhGELU and OneHotHuber, with which wrong ones are compared.
"""

import numpy as np

from nnfoundations import formulas
from nnfoundations.formulas import numpy_namespace
from nnfoundations.numpy import (
    GELU,
    BatchNorm,
    CrossEntropyLoss,
    Dropout,
    HuberLoss,
    LeakyReLU,
    Linear,
    ReLU,
)

__all__ = [
    "RATE",
    "BiasedVariance",
    "ConstantStatistics",
    "DividingLinear",
    "DropoutAlways",
    "DropoutUnscaled",
    "HalfGELU",
    "HuberTwice",
    "JacobianTwice",
    "MaskFromBefore",
    "OneHotHuber",
    "OtherSlopeAtZero",
    "Overflowing",
    "StaleLinear",
    "SummedLoss",
    "TanhGELU",
    "UnmaskedReLU",
]

Array = np.ndarray

RATE = 0.05
"""The learning rate of the museum and of its checks, which `StaleLinear` needs to know."""


class TanhGELU(GELU):
    """The tanh approximation of GELU with its own derivative; it is sound."""

    _formula, _derivative = formulas.gelu_tanh, formulas.gelu_tanh_backward


class HalfGELU(GELU):
    """The forward of the tanh approximation, the derivative of the exact function."""

    _formula = formulas.gelu_tanh


class OtherSlopeAtZero(LeakyReLU):
    """Has the slope 1 at 0, where torch has the slope of the negative side."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        (x,) = self.kept
        grad = super().backward(grad_output, grad_input=grad_input)
        return grad if grad is None else np.where(x == 0, grad_output, grad)


class DividingLinear(Linear):
    """Divides by the batch, although the loss has already."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        grad = super().backward(grad_output, grad_input=grad_input)
        self.gradients = {name: value / len(grad_output) for name, value in self.gradients.items()}
        return grad


class StaleLinear(Linear):
    """Updates its weight first, and carries the gradient down with the new one."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        super().backward(grad_output, grad_input=False)
        new = self.parameters["weight"] - RATE * self.gradients["weight"]
        return grad_output @ new if grad_input else None


class UnmaskedReLU(ReLU):
    """Passes the gradient of units that are off."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        return grad_output if grad_input else None


class MaskFromBefore(BatchNorm):
    """BatchNorm and ReLU in one: the mask is the sign of the input of the norm."""

    def forward(self, x: Array) -> Array:
        return np.maximum(super().forward(x), 0)

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        return super().backward(grad_output * (self.kept[0] > 0), grad_input=grad_input)


class ConstantStatistics(BatchNorm):
    """Differentiates as if mean and variance did not depend on the batch."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        x, mean, variance, fixed = self.kept
        self._kept = (x, mean[0], variance[0], True) if not fixed else self.kept
        return super().backward(grad_output, grad_input=grad_input)


class BiasedVariance(BatchNorm):
    """Keeps the biased variance of a batch in the running one."""

    def forward(self, x: Array) -> Array:
        before = self.buffers["running_var"].copy()
        y = super().forward(x)
        if self.training:
            biased = before + self.momentum * (x.var(0) - before)
            self.buffers["running_var"][...] = biased
        return y


class DropoutAlways(Dropout):
    """Drops units in evaluation too."""

    def eval(self) -> None:
        """Stay in training."""


class DropoutUnscaled(Dropout):
    """Does not divide by the share of units that stay."""

    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        return y * x.dtype.type(1 - self.p) if self.training else y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        grad = super().backward(grad_output, grad_input=grad_input)
        return grad * grad.dtype.type(1 - self.p) if grad is not None and self.training else grad


class SummedLoss(CrossEntropyLoss):
    """Never divides by the batch."""

    def backward(self) -> Array:
        return super().backward() * len(self.kept[0])


class JacobianTwice(CrossEntropyLoss):
    """Applies the derivative of softmax to p - t, which contains it."""

    def backward(self) -> Array:
        p = formulas.softmax(self.kept[0], axis=-1, xp=numpy_namespace())
        grad: Array = formulas.softmax_backward(super().backward(), p, axis=-1, xp=numpy_namespace())
        return grad


class OneHotHuber(HuberLoss):
    """Huber loss of the outputs with the classes as 0 and 1."""

    def forward(self, x: Array, target: Array) -> float:
        return super().forward(x, np.eye(x.shape[1], dtype=x.dtype)[target])


class HuberTwice(OneHotHuber):
    """Applies the chain rule twice: the gradient of a residual r becomes r r, never negative."""

    def backward(self) -> Array:
        x, target = self.kept
        grad: Array = super().backward() * np.clip(x - target, -self.delta, self.delta)
        return grad


class Overflowing(CrossEntropyLoss):
    """Softmax without subtracting the largest logit."""

    def forward(self, x: Array, target: Array) -> float:
        super().forward(x, target)
        e = np.exp(x)
        return float(-np.log(e[np.arange(len(x)), target] / e.sum(1)).mean())

    def backward(self) -> Array:
        x, target = self.kept
        e = np.exp(x)
        p = e / e.sum(1, keepdims=True)
        return np.asarray((p - np.eye(x.shape[1])[target]) / len(x), x.dtype)
