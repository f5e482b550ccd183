"""Losses: the mean over the batch, and its gradient in the network's output.

The batch is divided by here, once, and nowhere else.
"""

import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from nnfoundations import formulas
from nnfoundations._errors import OptionError, ShapeError
from nnfoundations.numpy._check import labels_of, needs_array
from nnfoundations.numpy._layer import XP, Array

__all__ = ["CrossEntropyLoss", "HuberLoss", "Loss", "MSELoss"]

_LABELS: dict[str, Any] = {
    "axis": 1,
    "ignore_index": -100,
    "label_smoothing": 0.0,
    "reduction": "mean",
    "xp": XP,
}


class Loss(ABC):
    """`forward(x, target)` gives the mean loss; `backward()` its gradient in x."""

    def __init__(self) -> None:
        self._kept: tuple[Array, Array] | None = None

    @abstractmethod
    def forward(self, x: Array, target: Array) -> float: ...

    @abstractmethod
    def backward(self) -> Array: ...

    def __call__(self, x: Array, target: Array) -> float:
        return self.forward(x, target)

    @property
    def kept(self) -> tuple[Array, Array]:
        if self._kept is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it; got none. Call the loss first."
            )
        return self._kept


class CrossEntropyLoss(Loss):
    r"""-log softmax(x)_t, the mean over rows; the gradient is (softmax(x) - onehot(t)) / N.

    It takes logits, any numbers, and does the softmax itself. Rows that are probabilities already, as behind
    a Softmax layer, train slowly and to a worse end: a first batch of them is warned of.

    Shape: x `(N, C)`, target `(N,)` class indices.
    Raises: ShapeError: other shapes. DtypeError: other than floats and integers. LabelError: an index outside
        0 to C - 1.
    Source: Bishop 2006, eq. 4.108 and 4.109.
    """

    def __init__(self) -> None:
        super().__init__()
        self._looked = False

    def forward(self, x: Array, target: Array) -> float:
        target = labels_of("CrossEntropyLoss", x, target)
        if not self._looked:
            self._looked = True
            if x.size and x.min() >= 0 and np.allclose(x.sum(1), 1, atol=1e-4):
                warnings.warn(
                    "CrossEntropyLoss takes logits and does the softmax itself; got rows that are "
                    "probabilities. Remove the Softmax before it.",
                    stacklevel=3,
                )
        self._kept = (x, target)
        return float(formulas.cross_entropy(x, target, None, **_LABELS))

    def backward(self) -> Array:
        x, target = self.kept
        grad: Array = formulas.cross_entropy_backward(x.dtype.type(1), x, target, None, **_LABELS)
        return grad


class MSELoss(Loss):
    """(x - t)^2, the mean over all entries; the gradient is 2 (x - t) / count.

    Raises: ShapeError: x and target differ in shape.
    """

    def forward(self, x: Array, target: Array) -> float:
        self._kept = same_shape(self, x, target)
        return float(formulas.mse_loss(x, target, reduction="mean", xp=XP))

    def backward(self) -> Array:
        x, target = self.kept
        grad, _ = formulas.mse_loss_backward(1.0, x, target, reduction="mean", wanted=(True, False), xp=XP)
        return np.asarray(grad)


class HuberLoss(Loss):
    """z^2 / 2 for a residual |z| = |x - t| < delta, else delta (|z| - delta / 2); the mean over all entries.

    Args: delta: where the parabola becomes a line: no residual's gradient is larger.
    Raises: OptionError: delta is not positive. ShapeError: x and target differ in shape.
    Source: Huber 1964.
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if not delta > 0:
            raise OptionError(f"HuberLoss needs a delta above 0; got {delta}. 1 is usual.")
        self.delta = float(delta)  # a NumPy number would promote x

    def forward(self, x: Array, target: Array) -> float:
        self._kept = same_shape(self, x, target)
        return float(formulas.huber_loss(x, target, reduction="mean", delta=self.delta, xp=XP))

    def backward(self) -> Array:
        x, target = self.kept
        grad, _ = formulas.huber_loss_backward(
            1.0, x, target, reduction="mean", delta=self.delta, wanted=(True, False), xp=XP
        )
        return np.asarray(grad)


def same_shape(loss: Loss, x: Array, target: Array) -> tuple[Array, Array]:
    """Both, the target in x's dtype: one in float64 would carry all gradients with it."""
    needs_array(type(loss).__name__, x)
    target = np.asarray(target, x.dtype)
    if x.shape != target.shape:  # broadcasting would compare every row with every other
        raise ShapeError(
            f"{type(loss).__name__} needs x and target of one shape; got {x.shape} and {target.shape}. "
            "Reshape one of them."
        )
    return x, target
