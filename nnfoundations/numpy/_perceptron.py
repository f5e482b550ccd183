"""The perceptron, and the rule by which it learns. No gradient, no rate: it moves where it errs."""

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations._errors import LabelError, OptionError, ShapeError
from nnfoundations.numpy._check import check_dtype, check_sizes, needs_array, rows_of
from nnfoundations.numpy._layer import Array, Layer
from nnfoundations.numpy._linear import generator_of

__all__ = ["Perceptron", "Update", "novikoff_bound"]


class Update(NamedTuple):
    """What one mistake did: in which epoch, at which row of x, and the weights after it."""

    epoch: int
    row: int
    weight: Array
    bias: float


@dataclass
class History:
    """Every update in turn, and the mistakes of each whole epoch: enough to draw the boundary as it moves."""

    updates: list[Update]
    mistakes: list[int]


@dataclass
class Candidate:
    """Weights as they were at the end of an epoch, and how many of how many rows they get wrong."""

    weight: Array
    bias: Array
    errors: int = 0
    rows: int = 0

    def judge(self, x: Array, y: Array) -> None:
        """Count these rows, too. On the boundary the class is 0."""
        self.errors += int(((x @ self.weight + self.bias > 0) != (y == 1)).sum())
        self.rows += len(x)

    def beats(self, other: "Candidate | None") -> bool:
        """By the share of errors, since an epoch that was cut short has fewer rows."""
        return self.rows > 0 and (other is None or self.errors * other.rows < other.errors * self.rows)


