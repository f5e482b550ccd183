"""What to use, computed from the results by rules that were written before them."""

from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.markdown import interval_text, markdown, markdown_table, number
from nnfoundations.labs._runner.results import LEAST_SEEDS, Results
from nnfoundations.labs._runner.statistics import Interval, mean_interval
from nnfoundations.labs.activations.lab import LAB, NETS

if TYPE_CHECKING:
    from IPython.display import Markdown

__all__ = ["GROWN", "MARGIN", "VANISHED", "advice", "milliseconds", "recommendations"]

MARGIN = 0.5
"""Points of accuracy that would matter."""
VANISHED = 1e-3
"""First over last gradient in 20 layers below which a deep network needs another activation."""
GROWN = 5.0
"""Growth of the signal over 20 layers above which a deep network needs normalization."""
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


def advice(difference: Interval, time: float, gradient: float, growth: float) -> str:
    """Say when to use an activation.

    Args:
        difference: its accuracy minus that of ReLU, points.
        time: its time per step over that of ReLU.
        gradient: first over last gradient in 20 layers with its own initial weights.
        growth: last over first spread there.

    Returns:
        A sentence or more.
    """
    if difference.low > MARGIN:
        found = "Better than ReLU here."
    elif difference.high < -MARGIN:
        found = "Worse than ReLU here."
    elif difference.low > -MARGIN and difference.high < MARGIN:
        found = "As accurate as ReLU, to within half a point."
    elif difference.low > 0:
        found = "Better than ReLU; whether by half a point is open."
    elif difference.high < 0:
        found = "Worse than ReLU; whether by half a point is open."
    else:
        found = "No difference from ReLU is shown, and one of half a point is not excluded."
    cost = f" It costs {100 * (time - 1):.0f} % more time." if time > DEARER else ""
    return f"{found}{cost} {_depth(gradient, growth)}"


def _depth(gradient: float, growth: float) -> str:
    if gradient < VANISHED:
        return "Not in deep networks: gradients vanish."
    if growth > GROWN:
        return "In deep networks with normalization: the signal grows."
    return "Also in deep networks."


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
        growth = float(np.median(results.values(arm, "spread_ratio_own")))
        time = float(np.median(milliseconds(results, arm)) / relu)
        is_relu = arm == "net_relu"
        text = (
            "The reference. " + _depth(gradient, growth)
            if is_relu
            else advice(difference, time, gradient, growth)
        )
        shown = "-" if is_relu else f"{number(difference.estimate)} {interval_text(difference)}"
        rows.append((LAB.label(arm), shown, f"{time:.2f}", f"{gradient:.1e}", f"{growth:.1e}", text))
    heads = ("activation", "accuracy minus ReLU", "time / ReLU", "gradient", "signal", "recommendation")
    below = "*Gradient: of the first of 20 layers over that of the last; signal: the spread of the last over "
    below += "that of the first. Both with own initial weights, medians.*"
    return markdown_table(heads, rows, right=(1, 2, 3, 4), below=below)
