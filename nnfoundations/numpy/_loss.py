"""Losses: the mean over the batch, and its gradient with respect to the network's output.

Only a loss divides by the batch size, once.
"""

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from nnfoundations import formulas
from nnfoundations.errors import OptionError
from nnfoundations.numpy._check import as_labels, as_target
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
    """A mean over the batch with a derivative that is written by hand.

    An empty batch has the mean NaN and an empty gradient, as in torch.
    """

    def __init__(self) -> None:
        self._kept: tuple[Array, Array] | None = None

    @abstractmethod
    def _check(self, x: Array, target: Array) -> tuple[Array, Array]:
        """Return both as the formulas take them, or raise."""

    @abstractmethod
    def _mean(self, x: Array, target: Array) -> float:
        """Return the mean of the losses of a batch that is not empty."""

    @abstractmethod
    def _gradient(self, x: Array, target: Array) -> Array:
        """Return the gradient with respect to x for a batch that is not empty."""

    def forward(self, x: Array, target: Array) -> float:
        """Compute the mean loss.

        Args:
            x: the network's output: predictions, or logits.
            target: what x should be, an array or a list; class indices for CrossEntropyLoss.

        Returns:
            The mean loss; NaN for an empty batch.

        Raises:
            DtypeError: x or target is complex, masked, np.matrix, or not of numbers.
            ShapeError: x and target do not fit.
        """
        self._kept = self._check(x, target)
        return self._mean(*self._kept) if self._kept[0].size else math.nan

    def backward(self) -> Array:
        """Compute the gradient of the last loss with respect to x.

        Returns:
            The gradient, in the shape of x.

        Raises:
            RuntimeError: `forward` has not been called.
        """
        x, target = self.kept
        return self._gradient(x, target) if x.size else np.zeros_like(x)

    def __call__(self, x: Array, target: Array) -> float:
        return self.forward(x, target)

    @property
    def kept(self) -> tuple[Array, Array]:
        """The last x and target."""
        if self._kept is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it; got none. Call the loss first."
            )
        return self._kept


class CrossEntropyLoss(Loss):
    r"""Cross-entropy of logits with class indices: -log softmax(x)_t, the mean over rows.

    The gradient is (softmax(x) - onehot(t)) / N. x are logits, any real numbers: the loss applies softmax
    itself. A first batch whose rows are already probabilities, as after a Softmax layer, gives a warning,
    because softmax would be applied twice.

    Shape: x `(N, C)`, target `(N,)` class indices from 0 to C - 1; another one raises LabelError.

    Source: Bishop 2006, eq. 4.108 and 4.109.
    """

    def __init__(self) -> None:
        super().__init__()
        self._checked_logits = False

    def _check(self, x: Array, target: Array) -> tuple[Array, Array]:
        x, labels = as_labels("CrossEntropyLoss", x, target)
        if not self._checked_logits:
            self._checked_logits = True
            _warn_of_probabilities(x)
        return x, labels

    def _mean(self, x: Array, target: Array) -> float:
        return float(formulas.cross_entropy(x, target, None, **_LABELS))

    def _gradient(self, x: Array, target: Array) -> Array:
        grad: Array = formulas.cross_entropy_backward(x.dtype.type(1), x, target, None, **_LABELS)
        return grad


def _warn_of_probabilities(x: Array) -> None:
    if x.size and x.min() >= 0 and np.allclose(x.sum(1), 1, atol=1e-4):
        warnings.warn(
            "CrossEntropyLoss applies softmax itself and needs logits; got rows of probabilities. "
            "Remove the Softmax before it.",
            stacklevel=5,  # the caller of the loss
        )


class MSELoss(Loss):
    """Mean squared error: (x - t)^2, the mean over all entries; the gradient is 2 (x - t) / count.

    Shape: x and target of the same shape.
    """

    def _check(self, x: Array, target: Array) -> tuple[Array, Array]:
        return as_target("MSELoss", x, target)

    def _mean(self, x: Array, target: Array) -> float:
        return float(formulas.mse_loss(x, target, reduction="mean", xp=XP))

    def _gradient(self, x: Array, target: Array) -> Array:
        grad, _ = formulas.mse_loss_backward(1.0, x, target, reduction="mean", wanted=(True, False), xp=XP)
        return np.asarray(grad)


class HuberLoss(Loss):
    """Huber loss: z^2 / 2 for a residual |z| = |x - t| < delta, else delta (|z| - delta / 2).

    It is the mean over all entries, and an outlier has a gradient of at most delta.

    Shape: x and target of the same shape.

    Args:
        delta: the |z| at which the parabola becomes a line.

    Raises:
        OptionError: delta is not positive.

    Source: Huber 1964.
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if not delta > 0:
            raise OptionError(f"HuberLoss needs a delta above 0; got {delta}. 1 is usual.")
        self.delta = float(delta)  # a NumPy number would promote x

    def _check(self, x: Array, target: Array) -> tuple[Array, Array]:
        return as_target("HuberLoss", x, target)

    def _mean(self, x: Array, target: Array) -> float:
        return float(formulas.huber_loss(x, target, reduction="mean", delta=self.delta, xp=XP))

    def _gradient(self, x: Array, target: Array) -> Array:
        grad, _ = formulas.huber_loss_backward(
            1.0, x, target, reduction="mean", delta=self.delta, wanted=(True, False), xp=XP
        )
        return np.asarray(grad)
