"""The base class of all rules, and what several rules compute from a history.

A rule is a pure function of the history. Its thresholds are fields.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import Array, History
from nnfoundations.diagnostics._quantities import FACTS, QUANTITIES

__all__ = [
    "SHORT",
    "STEPS",
    "TENDENCY",
    "UNLEARNED",
    "Rule",
    "changed_rate",
    "clearly_above",
    "constant_loss",
    "gain",
    "kept_norm",
    "largest_update",
    "learning_rate",
    "median",
    "movement",
    "shown_rate",
    "smooth",
    "stuck",
    "t_of_slope",
    "trend",
    "update_ratios",
    "weight_matrices",
    "with_momentum",
    "without_gradient",
]

SHORT = 20
"""Number of steps below which only exact facts are reported."""

STEPS = (Family.LEARNING_RATE, Family.GRADIENTS, Family.UNITS)
"""Families of what a bad start does to the steps that follow."""

UNLEARNED = ("labels-unrelated-to-inputs", "noisy-labels")
"""Faults of labels that a network resembles which cannot learn, for whatever reason."""

TENDENCY = "tendency"
"""Key of `History.unavailable` for tendencies: faults that are not exact facts."""


@dataclass(frozen=True)
class Rule(ABC):
    """Detect one fault in a history. A subclass is the whole declaration of a fault.

    Its class attributes say everything that other parts need to know. Limits are fields, each with its
    source beside it.

    Attributes:
        fault: name of the fault, such as ``dead-units``.
        family: what the fault is about, such as ``units``. The families have a causal order, see `Family`.
        needs: the quantities that the rule requires. Without one of them it is listed as not run.
        explains: the faults that this one causes, or whole families of them. They are listed as its
            consequences, not as separate findings.
        exact: whether the fault is a fact that the rule itself proves, not a tendency. Only such faults are
            reported in runs of fewer than 20 steps, and `action` follows at once.
        confirmations: how many of five measurements must show the fault.

    Example:
        >>> from dataclasses import dataclass
        >>> from nnfoundations.diagnostics import History, Rule, diagnose
        >>> @dataclass(frozen=True)
        ... class HighLoss(Rule):
        ...     fault, family, needs = "high-loss", "loss", ("loss",)
        ...     limit: float = 100.0
        ...
        ...     def judge(self, history):
        ...         losses = history["loss"]
        ...         if losses.rows[-1, 0] < self.limit:
        ...             return None
        ...         evidence = f"The loss is {losses.rows[-1, 0]:.3g}."
        ...         return self.suspect(losses.steps[-1], (), evidence, "Why.", "What to change.")
        >>> history = History()
        >>> history.record("loss", 0, ("loss",), [1000.0])
        >>> diagnose(history, rules=[HighLoss()])[0].fault
        'high-loss'
    """

    fault: ClassVar[str]
    family: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    explains: ClassVar[tuple[str, ...]] = ()
    exact: ClassVar[bool] = False
    confirmations: ClassVar[int] = 1

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
        for quantity in self.needs if self.exact else (TENDENCY, *self.needs):
            if quantity in history.unavailable:
                return history.unavailable[quantity]
        series = [quantity for quantity in self.needs if quantity not in FACTS]
        missing = next((quantity for quantity in series if not len(history[quantity])), "")
        known = QUANTITIES.get(missing)
        return f"no {(known and known.seen) or missing.replace('_', ' ')} was seen" if missing else ""

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
            numbers: the measurements behind the evidence, by name. Those that are not finite are left out.

        Returns:
            The suspicion.
        """
        known = {name: value for name, value in numbers.items() if math.isfinite(value)}
        return Suspicion(self.fault, severity, int(onset), where, evidence, cause, remedy, known)


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
    recent = values[-2 * n :]  # nearly always enough, and much cheaper
    finite = recent[np.isfinite(recent)]
    if len(finite) < n:
        finite = values[np.isfinite(values)]
    return float(finite[-n:].mean()) if len(finite) else float("nan")


