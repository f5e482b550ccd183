"""What a perceptron records while it learns: its updates, its mistakes, and weights with their errors."""

from dataclasses import dataclass
from typing import NamedTuple

from nnfoundations.numpy._check import Array

__all__ = ["PerceptronHistory", "PerceptronUpdate", "PerceptronWeights"]


class PerceptronUpdate(NamedTuple):
    """One update of the weights, made at one mistake.

    Args:
        epoch: epoch of the mistake, from 0.
        row: row of x that was classified wrongly.
        weight: the weights after the update.
        bias: the bias after the update.
    """

    epoch: int
    row: int
    weight: Array
    bias: float


@dataclass
class PerceptronHistory:
    """All updates in order and the mistakes per epoch: enough to draw each boundary of the training.

    Args:
        updates: every update, in order.
        mistakes: number of mistakes in each complete epoch.
    """

    updates: list[PerceptronUpdate]
    mistakes: list[int]


@dataclass
class PerceptronWeights:
    """Weights from the end of an epoch, with the errors they make.

    Args:
        weight: the weights.
        bias: the bias, of shape (1,).
        errors: number of rows that they classify wrongly.
        rows: number of rows that were checked.
    """

    weight: Array
    bias: Array
    errors: int = 0
    rows: int = 0

    def count_errors(self, x: Array, y: Array) -> None:
        """Add the errors on these rows; a row on the boundary has class 0.

        Args:
            x: rows `(N, features)`.
            y: their classes `(N,)`, 0 or 1.
        """
        self.errors += int(((x @ self.weight + self.bias > 0) != (y == 1)).sum())
        self.rows += len(x)

    def beats(self, other: "PerceptronWeights | None") -> bool:
        """Compare the fractions of errors, because an interrupted epoch has fewer rows.

        Args:
            other: other weights; None loses against any that were checked.

        Returns:
            Whether these have the smaller fraction of errors.
        """
        return self.rows > 0 and (other is None or self.errors * other.rows < other.errors * self.rows)
