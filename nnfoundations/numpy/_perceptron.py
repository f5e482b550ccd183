"""The perceptron and its learning rule, which needs neither a gradient nor a learning rate."""

import math
import warnings
from typing import Any

import numpy as np

from nnfoundations.errors import LabelError, OptionError, ShapeError
from nnfoundations.formulas import check_plain
from nnfoundations.numpy._check import (
    as_numbers,
    as_rows,
    as_samples,
    check_dtype,
    check_sizes,
    is_count,
)
from nnfoundations.numpy._layer import Array, Layer
from nnfoundations.numpy._linear import generator_of
from nnfoundations.numpy._perceptron_history import PerceptronHistory, PerceptronUpdate, PerceptronWeights

__all__ = ["Perceptron", "novikoff_bound"]


class Perceptron(Layer):
    r"""Linear classifier that learns from its mistakes: w <- w + s x, b <- b + s if s (w x + b) <= 0.

    s is 1 for class 1 and -1 for class 0. There is no learning rate: with zero initial weights it would
    scale w and b alike and change no decision. If a hyperplane separates the classes, the rule stops after
    at most `novikoff_bound` updates. If none does, it never stops, and the weights with the fewest errors
    are kept (the pocket).

    Shape: x `(N, *)` with `features` numbers per sample -> logits `(N, 2)`: 0 and w x + b.

    Args:
        features: numbers per sample.
        dtype: dtype of the weights.

    Attributes:
        history: every update, and the mistakes per epoch.
        converged: whether the last epoch had no mistake.
        pocket: of the weights at the end of each epoch, those with the fewest errors, or None.
        candidate: the weights at the end of the last epoch, while their errors are counted, or None.

    Source: Rosenblatt 1958; the bound: Novikoff 1962; the pocket: Gallant 1990.

    >>> x, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 0, 0, 1])
    >>> and_gate = Perceptron(2, dtype="float64").fit(x, y, seed=0)
    >>> and_gate.converged, and_gate.predict(x)
    (True, array([0, 0, 0, 1]))
    """

    def __init__(self, features: int, *, dtype: str = "float32") -> None:
        super().__init__()
        check_sizes("Perceptron", features=features)
        check_dtype("Perceptron", dtype)
        self.parameters = {"weight": np.zeros(features, dtype), "bias": np.zeros(1, dtype)}
        self.history = PerceptronHistory([], [])
        self.converged = False
        self.pocket: PerceptronWeights | None = None
        self.candidate: PerceptronWeights | None = None

    def forward(self, x: Array) -> Array:
        score = self._rows(x) @ self.parameters["weight"] + self.parameters["bias"]
        return np.stack((np.zeros_like(score), score), 1)

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        """Raise an error: a perceptron learns by its rule, in `fit` or `differentiate`.

        Args:
            grad_output: not used.
            grad_input: not used.

        Returns:
            Nothing.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "Perceptron has no gradient, because its output is a step function. Train it with fit(x, y)."
        )

    def predict(self, x: Array) -> Array:
        """Classify rows.

        Args:
            x: the input, one row per sample.

        Returns:
            The classes `(N,)`, 0 or 1; 0 on the boundary.
        """
        return (self.forward(x)[:, 1] > 0).astype(np.int64)

    def fit(self, x: Array, y: Array, *, max_epochs: int = 1000, seed: int | None = None) -> "Perceptron":
        """Train until an epoch has no mistake, with the rows in a new order in each epoch.

        `converged` is True then. If the limit comes first, a warning says so, and the perceptron takes the
        weights with the fewest errors at the end of an epoch (the pocket).

        Args:
            x: the input, one row per sample.
            y: classes `(N,)`, 0 or 1.
            max_epochs: largest number of epochs.
            seed: random seed of the orders; None draws one from NumPy's global generator.

        Returns:
            The perceptron itself.

        Raises:
            DtypeError: x is not a plain array of numbers.
            ShapeError: x has another number of features or no rows, or y has another length.
            LabelError: y has other classes than 0 and 1.
            OptionError: max_epochs is not a whole number of at least 1.
        """
        if not is_count(max_epochs):
            raise OptionError(f"max_epochs must be at least 1; got {max_epochs}. 1000 is usual.")
        x = self._rows(x)
        y, generator = as_classes("Perceptron", x, y), generator_of(seed)
        if not len(x):
            raise ShapeError(f"Perceptron.fit needs at least one row; got x of shape {x.shape}. Pass data.")
        self.history = PerceptronHistory([], [])
        self.reset()
        for _ in range(max_epochs):
            self._pass(x, y, generator.permutation(len(y)))
            if self.end_epoch():
                return self
            self._count_errors(x, y)
        self._fill_pocket()
        self.load_weights(self.pocket)
        warnings.warn(self.limit_message("its limit"), stacklevel=2)
        return self

    def reset(self) -> None:
        """Delete the pocket and `converged`, which do not hold for other data."""
        self.pocket, self.candidate, self.converged = None, None, False

    def copy_weights(self) -> PerceptronWeights:
        """Copy the present weights.

        Returns:
            The copy, with no errors counted yet.
        """
        return PerceptronWeights(self.parameters["weight"].copy(), self.parameters["bias"].copy())

    def load_weights(self, weights: PerceptronWeights | None) -> None:
        """Copy these into the perceptron's own arrays.

        Args:
            weights: the new weights; None changes nothing.
        """
        if weights is not None:
            self.parameters["weight"][...], self.parameters["bias"][...] = weights.weight, weights.bias

    def limit_message(self, limit: str) -> str:
        """Describe a training that reached its limit before an epoch without a mistake.

        Args:
            limit: what the last epoch was, such as "its limit".

        Returns:
            The warning: mistakes, errors of the pocket, and what to do.
        """
        mistakes, pocket, kept = self.history.mistakes, self.pocket, ""
        if pocket is not None:
            kept = f"; kept the weights with the fewest errors, {pocket.errors} of {pocket.rows}"
        return (
            f"Perceptron: still {mistakes[-1]} mistakes in epoch {len(mistakes)}, {limit}{kept}. "
            "Either no plane separates the classes, or features of different scales slow it down: "
            "standardize them, or raise max_epochs."
        )

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """Apply the rule to one batch, and return the change as differences instead of making it.

        The differences are w before the rule minus w after it, so that SGD with a rate of 1 does what the
        rule does, for any batch size. Call `end_epoch` after the last batch of an epoch. Each batch also
        counts the errors of the weights from the end of the last epoch, for the pocket.

        Args:
            x: the input, one row per sample.
            target: classes `(N,)`, 0 or 1.

        Returns:
            The mean of max(0, -s (w x + b)), NaN for an empty batch; the logits before the rule; the
            differences by name.
        """
        logits, x = self.forward(x), self._rows(x)
        target = as_classes("Perceptron", x, target)
        before = {name: value.copy() for name, value in self.parameters.items()}
        self._pass(x, target, np.arange(len(x)))
        self._count_errors(x, target)
        differences = {name: before[name] - self.parameters[name] for name in before}
        for name, value in before.items():
            self.parameters[name][...] = value
        sign = np.where(target == 1, 1, -1)
        losses = np.maximum(0, -sign * logits[:, 1])
        return float(losses.mean()) if len(losses) else math.nan, logits, differences

    def end_epoch(self) -> bool:
        """Count the mistakes of this epoch, and make the present weights the candidate for the pocket.

        Call it after the differences of the last batch have been subtracted.

        Returns:
            Whether the epoch had no mistake, which is also `converged`.
        """
        self.history.mistakes.append(len(self.history.updates) - sum(self.history.mistakes))
        self.converged = self.history.mistakes[-1] == 0
        self._fill_pocket()
        self.candidate = self.copy_weights()
        return self.converged

    def _count_errors(self, x: Array, y: Array) -> None:
        if self.candidate is not None:
            self.candidate.count_errors(x, y)

    def _fill_pocket(self) -> None:
        if self.candidate is not None and self.candidate.beats(self.pocket):
            self.pocket = self.candidate

    def _pass(self, x: Array, y: Array, order: Array) -> None:
        """Apply the rule to each row once, in this order."""
        weight, bias = self.parameters["weight"], self.parameters["bias"]
        epoch = len(self.history.mistakes)
        for row in order:
            sign = 1 if y[row] else -1
            if not sign * (x[row] @ weight + bias[0]) > 0:  # a NaN counts as a mistake
                weight += sign * x[row]
                bias += sign
                update = PerceptronUpdate(epoch, int(row), weight.copy(), float(bias[0]))
                self.history.updates.append(update)

    def _rows(self, x: Array) -> Array:
        weight = self.parameters["weight"]
        return as_rows("Perceptron", as_samples("Perceptron", x), len(weight), weight.dtype)


def as_classes(name: str, x: Array, y: Any) -> Array:
    """Return the class of each row of x, 0 or 1, as an array (N,)."""
    check_plain(f"{name}'s classes", y)
    classes: Array = np.asarray(y)
    if classes.shape != x.shape[:1]:
        raise ShapeError(
            f"{name} needs a class for each row; got x {x.shape} and classes {classes.shape}. Pass y as (N,)."
        )
    if classes.size and not ((classes == 0) | (classes == 1)).all():
        others = list(dict.fromkeys(classes.tolist()))[:5]  # not np.unique, which cannot sort objects
        raise LabelError(
            f"{name} needs the classes 0 and 1; got {others}. Combine several classes: y = (species == 0)."
        )
    return classes


def novikoff_bound(x: Array, y: Array, weight: Array, bias: float) -> float:
    r"""Bound the number of updates: at most (R / gamma)^2, for any order of the rows.

    R is the largest norm of a row (x, 1), gamma the smallest distance of one from the plane w x + b = 0,
    in the same space. Any separating plane gives a bound; the plane with the largest margin gives the
    smallest one.

    Args:
        x: rows `(N, features)`.
        y: their classes `(N,)`, 0 or 1.
        weight: the plane's normal w, `(features,)`.
        bias: the plane's b.

    Returns:
        The largest number of updates that a perceptron makes from zero weights.

    Raises:
        OptionError: the plane does not separate the classes.
        ShapeError: x is empty, or the shapes do not fit.
        LabelError: y has other classes than 0 and 1.

    Source: Novikoff 1962.
    """
    weight = as_numbers("novikoff_bound's weight", weight)
    x = as_rows("novikoff_bound", as_numbers("novikoff_bound's x", x), weight.size, np.float64)
    y = as_classes("novikoff_bound", x, y)
    if not len(x):
        raise ShapeError(f"novikoff_bound needs at least one row; got x of shape {x.shape}. Pass data.")
    rows = np.concatenate((x, np.ones((len(x), 1))), 1)
    plane = np.append(weight, bias)
    margin = np.min(np.where(y == 1, 1, -1) * (rows @ plane)) / np.linalg.norm(plane)
    if margin <= 0:
        raise OptionError(
            f"novikoff_bound needs a plane that separates the classes; its margin is {margin:.3g}. "
            "Fit one first."
        )
    return float((np.linalg.norm(rows, axis=1).max() / margin) ** 2)
