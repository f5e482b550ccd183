"""The base class of all rules, and what several rules compute from a history.

A rule is a pure function of the history. Its thresholds are fields.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import Array, History

__all__ = [
    "SEEN",
    "Rule",
    "clearly_above",
    "gain",
    "learning_rate",
    "median",
    "smooth",
    "stuck",
    "trend",
    "weight_matrices",
]

SEEN = {
    "saturated_share": "bounded activation",
    "dead_share": "activation",
    "activation_std": "layer with weights",
    "stale_gradient": "backward pass",
    "validation_loss": "finite validation loss",
}
"""What must occur for a quantity to be measured, if its name does not say so."""


@dataclass(frozen=True)
class Rule(ABC):
    """Detect one fault in a history. Subclasses hold thresholds as fields, each with its source beside it.

    Class attributes: `fault` is the name of the fault, such as ``dead-units``. `family` is the name by which
    ``Diagnostics(families=...)`` selects it. `needs` lists the quantities that it requires. `at_once` means
    that one suspicion is sufficient evidence.
    """

    fault: ClassVar[str]
    family: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    at_once: ClassVar[bool] = False

    @abstractmethod
    def judge(self, history: History) -> Suspicion | None:
        """Decide whether the history shows the fault now.

        Called when one of `needs` has a new row, or a new event was recorded.

        Args:
            history: all measurements so far.

        Returns:
            The suspicion with its evidence, or None if the fault does not show.
        """

    def not_run(self, history: History) -> str:
        """Explain why this rule cannot run on a history.

        Args:
            history: all measurements so far.

        Returns:
            The reason as a phrase, or an empty string if the rule can run.
        """
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
        """Make a suspicion of this rule's fault.

        Args:
            onset: optimizer step at which the evidence begins.
            where: names of layers or parameters, the worst first.
            evidence: one sentence with the measured numbers and the healthy range.
            cause: one sentence that explains why this happens.
            remedy: what to change, in the user's own numbers.
            severity: severity of the fault as it shows now.
            numbers: the measurements behind the evidence, by name.

        Returns:
            The suspicion.
        """
        return Suspicion(self.fault, severity, int(onset), where, evidence, cause, remedy, dict(numbers))


def weight_matrices(history: History, columns: tuple[str, ...]) -> list[int]:
    """Find the weight matrices among the columns of a series, in the order of the forward pass.

    A matrix whose module was not seen to run (another module uses it, as in attention) keeps its place in
    the model.

    Args:
        history: the measurements of the run.
        columns: the columns of a series with one column per parameter.

    Returns:
        Their positions among the columns.
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
    """Return how far the least-squares line through the values rises from the first to the last."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    return float(x @ values / (x @ x)) * (len(values) - 1)


def gain(history: History, name: str) -> float:
    """Return how much a weight matrix amplifies inputs of unit size: RMS of its entries times sqrt(fan_in).

    It is computed at the first measurement, so for the initial weights; NaN if they were not measured. He
    initial values have a gain of sqrt(2), Xavier initial values about 1.
    """
    series, facts = history["weight_norm"], history.parameters.get(name)
    if facts is None or name not in series.columns:
        return float("nan")
    entries = float(np.prod(facts.shape))
    return float(series.column(name)[0]) * math.sqrt(facts.fan_in / entries)


def smooth(values: Array, n: int = 5) -> float:
    """Return the mean of the last n finite values."""
    finite = values[np.isfinite(values)]
    return float(finite[-n:].mean()) if len(finite) else float("nan")


def learning_rate(history: History, step: float = float("inf")) -> float:
    """Return the largest learning rate of any group at a step."""
    rates = history["lr"].between(0, step)
    return float(np.nanmax(rates.rows[-1])) if len(rates) else float("nan")


def stuck(history: History, share: float = 0.8) -> bool:
    """Return whether the loss has fallen by less than 1 - share of its first value, whatever its sign."""
    losses = history["loss"].rows[:, 0]
    if len(losses) < 2:
        return True
    first = float(losses[0])
    return not smooth(losses) < first - (1 - share) * abs(first)


def clearly_above(best: float, first: float) -> float:
    """Return the level above which a loss counts as worse than its best.

    The margin is the best loss itself, or a tenth of the progress made if that is larger. So a loss that is
    shifted by a constant, as likelihoods may be, does not exceed its own level through noise.
    """
    return best + max(abs(best), 0.1 * abs(first - best))
