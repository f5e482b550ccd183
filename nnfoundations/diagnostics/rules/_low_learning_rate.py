"""The rule about updates that are too small."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import (
    Rule,
    changed_rate,
    learning_rate,
    median,
    shown_rate,
    t_of_slope,
    update_ratios,
)

__all__ = ["LearningRateTooLow"]


@dataclass(frozen=True)
class LearningRateTooLow(Rule):
    """The updates are so small that the weights have hardly moved, and the loss does not change."""

    fault, family = "learning-rate-too-low", Family.LEARNING_RATE
    needs = ("update_ratio", "loss")
    explains = ("no-learning", "overfitting")
    largest_update: float = 5e-6  # update / weight of the whole run; healthy digits have more than 1.4e-5
    window: int = 60  # losses over which it must not change; a judgement
    slope: float = 4.0  # largest |t| of the slope of the loss over them; a judgement
    suggested_update: float = 3e-3  # update / weight of the suggested rate; on digits 1e-3 was too small
    suggested_rate: float = 10.0  # largest rate that is suggested; a judgement

    def judge(self, history: History) -> Suspicion | None:
        updates, losses = history["update_ratio"], history["loss"].rows[:, 0]
        if not len(updates) or not (updates.rows[-1] < self.largest_update).any():
            return None  # decides almost every case at little cost
        if len(losses) < self.window or abs(t_of_slope(losses[-self.window :])) >= self.slope:
            return None
        if self._changing(history):
            return None
        each = [median(row) for row in update_ratios(history, updates.rows)[0]]
        ratio = median(np.array(each[-10:]))
        if not ratio > 0 or not max(each) < self.largest_update:
            return None
        return self._about(int(updates.steps[0]), learning_rate(history), ratio)

    def _changing(self, history: History) -> bool:
        """Return whether the rate was annealed, or is still warming up."""
        rates = history["lr"]
        if not len(rates):
            return False
        rate, then = learning_rate(history), learning_rate(history, history["loss"].steps[-self.window])
        return not rate > 0.01 * float(np.nanmax(rates.rows)) or then < 0.5 * rate

    def _about(self, step: int, rate: float, ratio: float) -> Suspicion:
        share = self.suggested_update / ratio
        if rate * share > self.suggested_rate:
            return self._about_gradient(step, rate, ratio)
        return self.suspect(
            step,
            (),
            f"Each update changes the weights by {ratio:.1e} times their size (healthy: 0.001 to 0.02), "
            f"and the loss has not changed for {self.window} steps.",
            f"The learning rate{shown_rate(rate)} is too low for this network.",
            f"{changed_rate(rate, share)}: each update is then {ratio * share:.1g} of the weights.",
            Severity.WARNING,
            update_ratio=ratio,
            lr=rate,
            suggested_lr=rate * share,
        )

    def _about_gradient(self, step: int, rate: float, ratio: float) -> Suspicion:
        """Say that no sensible rate is large enough, so the fault is the size of the gradient."""
        return self.suspect(
            step,
            (),
            f"Each update changes the weights by {ratio:.1e} times their size (healthy: 0.001 to 0.02), "
            f"and the loss has not changed for {self.window} steps.",
            f"The gradient is too small for the learning rate{shown_rate(rate)}, and for any usual one.",
            "Find what shrinks the gradient: clipping, a factor or a sum of many terms in the loss, or many "
            "layers with a bounded activation.",
            Severity.WARNING,
            update_ratio=ratio,
            lr=rate,
        )
