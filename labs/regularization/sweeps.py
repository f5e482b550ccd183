"""Reads the sweeps over strengths: which strength is best, and which ones cannot be told from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from nnfoundations.labs._runner.markdown import interval_text, markdown, markdown_table, number
from nnfoundations.labs._runner.results import LEAST_SEEDS, Results
from nnfoundations.labs._runner.statistics import mean_interval
from nnfoundations.labs.regularization.lab import DROPOUT, L1, L2, MAX_NORM

if TYPE_CHECKING:
    from IPython.display import Markdown

__all__ = ["SWEEPS", "Sweep", "fit_of", "flat_region", "regions_table"]

Fit = Literal["under-fit", "best", "over-fit"]


@dataclass(frozen=True)
class Sweep:
    """A remedy at several strengths.

    Args:
        kind: the beginning of the names of its arms.
        symbol: of the strength.
        strengths: as in the names of its arms.
        log: whether the strengths are shown on a logarithmic axis.
    """

    kind: str
    symbol: str
    strengths: tuple[str, ...]
    log: bool

    @property
    def arms(self) -> list[str]:
        """The names of its arms."""
        return [f"{self.kind}_{strength}" for strength in self.strengths]


SWEEPS = (
    Sweep("l2", "L2, λ", L2, log=True),
    Sweep("l1", "L1, λ", L1, log=True),
    Sweep("dropout", "dropout, p", DROPOUT, log=False),
    Sweep("max_norm", "max-norm, c", MAX_NORM, log=False),
)


def flat_region(results: Results, arms: Sequence[str]) -> tuple[str, list[str]]:
    """Find the best arm of a sweep, and the arms that are not shown to be worse.

    Args:
        results: of the lab.
        arms: the arms of the sweep.

    Returns:
        The arm of the largest mean validation accuracy. And all arms, in the order of the sweep, whose paired
        difference from it has a 95 % interval that reaches 0; below five seeds nothing is ranked, and there
        are none.
    """
    means = {arm: float(results.values(arm, "accuracy").mean()) for arm in arms}
    best = max(arms, key=lambda arm: np.nan_to_num(means[arm], nan=-np.inf))  # NaN: a run failed
    flat = []
    for arm in arms:
        first, second = results.pairs(arm, best, "accuracy")
        if len(first) >= LEAST_SEEDS and (arm == best or mean_interval(first - second).high >= 0):
            flat.append(arm)
    return best, flat


def fit_of(results: Results, arm: str, others: Sequence[str]) -> Fit:
    """Judge the fit of an arm among others, by the means of the losses of the last epoch.

    Args:
        results: of the lab.
        arm: one of the others.
        others: the arms of the comparison.

    Returns:
        `best` for the smallest validation loss. Another arm is `under-fit` if its training loss is larger
        than that of the best, and `over-fit` if it is smaller.
    """

    def loss(name: str, column: str) -> float:
        return float(results.values(name, column).mean())

    best = min(others, key=lambda name: loss(name, "loss"))
    if arm == best:
        return "best"
    return "under-fit" if loss(arm, "fit_loss") > loss(best, "fit_loss") else "over-fit"


def regions_table(results: Results) -> "Markdown":
    """The best strength of each sweep, its flat region, and its mean gain with a 95 % interval.

    Args:
        results: of the lab.

    Returns:
        The table, or a sentence if the preset does not run all arms or has too few seeds.
    """
    if not {arm for sweep in SWEEPS for arm in sweep.arms} <= set(results.arms):
        return markdown("*This table needs arms that the preset does not run. The preset `full` runs them.*")
    rows = []
    for sweep in SWEEPS:
        best, flat = flat_region(results, sweep.arms)
        if not flat:
            return markdown(f"Nothing is ranked below {LEAST_SEEDS} seeds.")
        first, second = results.pairs(best, "none", "accuracy")
        gain = mean_interval(first - second)
        names = ", ".join(arm.rpartition("_")[2] for arm in flat)
        cells = number(gain.estimate), interval_text(gain)
        rows.append((sweep.symbol, best.rpartition("_")[2], names, *cells))
    heads = ("remedy", "best strength", "flat region", "gain over none, points", "95 % interval")
    return markdown_table(heads, rows, right=(3, 4))
