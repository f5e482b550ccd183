"""What a rule is: a pure function of the history, with its thresholds as fields."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import Array, History

SEEN = {
    "saturated_share": "bounded activation",
    "dead_share": "activation",
    "activation_std": "layer with weights",
    "stale_gradient": "backward pass",
}
"""What must be seen for a quantity to be measured, where its name does not say it."""


@dataclass(frozen=True)
class Rule(ABC):
    """Judge a history. Subclasses hold thresholds as fields, each with its source beside it.

    `fault` is the catalogue's id, `family` what `Diagnostics(families=...)` chooses by, `needs` the
    quantities without which it does not run, and `at_once` says that one look is enough.
    """

    fault: ClassVar[str]
    family: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    at_once: ClassVar[bool] = False

    @abstractmethod
    def judge(self, history: History) -> Suspicion | None:
        """Is the fault there now? Called when one of `needs` has a new row."""

    def not_run(self, history: History) -> str:
        """Why this rule cannot be judged, empty where it can."""
        for quantity in self.needs:
            if quantity in history.unavailable:
                return history.unavailable[quantity]
        missing = [quantity for quantity in self.needs if not len(history[quantity])]
        return f"no {SEEN.get(missing[0], missing[0].replace('_', ' '))} was seen" if missing else ""

    def suspect(
        self,
        onset: float,
        where: tuple[str, ...],
        evidence: str,
        cause: str,
        remedy: str,
        severity: Severity = Severity.WARNING,
        **numbers: float,
    ) -> Suspicion:
        return Suspicion(self.fault, severity, int(onset), where, evidence, cause, remedy, dict(numbers))


def matrices(history: History, columns: tuple[str, ...]) -> list[int]:
    """Positions of the weight matrices among the columns, in the order of the forward pass.

    One whose module was not seen to run (another uses it, as in attention) keeps its place in the model.
    """
    order = {name: i for i, name in enumerate(history.layers)}
    chosen, at = [], -1
    for i, name in enumerate(columns):
        facts = history.parameters.get(name)
        if facts is None:
            continue
        at = order.get(facts.module, at)
        if facts.kind == "matrix" and facts.trainable:
            chosen.append((at, i))
    return [i for _, i in sorted(chosen)]


def median(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def trend(values: Array) -> float:
    """How far the least-squares line through the values rises from the first to the last of them."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    return float(x @ values / (x @ x)) * (len(values) - 1)


def gain(history: History, name: str) -> float:
    """By what factor a weight matrix stretches inputs of unit size: RMS of its entries times sqrt(fan_in).

    At the first look, that is of the initial weights; NaN where they were not seen. He initial values have
    sqrt(2), Xavier's about 1.
    """
    series, facts = history["weight_norm"], history.parameters.get(name)
    if facts is None or name not in series.columns:
        return float("nan")
    entries = float(np.prod(facts.shape))
    return float(series.column(name)[0]) * math.sqrt(facts.fan_in / entries)


def smooth(values: Array, n: int = 5) -> float:
    """The mean of the last n finite values."""
    finite = values[np.isfinite(values)]
    return float(finite[-n:].mean()) if len(finite) else float("nan")


def learning_rate(history: History, step: float = float("inf")) -> float:
    """The largest rate of any group at a step."""
    rates = history["lr"].between(0, step)
    return float(np.nanmax(rates.rows[-1])) if len(rates) else float("nan")


def stuck(history: History, share: float = 0.8) -> bool:
    """Has the loss not fallen by 1 - share of what it was at the start? For losses below 0 too."""
    losses = history["loss"].rows[:, 0]
    if len(losses) < 2:
        return True
    first = float(losses[0])
    return not smooth(losses) < first - (1 - share) * abs(first)


def clearly_above(best: float, first: float) -> float:
    """The level from which a loss counts as worse than its best: twice it, and a tenth of the way come.

    Shifted by a constant, as likelihoods may be, a loss of a few noisy digits is not above itself.
    """
    return best + max(abs(best), 0.1 * abs(first - best))
