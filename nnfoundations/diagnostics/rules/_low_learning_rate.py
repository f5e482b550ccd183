"""The rule about updates that are too small."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import Array, History
from nnfoundations.diagnostics.rules._rule import (
    Rule,
    changed_rate,
    constant_loss,
    learning_rate,
    median,
    movement,
    shown_rate,
    smooth,
    t_of_slope,
    trend,
    update_ratios,
)

__all__ = ["LearningRateTooLow"]

ABSOLUTE = 0.8
"""Mean absolute distance from the median over the standard deviation; 0.80 for a normal distribution."""


class _Slow(NamedTuple):
    """Updates of a typical matrix and of the one that moves most, and what the loss does in words."""

    step: int
    rate: float
    ratio: float
    largest: float
    harm: str


@dataclass(frozen=True)
class LearningRateTooLow(Rule):
    """The updates are so small that the weights have hardly moved, and nothing is learned."""

    fault, family = "learning-rate-too-low", Family.LEARNING_RATE
    needs = ("update_ratio", "loss")
    explains = ("no-learning", "overfitting", "stopped-too-early")
    largest_update: float = 5e-6  # update / weight of the whole run; healthy digits have more than 1.4e-5
    window: int = 60  # losses over which it must not change; a judgement
    slope: float = 4.0  # largest |t| of the slope of the loss over them; a judgement
    trend: float = 0.01  # or largest change over them, as a share of the loss, if it has no noise
    small_update: float = 5e-4  # update / weight of a run that may also be too slow; healthy: 1e-3 and more
    movement: float = 0.5  # updates of the whole run added up, as a share of the weights; a judgement
    level: float = 0.9  # loss over that of the best constant prediction, which such a run must not beat
    share: float = 0.4  # share of the run after which it is judged; a plateau at the start may end
    wait: int = 300  # losses needed; the same if the length of the run is unknown
    suggested_update: float = 0.01  # of the matrix that moves most; trains 10 nets with 4 optimizers
    suggested_rate: float = 10.0  # largest rate that is suggested; a judgement

    def judge(self, history: History) -> Suspicion | None:
        updates, losses = history["update_ratio"], history["loss"].rows[:, 0]
        if not len(updates) or not (updates.rows[-1] < self.small_update).any():
            return None  # decides almost every case at little cost
        still = bool((updates.rows[-1] < self.largest_update).any()) and self._still(losses)
        slow = self._slow(history)
        if not (still or slow) or self._changing(history):
            return None
        ratios, _ = update_ratios(history, updates.rows)
        each = np.array([median(row) for row in ratios])
        if still and np.nanmax(each) < self.largest_update:
            harm = f"the loss has not changed for {self.window} steps"
        elif slow and np.nanmax(each) < self.small_update and self._moves_little(history, each):
            harm = slow
        else:
            return None
        ratio = median(each[-10:])
        if not ratio > 0:
            return None
        largest = max(median(column) for column in ratios[-10:].T)
        seen = _Slow(int(updates.steps[0]), learning_rate(history), ratio, largest, harm)
        return self._about(seen, _highest(history))

    def _still(self, losses: Array) -> bool:
        """Return whether the loss does not change; without noise, as of a full batch, by its trend alone."""
        if len(losses) < self.window:
            return False
        recent = losses[-self.window :]
        return bool(
            abs(t_of_slope(recent)) < self.slope or abs(trend(recent)) < self.trend * abs(recent.mean())
        )

    def _slow(self, history: History) -> str:
        """Say that a good part of the run has learned nothing; empty if that is not so."""
        losses = history["loss"]
        total = history.settings.get("total_steps", 0.0)
        if len(losses) < self.wait or losses.steps[-1] < self.share * total:
            return ""
        now, level = smooth(losses.rows[:, 0], 20), _constant(history)
        if not now > self.level * level:
            return ""
        step = int(losses.steps[-1])
        return f"after {step} steps the loss of {now:.3g} is near that of a constant prediction ({level:.3g})"

    def _moves_little(self, history: History, each: Array) -> bool:
        """Return whether all updates of the whole run together cannot change the weights much."""
        last = float(history["update_ratio"].steps[-1])
        left = max(history.settings.get("total_steps", 0.0) - last, 0.0)
        return movement(history) + left * median(each[-10:]) < self.movement

    def _changing(self, history: History) -> bool:
        """Return whether the rate was annealed, or is still warming up."""
        rates = history["lr"]
        if not len(rates):
            return False
        rate, then = learning_rate(history), learning_rate(history, history["loss"].steps[-self.window])
        return not rate > 0.01 * float(np.nanmax(rates.rows)) or then < 0.5 * rate

    def _about(self, seen: _Slow, highest: float) -> Suspicion:
        share = self.suggested_update / seen.largest
        evidence = (
            f"Each update changes the weights by {seen.ratio:.1e} times their size (healthy: 0.001 to 0.02), "
            f"and {seen.harm}."
        )
        if seen.rate * share > self.suggested_rate:
            return self.suspect(
                seen.step,
                (),
                evidence,
                f"The gradient is too small for the learning rate{shown_rate(seen.rate)}, and for any usual "
                "one.",
                "Find what shrinks the gradient: clipping, a factor or a sum of many terms in the loss, or "
                "many layers with a bounded activation.",
                Severity.WARNING,
                update_ratio=seen.ratio,
                lr=seen.rate,
            )
        otherwise = ""
        if seen.rate * share > highest:
            share = highest / seen.rate
            otherwise = " If that is too slow, use Adam with lr=0.001."
        return self.suspect(
            seen.step,
            (),
            evidence,
            f"The learning rate{shown_rate(seen.rate)} is too low for this network.",
            f"{changed_rate(seen.rate, share)}: each update is then at most {seen.largest * share:.1g} of "
            f"any weight matrix.{otherwise}",
            Severity.WARNING,
            update_ratio=seen.ratio,
            lr=seen.rate,
            suggested_lr=seen.rate * share,
        )


def _constant(history: History) -> float:
    """Return the loss of the best constant prediction, estimated for absolute errors; NaN if unknown."""
    terms, known = history.loss.terms, constant_loss(history)
    if known == known:
        return known
    if len(terms) == 1 and terms[0].kind == "absolute" and terms[0].target is not None:
        return ABSOLUTE * terms[0].target.spread
    return float("nan")


def _highest(history: History) -> float:
    """Return the highest rate to suggest. Where the gradient is small, only a higher rate seems to fit.

    Eight layers with torch's own initial values train with SGD at 0.2 to 0.4 and not at 0.54, and with a
    momentum of 0.9 at 0.02 and not at 0.06.
    """
    if not history.groups:
        return float("inf")
    group = history.groups[0]
    return 0.01 if group.adaptive else 0.2 * (1 - min(group.momentum, 0.99))
