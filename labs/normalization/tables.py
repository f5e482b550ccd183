"""Answers computed from the results: usable rates, the smallest batch, gradients, which norm when."""

import math
from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.markdown import interval_text, markdown, markdown_table, number
from nnfoundations.labs._runner.results import LEAST_SEEDS, Results
from nnfoundations.labs._runner.statistics import Interval, mean_interval
from nnfoundations.labs.normalization.lab import BATCHES, DEPTHS, NORMS, RATES, batch_arm

if TYPE_CHECKING:
    from IPython.display import Markdown

__all__ = [
    "LOST",
    "MARGIN",
    "advice",
    "gradient_table",
    "recommendations",
    "smallest_batch",
    "smallest_batch_text",
    "usable_rates",
]

MARGIN = 0.5
"""Points of accuracy that would matter with batches of 64."""
LOST = 2.0
"""Points below the best, or below another norm, from which a rate or a batch size is not usable."""
WIDER = 3.0
"""Factor of usable rates, over that without a norm, that is worth a remark."""
GRADIENTS = {
    "gradient_error": "error of this library",
    "cosine_mask": "mask from before",
    "cosine_mean": "without the mean term",
    "cosine_variance": "without the variance term",
}


def usable_rates(results: Results, norm: str) -> tuple[float, float]:
    """Find the rates around the best one whose mean accuracy is at most LOST points below it.

    Args:
        results: of the lab.
        norm: a key of `NORMS`.

    Returns:
        The lowest and the highest of them, among the common rates.

    Raises:
        ArmNotRun: a rate was not run.
    """
    means = [float(results.values(f"rate_{rate}_{norm}", "accuracy").mean()) for rate in RATES]
    low = high = int(np.nanargmax(means))
    least = means[low] - LOST
    while low > 0 and means[low - 1] >= least:
        low -= 1
    while high < len(RATES) - 1 and means[high + 1] >= least:
        high += 1
    return RATES[low], RATES[high]


def smallest_batch(results: Results, norm: str) -> float:
    """Find the smallest batch size from which on a norm works.

    It works if the interval of its accuracy minus that without a norm lies above -LOST points.

    Args:
        results: of the lab.
        norm: a key of `NORMS`.

    Returns:
        The size; infinite if it does not work with the largest batches, NaN if a size was not run.
    """
    found = math.inf
    for size in reversed(BATCHES):
        mine, plain = batch_arm(norm, size), batch_arm("none", size)
        if not {mine, plain} <= set(results.arms):
            return math.nan
        first, second = results.pairs(mine, plain, "accuracy")
        if not mean_interval(first - second).low > -LOST:
            break
        found = size
    return found


def smallest_batch_text(results: Results) -> "Markdown":
    """The smallest batch with which BatchNorm works, as a sentence.

    Args:
        results: of the lab.

    Returns:
        The sentence.
    """
    size = smallest_batch(results, "batch")
    if math.isnan(size) or len(results.seeds("net_batch")) < LEAST_SEEDS:
        return markdown(f"*The smallest batch needs all batch sizes with {LEAST_SEEDS} seeds.*")
    rule = f"at most {LOST:g} points behind no norm by the whole 95 % interval"
    if math.isinf(size):
        return markdown(f"BatchNorm works with no batch size that was tried: nowhere is it {rule}.")
    return markdown(f"BatchNorm works **with batches from {size:.0f}** on: there it is {rule}.")


def _batches(smallest: float) -> str:
    if math.isnan(smallest):
        return "Batch sizes were not tried."
    if math.isinf(smallest):
        return "Use with no batch size that was tried."
    return f"Use with batches from {smallest:.0f} on."


def gradient_table(results: Results) -> "Markdown":
    """The checks of the gradients by norm, means over the seeds.

    Args:
        results: of the lab.

    Returns:
        The table.
    """
    rows = []
    for norm, label in NORMS.items():
        arm = f"net_{norm}"
        if norm == "none" or arm not in results.arms:
            continue
        values = [float(results.values(arm, column).mean()) for column in GRADIENTS]
        cells = [f"{values[0]:.1e}", *("-" if math.isnan(one) else f"{one:.3f}" for one in values[1:])]
        rows.append((label, *cells))
    below = "*Error: of the gradient of the norm's input, relative, against central differences. The "
    below += "others: cosine between the right gradient of the first weight and a wrong one.*"
    return markdown_table(("norm", *GRADIENTS.values()), rows, right=(1, 2, 3, 4), below=below)