class Perceptron(Layer):
    r"""sign(w x + b), learnt by correcting mistakes: w <- w + s x, b <- b + s where s (w x + b) <= 0.

    s is 1 for class 1 and -1 for class 0. From zero weights a learning rate would scale w and b alike and
    change no decision, so that there is none. Where a hyperplane separates the classes, the rule stops after
    at most `novikoff_bound` updates; where none does, never, and the best weights on the way are kept.

    Shape: x `(N, *)` with `features` numbers a sample -> logits `(N, 2)`: 0 and w x + b.
    Args: features: of a sample. dtype: of the weights.
    Attributes:
        history: what each update did.
        converged: whether the last epoch had no mistake.
        pocket: the weights with the fewest errors of all that were met at the end of an epoch, or None.
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
        self.history = History([], [])
        self.converged = False
        self.pocket: Candidate | None = None
        self.candidate: Candidate | None = None  # for the pocket, while an epoch of batches judges it

    def forward(self, x: Array) -> Array:
        score = self._rows(x) @ self.parameters["weight"] + self.parameters["bias"]
        return np.stack((np.zeros_like(score), score), 1)

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        raise NotImplementedError(
            "A perceptron has no gradient: its output is a step. Its rule is in `fit` and `differentiate`."
        )

    def predict(self, x: Array) -> Array:
        """The classes (N,), 0 or 1; on the boundary 0."""
        return (self.forward(x)[:, 1] > 0).astype(np.int64)

    def fit(self, x: Array, y: Array, *, max_epochs: int = 1000, seed: int | None = None) -> "Perceptron":
        """Go through the rows, in a new order each epoch, until an epoch without a mistake.

        `converged` then is True. Else the limit is reached: a warning says so, and the weights with the
        fewest errors of all that were met at the end of an epoch are kept (the pocket).

        Args: x: as in the class. y: classes `(N,)`, 0 or 1. max_epochs: the limit. seed: of the orders.
        Raises: DtypeError, ShapeError, LabelError: x or y are not that. OptionError: max_epochs is below 1.
        """
        if max_epochs < 1:
            raise OptionError(f"max_epochs must be at least 1; got {max_epochs}. 1000 is usual.")
        x = self._rows(x)
        y, generator = classes_of(x, y), generator_of(seed)
        self.history = History([], [])
        self.forget()
        for _ in range(max_epochs):
            self._pass(x, y, generator.permutation(len(y)))
            if self.end_epoch():
                return self
            self._judge(x, y)
        self._fill_pocket()
        self.take(self.pocket)
        warnings.warn(self.what_is_left("its limit"), stacklevel=2)
        return self

    def forget(self) -> None:
        """Nothing has been judged yet, as for other data."""
        self.pocket, self.candidate, self.converged = None, None, False

    def weights(self) -> Candidate:
        """Those of now, which stay as they are."""
        return Candidate(self.parameters["weight"].copy(), self.parameters["bias"].copy())

    def take(self, weights: Candidate | None) -> None:
        """Make these the weights, in place; None changes nothing."""
        if weights is not None:
            self.parameters["weight"][...], self.parameters["bias"][...] = weights.weight, weights.bias

    def what_is_left(self, limit: str) -> str:
        """The sentence for a rule that was stopped while it still made mistakes."""
        mistakes, pocket, kept = self.history.mistakes, self.pocket, ""
        if pocket is not None:
            kept = f"; kept the weights with the fewest errors, {pocket.errors} of {pocket.rows}"
        return (
            f"Perceptron: still {mistakes[-1]} mistakes in epoch {len(mistakes)}, {limit}{kept}. "
            "Either no plane separates the classes, or features of unlike scales make it slow: "
            "standardise them, or raise max_epochs."
        )

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """The rule on one batch, as something to be subtracted: w before the pass less w after it.

        So an optimizer of rate 1 does what the rule does, for any size of batch. The weights are as before.
        Whoever goes through batches says with `end_epoch` where an epoch of them ends. Each batch also
        judges the weights of the last epoch's end: at the end of this one they may go into the pocket.

        Returns: the mean of max(0, -s (w x + b)), the logits before the pass, and the differences.
        """
        logits, x = self.forward(x), self._rows(x)
        target = classes_of(x, target)
        before = {name: value.copy() for name, value in self.parameters.items()}
        self._pass(x, target, np.arange(len(x)))
        self._judge(x, target)
        moved = {name: before[name] - self.parameters[name] for name in before}
        for name, value in before.items():
            self.parameters[name][...] = value
        sign = np.where(target == 1, 1, -1)
        return float(np.maximum(0, -sign * logits[:, 1]).mean()), logits, moved

    def end_epoch(self) -> bool:
        """Count the mistakes since the last epoch; without any the rule has `converged`, which is given.

        To be called when the last batch's differences are subtracted: the weights are now a candidate.
        """
        self.history.mistakes.append(len(self.history.updates) - sum(self.history.mistakes))
        self.converged = self.history.mistakes[-1] == 0
        self._fill_pocket()
        self.candidate = self.weights()
        return self.converged

    def _judge(self, x: Array, y: Array) -> None:
        if self.candidate is not None:
            self.candidate.judge(x, y)

    def _fill_pocket(self) -> None:
        if self.candidate is not None and self.candidate.beats(self.pocket):
            self.pocket = self.candidate

    def _pass(self, x: Array, y: Array, order: Array) -> None:
        """Each row once, in this order."""
        weight, bias = self.parameters["weight"], self.parameters["bias"]
        epoch = len(self.history.mistakes)
        for row in order:
            sign = 1 if y[row] else -1
            if not sign * (x[row] @ weight + bias[0]) > 0:  # a NaN is no right answer
                weight += sign * x[row]
                bias += sign
                self.history.updates.append(Update(epoch, int(row), weight.copy(), float(bias[0])))

    def _rows(self, x: Array) -> Array:
        needs_array("Perceptron", x, kinds="fiub")
        weight = self.parameters["weight"]
        x = x.reshape(*x.shape[:1], math.prod(x.shape[1:]))
        return rows_of("Perceptron", x, len(weight), weight.dtype)


def classes_of(x: Array, y: Array) -> Array:
    """The classes (N,) of rows x, 0 or 1, as an array.

    Raises: ShapeError, LabelError: they are not that.
    """
    y = np.asarray(y)
    if y.shape != x.shape[:1]:
        raise ShapeError(
            f"Perceptron needs a class for each row; got {x.shape} and {y.shape}. Give y as (N,)."
        )
    if y.size and not ((y == 0) | (y == 1)).all():
        raise LabelError(
            f"Perceptron needs the classes 0 and 1; got {np.unique(y)[:5].tolist()}. "
            "Make one class of several: y = (species == 0)."
        )
    return y


def novikoff_bound(x: Array, y: Array, weight: Array, bias: float) -> float:
    r"""(R / gamma)^2: no order of these rows makes a perceptron from zero update more often.

    R is the largest norm of a row (x, 1), gamma the smallest distance of one from the plane w x + b = 0,
    measured in the same space. Any separating plane gives a bound; that of the largest margin the tightest.

    Raises: OptionError: this plane separates nothing. ShapeError, LabelError: y is no class of each row.
    Source: Novikoff 1962.
    """
    y = classes_of(x, y)
    rows = np.concatenate((x, np.ones((len(x), 1))), 1)
    plane = np.append(weight, bias)
    margin = np.min(np.where(y == 1, 1, -1) * (rows @ plane)) / np.linalg.norm(plane)
    if margin <= 0:
        raise OptionError(
            f"novikoff_bound needs a plane that separates the classes; its margin is {margin:.3g}. "
            "Fit one first."
        )
    return float((np.linalg.norm(rows, axis=1).max() / margin) ** 2)
