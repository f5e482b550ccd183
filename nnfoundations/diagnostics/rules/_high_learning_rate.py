"""The rule about updates that are too large.

A large update alone is not a fault: a small regression or a layer-local loss trains well with updates of half
the weights. So the rule also needs harm that the loss shows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import Array, History
from nnfoundations.diagnostics.rules._rule import (
    TENDENCY,
    Rule,
    changed_rate,
    clearly_above,
    kept_norm,
    largest_update,
    learning_rate,
    median,
    shown_rate,
    smooth,
    stuck,
    t_of_slope,
    update_ratios,
    with_momentum,
)
from nnfoundations.diagnostics.rules._several_optimizers import OneOfSeveral, one_of_several, optimizers

__all__ = ["LearningRateTooHigh"]


class _Start(NamedTuple):
    """What the first steps of a run show: `momentum` is the share of its later size that the update has."""

    step: int
    ratio: float
    momentum: float
    worst: str
    rate: float
    harm: str


class _Jump(NamedTuple):
    """What a lasting jump of the loss in mid-run shows."""

    step: int
    best: float
    level: float
    ratio: float
    rate: float
    rate_before: float


@dataclass(frozen=True)
class LearningRateTooHigh(Rule):
    """The updates are so large that the loss jumps and stays high, or that units die."""

    fault, family, needs = "learning-rate-too-high", Family.LEARNING_RATE, ("update_ratio", "loss")
    explains = (
        "learning-rate-too-low",
        "stopped-too-early",
        Family.GRADIENTS,
        Family.UNITS,
        Family.NON_FINITE,
        Family.GENERALIZATION,
    )
    early_update: float = 0.2  # update / weight in the first 20 steps; such large ones also need harm
    late_update: float = 0.05  # the same before a jump in mid-run; on healthy Fashion-MNIST up to 0.031
    wait: int = 7  # losses needed first, because batches differ; wine, diabetes
    loss_rise: float = 1.1  # most of the first 12 losses over the first one; healthy diabetes: up to 1.1
    samples: int = 8  # a smaller first batch may have a low loss by chance; breast cancer, digits
    dead_share: float = 0.8  # units of a layer that died after such updates; diabetes, digits
    kept_norm: float = 0.5  # weights that keep less of their norm are erased by weight decay; digits
    suggested_update: float = 0.02  # update / weight of the suggested rate; trains in every case on digits
    lasting_steps: int = 16  # losses that must stay above twice the best one, and not fall; a judgement
    lost_factor: float = 10.0  # or stay this often above the first one; digits: 3.2 in a run that recovers

    growth: float = 3.0  # of a matrix in 20 steps, with several optimizers; GANs on digits: 1.3, faulty 5.1
    gain: float = 2.0  # gain of a typical matrix after that growth; a judgement

    def not_run(self, history: History) -> str:
        if optimizers(history) < 2:
            return super().not_run(history)
        needs = (TENDENCY, "update_ratio", "weight_norm")  # no single loss tells whether a GAN learns
        return next((history.unavailable[name] for name in needs if name in history.unavailable), "")

    def judge(self, history: History) -> Suspicion | None:
        if optimizers(history) > 1:
            seen = one_of_several(history, self.early_update, self.growth, self.gain)
            return None if seen is None else self._about_one(seen)
        if (start := self._start(history)) is not None:
            return self._about_start(start)
        if (later := self._later(history)) is not None:
            return self._about_jump(later)
        return None

    # -- in the first steps ------------------------------------------------------------------------------

    def _start(self, history: History) -> _Start | None:
        updates, losses = history["update_ratio"], history["loss"]
        if len(losses) < self.wait and np.isfinite(losses.rows).all():
            return None
        early = updates.between(updates.steps[0], updates.steps[0] + 20)
        if early.steps[0] > 5 or history.settings.get("resumed"):
            return None  # the start was not seen
        if not stuck(history) and not self._died(history):
            return None  # the run learns anyway: decides almost every case, without the ratios
        ratios, chosen = update_ratios(history, early.rows)
        each = np.array([median(row) for row in ratios])
        if not (each > self.early_update).any() or kept_norm(history) < self.kept_norm:
            return None
        peak = float(np.nanmax(each))
        if not (harm := self._harm(history)):
            return None
        # The first of the largest ratios: later ones show the damage, not the learning rate.
        at = int(np.argmax(each > min(self.early_update, peak / 2)))
        worst = updates.columns[chosen[int(np.argmax(np.nan_to_num(ratios, nan=0.0).max(0)))]]
        rate = learning_rate(history, early.steps[at])
        first, momentum = int(early.steps[0]), with_momentum(history, int(early.steps[at]))
        return _Start(first, float(each[at]), momentum, worst, rate, harm)

    def _harm(self, history: History) -> str:
        """Say what updates of this size have done; empty if they did no harm."""
        if (level := self._risen(history)) == level and stuck(history):
            reached = f"{level:.3g}" if np.isfinite(level) else "NaN or infinity"
            return f"the loss rises from {history['loss'].rows[0, 0]:.3g} to {reached}"
        layer = self._died(history)
        return f"most units of {layer} died" if layer else ""

    def _died(self, history: History) -> str:
        """Name a layer most of whose units responded at first and are dead now; empty if there is none."""
        dead, silent = history["dead_share"], history["silent_share"]
        if not len(dead) or not len(silent):
            return ""
        for name in dead.columns:
            if name in silent.columns and silent.column(name)[0] < self.dead_share <= dead.column(name)[-1]:
                return history.layers[name].owner
        return ""

    def _risen(self, history: History) -> float:
        """Return the loss that most of the first 12 losses exceed, if it has risen; otherwise NaN."""
        losses, baseline = history["loss"], history.loss.baseline
        first, start = float(losses.rows[0, 0]), int(losses.steps[0])
        early = losses.between(start + 2, start + 12).rows[:, 0]
        # A loss that starts near 0 may rise by any factor without harm.
        reference = max(first, 0.5 * baseline) if baseline > 0 else first
        few = len(early) < self.wait and np.isfinite(early).all()
        if few or not reference > 0 or not self._same_in_each_batch(history):
            return float("nan")
        level = float(np.sort(np.nan_to_num(early, nan=np.inf, posinf=np.inf))[len(early) // 4])
        return level if level > self.loss_rise * reference else float("nan")

    def _same_in_each_batch(self, history: History) -> bool:
        """Return whether batches are large enough for the first losses to be compared."""
        data = history["input"]
        return not len(data) or float(data.column("samples")[0]) >= self.samples

    def _about_start(self, seen: _Start) -> Suspicion:
        share = self.suggested_update / seen.ratio * seen.momentum
        return self.suspect(
            seen.step,
            (seen.worst,),
            f"In the first steps each update changes the weights by {seen.ratio:.2g} times their size "
            f"(healthy updates: 0.001 to 0.02), and {seen.harm}.",
            f"The learning rate{shown_rate(seen.rate)} is too high for this network.",
            f"{changed_rate(seen.rate, share)}: updates are then {self.suggested_update:.2g} of the weights.",
            Severity.ERROR,
            update_ratio=seen.ratio,
            lr=seen.rate,
            suggested_lr=seen.rate * share,
        )

    def _about_one(self, seen: OneOfSeveral) -> Suspicion:
        share = self.suggested_update / seen.ratio
        return self.suspect(
            seen.step,
            (seen.worst,),
            f"Updates of optimizer {seen.optimizer} ({seen.kind}, which has {seen.worst}) change the weights "
            f"by {seen.ratio:.2g} times their size (healthy: 0.001 to 0.02). In 20 steps a "
            f"typical weight matrix became {seen.growth:.2g} times as large.",
            f"The learning rate{shown_rate(seen.rate)} of this optimizer is too high for its network.",
            f"{changed_rate(seen.rate, share)} in optimizer {seen.optimizer}, counted from 0.",
            Severity.ERROR,
            optimizer=seen.optimizer,
            update_ratio=seen.ratio,
            growth=seen.growth,
            lr=seen.rate,
            suggested_lr=seen.rate * share,
        )

    # -- later -------------------------------------------------------------------------------------------

    def _later(self, history: History) -> _Jump | None:
        """Detect a jump of the loss in mid-run after which it does not recover, if large updates made it."""
        losses = history["loss"]
        values = losses.rows[:, 0]
        values = values[: int(np.argmin(np.append(np.isfinite(values), False)))]  # up to the first NaN
        if len(values) < 30:
            return None
        diverges = len(values) < len(losses) and self._diverges(values)
        recent = values[-self.lasting_steps :]
        if not diverges and recent.min() <= clearly_above(float(values.min()), float(values[0])):
            return None  # a cheap lower bound of the level below
        best = float(np.convolve(values, np.ones(5) / 5, mode="valid").min())
        level = clearly_above(best, float(values[0]))
        falls = t_of_slope(np.log(recent) if (recent > 0).all() else recent) < -2
        recovers = not (recent > level).all() or (falls and recent.min() < self.lost_factor * abs(values[0]))
        if recovers and not diverges:
            return None
        above = values > level
        onset = len(values) - int(np.argmin(above[::-1])) if not above.all() else 0
        step = int(losses.steps[min(onset, len(values) - 1)])
        rate_step, rate, before = _rate_around(history, step)
        last = int(losses.steps[len(values) - 1]) if diverges else step
        ratio = largest_update(history, last - 50, last + 1)
        if not (rate > 3 * before or ratio > self.late_update):
            return None
        return _Jump(rate_step, best, smooth(values), ratio, rate, before)

    def _diverges(self, values: Array) -> bool:
        """Return whether the last losses before a NaN rise beyond all bounds."""
        last = values[-3:] / max(abs(values[0]), 1e-30)
        return bool(last.min() > self.lost_factor and last[-1] > self.lost_factor**2)

    def _about_jump(self, seen: _Jump) -> Suspicion:
        jumped = seen.rate > 3 * seen.rate_before
        share = seen.rate_before / seen.rate if jumped else 0.1
        updates = f" The updates before it are {seen.ratio:.2g} times the weights (healthy: 0.001 to 0.02)."
        return self.suspect(
            seen.step,
            (),
            f"At step {seen.step} the loss leaves its best value of {seen.best:.3g} and then stays near "
            f"{seen.level:.3g}.{updates if seen.ratio > self.late_update else ''}",
            f"The learning rate rose from {seen.rate_before:.3g} to {seen.rate:.3g} at that step."
            if jumped
            else f"The learning rate{shown_rate(seen.rate)} is too high for this stage of the training.",
            f"{changed_rate(seen.rate, share)}, and continue from a checkpoint before step {seen.step}.",
            Severity.ERROR,
            update_ratio=seen.ratio,
            lr=seen.rate,
            suggested_lr=seen.rate * share,
        )


def _rate_around(history: History, step: int) -> tuple[int, float, float]:
    """Return where the learning rate is largest around a step, its value there, and the value before."""
    before, near = learning_rate(history, step - 4), history["lr"].between(step - 3, step + 1)
    if not len(near):
        return step, learning_rate(history, step), before
    rates = np.fmax.reduce(near.rows, axis=1)
    at = int(np.argmax(np.nan_to_num(rates)))  # the loss shows a jump of the rate one step later
    return (int(near.steps[at]) if rates[at] > 3 * before else step), float(rates[at]), before
