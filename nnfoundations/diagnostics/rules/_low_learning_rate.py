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
    stuck,
    t_of_slope,
    update_ratios,
    weight_matrices,
)

__all__ = ["LearningRateTooLow"]


@dataclass(frozen=True)
class LearningRateTooLow(Rule):
    """The updates are so small that the loss does not change, although they share one direction."""

    fault, family = "learning-rate-too-low", Family.LEARNING_RATE
    needs = ("update_ratio", "gradient_cosine", "loss")
    explains = ("no-learning", "overfitting")
    ratio: float = 1e-5  # median update / weight; healthy digits lie above 1.4e-5
    cosine: float = 0.6  # cosine of successive gradients, with the ratio; healthy digits alone reach 0.71
    still: float = 2e-6  # update / weight of the whole run below which the net has not moved; diabetes, wine
    window: int = 60  # losses over which it must not change; a judgement
    slope: float = 4.0  # largest |t| of the slope of the loss over them; a judgement
    target: float = 3e-3  # update / weight of the suggested rate; on digits 1e-3 was too small
    most: float = 10.0  # largest rate that is suggested; a judgement

    def judge(self, history: History) -> Suspicion | None:
        losses = history["loss"].rows[:, 0]
        if len(losses) < self.window or abs(t_of_slope(losses[-self.window :])) >= self.slope:
            return None
        updates, cosines = (
            history["update_ratio"].between(10).last(10),
            history["gradient_cosine"].between(10),
        )
        if not len(updates) or not len(cosines) or self._changing(history):
            return None
        ratio = median(update_ratios(history, updates.rows)[0])
        cosine = median(cosines.last(20).rows[:, weight_matrices(history, cosines.columns)])
        if not 0 < ratio < self.ratio or not (self._unmoved(history, cosine) or self._flat(history, cosine)):
            return None
        return self._about(int(updates.steps[0]), learning_rate(history), ratio, cosine)

    def _unmoved(self, history: History, cosine: float) -> bool:
        """Return whether the net has a gradient and has not moved since the start."""
        ratios, _ = update_ratios(history, history["update_ratio"].rows)
        return cosine == cosine and max(median(row) for row in ratios) < self.still

    def _flat(self, history: History, cosine: float) -> bool:
        """Return whether gradients agree while the loss stays. On full batches they always agree."""
        return cosine > self.cosine and history.settings.get("steps_per_epoch") != 1 and stuck(history, 0.9)

    def _changing(self, history: History) -> bool:
        """Return whether the rate was annealed, or is still warming up."""
        rates = history["lr"]
        if not len(rates):
            return False
        rate, then = learning_rate(history), learning_rate(history, history["loss"].steps[-self.window])
        return not rate > 0.01 * float(np.nanmax(rates.rows)) or then < 0.5 * rate

    def _about(self, step: int, rate: float, ratio: float, cosine: float) -> Suspicion:
        share = self.target / ratio
        if rate > 0:
            share = min(share, max(self.most / rate, 1.0))
        direction = f", mostly in the same direction (cosine {cosine:.2f})" if cosine > self.cosine else ""
        return self.suspect(
            step,
            (),
            f"Each update changes the weights by {ratio:.1e} times their size (healthy: about 0.001)"
            f"{direction}, and the loss has not changed for {self.window} steps.",
            f"The learning rate{shown_rate(rate)} is too low for this network.",
            f"{changed_rate(rate, share)}: each update is then {ratio * share:.1g} of the weights.",
            Severity.WARNING,
            update_ratio=ratio,
            cosine=cosine,
            lr=rate,
            suggested_lr=rate * share,
        )
