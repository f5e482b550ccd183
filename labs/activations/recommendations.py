"""What to use, computed from the results by rules that were written before them."""

from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.markdown import interval_text, markdown, markdown_table, number
from nnfoundations.labs._runner.results import LEAST_SEEDS, Results
from nnfoundations.labs._runner.statistics import Interval, mean_interval
from nnfoundations.labs.activations.lab import LAB, NETS

if TYPE_CHECKING:
    from IPython.display import Markdown

__all__ = ["MARGIN", "VANISHED", "advice", "milliseconds", "recommendations"]

MARGIN = 0.5
"""Points of accuracy that would matter."""
VANISHED = 1e-3
"""First over last gradient in 20 layers below which a deep network needs another activation."""
DEARER = 1.1
"""Time per step, over that of ReLU, that is worth a remark."""


def milliseconds(results: Results, arm: str) -> np.ndarray:
    """Compute the CPU time per training step of each run.

    It contains start, validation and diagnostics, which are the same for all arms of a task.

    Args:
        results: of the lab.
        arm: its name.

    Returns:
        Milliseconds by seed, `(seeds,)`.
    """
    seconds = {int(row["seed"]): float(row["cpu_seconds"]) for row in results.timings if row["arm"] == arm}
    steps = results.by_seed(arm, "steps")
    return np.array([1000 * seconds[seed] / steps[seed] for seed in steps])


def advice(difference: Interval, gradient: float, time: float) -> str:
    """Say when to use an activation.

    Args:
        difference: its accuracy minus that of ReLU, points.
        gradient: first over last gradient in 20 layers with its own initial weights.
        time: its time per step over that of ReLU.

    Returns:
        A sentence or more.
    """
    if difference.low > MARGIN:
        found = "Better than ReLU here."
    elif difference.high < -MARGIN:
        found = "Worse than ReLU here."
    elif difference.low > -MARGIN and difference.high < MARGIN:
        found = "As accurate as ReLU."
    else:
        found = "No difference from ReLU of half a point is shown, and none is excluded."
    cost = f" It costs {100 * (time - 1):.0f} % more time." if time > DEARER else ""
    return f"{found}{cost} {_depth(gradient)}"


def _depth(gradient: float) -> str:
    return "Not in deep networks: gradients vanish." if gradient < VANISHED else "Also in deep networks."


def recommendations(results: Results) -> "Markdown":
    """The recommendations as a table.

    Args:
        results: of the lab.

    Returns:
        The table, or a sentence below five seeds.
    """
    arms = [arm for arm in results.arms if arm in NETS]
    if "net_relu" not in arms or len(results.seeds("net_relu")) < LEAST_SEEDS:
        return markdown(f"*Recommendations need {LEAST_SEEDS} seeds of the network for clothes.*")
    relu = np.median(milliseconds(results, "net_relu"))
    rows = []
    for arm in arms:
        mine, base = results.pairs(arm, "net_relu", "accuracy")
        difference = mean_interval(mine - base)
        gradient = float(np.median(results.values(arm, "gradient_ratio_own")))
        time = float(np.median(milliseconds(results, arm)) / relu)
        is_relu = arm == "net_relu"
        text = "The reference. " + _depth(gradient) if is_relu else advice(difference, gradient, time)
        shown = "-" if is_relu else f"{number(difference.estimate)} {interval_text(difference)}"
        rows.append((LAB.label(arm), shown, f"{gradient:.1e}", f"{time:.2f}", text))
    heads = ("activation", "accuracy minus ReLU", "first / last gradient", "time / ReLU", "recommendation")
    return markdown_table(heads, rows, right=(1, 2, 3))
