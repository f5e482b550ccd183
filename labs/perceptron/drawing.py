"""Draws the decision boundary of a perceptron."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["chosen_updates", "draw_boundary"]

CHOSEN = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000)


def chosen_updates(count: int) -> list[int]:
    """The numbers of the updates after which the boundary is shown: 1, 3, 10, ... and the last."""
    return [number for number in CHOSEN if number < count] + [count] * (count > 0)


def draw_boundary(
    axis: "Axes", x: np.ndarray, y: np.ndarray, weight: Sequence[float], bias: float, title: str
) -> None:
    """Draw two classes of points, and the half plane that the perceptron calls class 1.

    Args:
        axis: where to draw.
        x: `(N, 2)`.
        y: `(N,)`, 0 or 1.
        weight: two numbers.
        bias: a number.
        title: of the panel.
    """
    left, bottom = x.min(0) - 0.1 * np.ptp(x, 0)
    right, top = x.max(0) + 0.1 * np.ptp(x, 0)
    across, up = np.meshgrid((left, right), (bottom, top))  # the corners: the score is linear in between
    score = weight[0] * across + weight[1] * up + bias
    axis.contourf(across, up, score, levels=[0, 1e9], colors=[COLOURS[1]], alpha=0.15)
    if score.min() < 0 < score.max():
        axis.contour(across, up, score, levels=[0], colors="black", linewidths=1.2)
    for label, marker in ((0, "o"), (1, "^")):
        axis.plot(*x[y == label].T, marker, color=COLOURS[label], markersize=2.5, alpha=0.8)
    axis.set(title=title, xlim=(left, right), ylim=(bottom, top))
    axis.grid(visible=False)