def learning_rate(history: History, step: float = float("inf")) -> float:
    """Return the largest learning rate of any group at a step; NaN if it is unknown."""
    rates = history["lr"].between(0, step)
    return float(np.fmax.reduce(rates.rows[-1])) if len(rates) else float("nan")  # NaN only if all are


def stuck(history: History, share: float = 0.8) -> bool:
    """Return whether the loss has fallen by less than 1 - share of its first value, whatever its sign."""
    losses = history["loss"].rows[:, 0]
    if len(losses) < 2:
        return True
    first = float(losses[0])
    return not smooth(losses) < first - (1 - share) * abs(first)


def kept_norm(history: History) -> float:
    """Return the share of its first norm that a typical weight matrix has now; strong decay erases it."""
    weights = history["weight_norm"]
    if not len(weights):
        return float("nan")
    chosen = weight_matrices(history, weights.columns)
    return median(weights.rows[-1][chosen] / weights.rows[0][chosen])


def without_gradient(history: History) -> int:
    """Return at how many of the last measurements in a row every gradient was exactly 0."""
    rows = history["gradient_norm"].rows
    if not len(rows) or (rows[-1] > 0).any():
        return 0
    zero = np.atleast_1d(np.isfinite(rows).any(1) & ~(rows > 0).any(1))
    return int(np.argmin(zero[::-1])) if not zero.all() else len(zero)


def clearly_above(best: float, first: float) -> float:
    """Return the level above which a loss counts as worse than its best.

    The margin is the best loss itself, or a tenth of the progress made if that is larger. So a loss that is
    shifted by a constant, as likelihoods may be, does not exceed its own level through noise.
    """
    return best + max(abs(best), 0.1 * abs(first - best))


def t_of_slope(y: Array) -> float:
    """Divide the slope of a straight line through y by its standard error."""
    x = np.arange(len(y)) - (len(y) - 1) / 2
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = (float(rest @ rest) / (len(y) - 2) / float(x @ x)) ** 0.5
    return slope / error if error > 0 else float("inf") * np.sign(slope) if slope else 0.0


def update_ratios(history: History, rows: Array) -> tuple[Array, list[int]]:
    """Return the update ratios of the weight matrices that do not start at zero, and their columns."""
    columns = history["update_ratio"].columns
    chosen = [i for i in weight_matrices(history, columns) if not gain(history, columns[i]) <= 1e-6]
    ratios = rows[:, chosen]
    return np.where(np.isfinite(ratios), ratios, np.nan), chosen


def constant_loss(history: History) -> float:
    """Return the loss of the best constant prediction, known from some of the targets; NaN if unknown."""
    rows = history["constant_loss"].rows
    if not len(rows):
        return float("nan")
    terms = history.loss.terms
    sums = [math.prod(term.target.shape) for term in terms if term.summed and term.target is not None]
    return float(rows[-1, 0]) * (sums[0] if sums else 1)


def largest_update(history: History, first: float, last: float) -> float:
    """Return the largest median update ratio of the last measurements in a range of steps; NaN if unknown."""
    ratios, _ = update_ratios(history, history["update_ratio"].between(first, last).last(6).rows)
    return max((median(row) for row in ratios), default=float("nan"))


def movement(history: History) -> float:
    """Return all updates of the run so far added up, as a share of the weights of a typical matrix."""
    updates = history["update_ratio"]
    ratios, _ = update_ratios(history, updates.rows)
    return float(np.nansum(np.diff(updates.steps) * [median(row) for row in ratios[1:]]))


def with_momentum(history: History, step: int) -> float:
    """Return the share of its later size that an update has at a step of the first ones: momentum adds up."""
    momenta = [group.momentum for group in history.groups if not group.adaptive and group.momentum < 1]
    return 1 - max(momenta, default=0.0) ** (step + 1)


def shown_rate(rate: float) -> str:
    """Return a learning rate for a sentence; nothing if it is unknown, as on a device."""
    return f" {rate:.3g}" if rate > 0 else ""


def changed_rate(rate: float, share: float) -> str:
    """Say by how much to change the learning rate."""
    if rate > 0:
        return f"Set lr={rate * share:.2g} (now {rate:.3g})"
    return f"Multiply the learning rate by {share:.1g}"