def advice(gain: Interval, wider: float, deep: Interval, smallest: float) -> str:
    """Say when to use a norm.

    Args:
        gain: its accuracy minus that without a norm, points.
        wider: the factor of its usable rates, over that without a norm.
        deep: the gain in the deepest network.
        smallest: the smallest batch size with which it works.

    Returns:
        Some sentences.
    """
    words = [_compared(gain)]
    if wider >= WIDER:
        words.append(f"Easier to tune: its usable rates span {wider:.0f} times the factor.")
    if deep.low > LOST:
        words.append(f"Use it in deep networks: it gains {number(deep.estimate)} points there.")
    elif deep.low > 0:
        words.append("In deep networks it gains; whether 2 points is open.")
    else:
        words.append("No gain in deep networks is shown.")
    words.append(_batches(smallest))
    return " ".join(words)


def _compared(gain: Interval) -> str:
    if gain.low > MARGIN:
        return "More accurate here."
    if gain.high < -MARGIN:
        return "Less accurate here."
    if gain.low > -MARGIN and gain.high < MARGIN:
        return "As accurate as no norm here, to within half a point."
    if gain.low > 0:
        return "More accurate; whether by half a point is open."
    if gain.high < 0:
        return "Less accurate; whether by half a point is open."
    return "No difference in accuracy is shown, and one of half a point is not excluded."


def recommendations(results: Results) -> "Markdown":
    """The recommendations as a table.

    Args:
        results: of the lab.

    Returns:
        The table, or a sentence if the preset lacks arms or seeds.
    """
    needed = {f"{kind}_{norm}" for norm in NORMS for kind in ("net", f"deep_{DEPTHS[-1]}",
              *(f"rate_{rate}" for rate in RATES))}  # fmt: skip
    if not needed <= set(results.arms) or len(results.seeds("net_none")) < LEAST_SEEDS:
        return markdown(
            f"*Recommendations need all arms with {LEAST_SEEDS} seeds. The preset `full` runs them.*"
        )
    plain = _factor(results, "none")
    rows = [(NORMS["none"], "-", _span(results, "none"), "-", "-", "The reference.")]
    for norm in list(NORMS)[1:]:
        gain, deep = _gain(results, norm, "net"), _gain(results, norm, f"deep_{DEPTHS[-1]}")
        smallest = smallest_batch(results, norm)
        gains = [f"{number(one.estimate)} {interval_text(one)}" for one in (gain, deep)]
        text = advice(gain, _factor(results, norm) / plain, deep, smallest)
        rows.append(
            (
                NORMS[norm],
                gains[0],
                _span(results, norm),
                gains[1],
                "-" if math.isnan(smallest) else number(smallest),
                text,
            )
        )
    heads = ("norm", "gain, points", "usable rates", f"gain in {DEPTHS[-1]} layers", "smallest batch",
             "recommendation")  # fmt: skip
    below = "*Gain: accuracy minus that without a norm, each at its own rate. A rate at an end of those that "
    below += "were tried has ≤ or ≥: the window may be wider.*"
    return markdown_table(heads, rows, right=(1, 2, 3, 4), below=below)


def _gain(results: Results, norm: str, kind: str) -> Interval:
    mine, plain = results.pairs(f"{kind}_{norm}", f"{kind}_none", "accuracy")
    return mean_interval(mine - plain)


def _factor(results: Results, norm: str) -> float:
    low, high = usable_rates(results, norm)
    return high / low


def _span(results: Results, norm: str) -> str:
    low, high = usable_rates(results, norm)
    first, last = "≤ " * (low == RATES[0]), "≥ " * (high == RATES[-1])
    return f"{first}{low:g} to {last}{high:g}"
