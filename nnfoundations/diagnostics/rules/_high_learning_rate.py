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
    Rule,
    changed_rate,
    clearly_above,
    kept_norm,
    learning_rate,
    median,
    shown_rate,
    smooth,
    stuck,
    t_of_slope,
    update_ratios,
)

__all__ = ["LearningRateTooHigh"]


class _Start(NamedTuple):
    """What the first steps of a run show, and the harm in words."""

    step: int
    ratio: float
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
    """The updates are so large that the loss jumps and stays high, or does not fall."""

    fault, family, needs = "learning-rate-too-high", Family.LEARNING_RATE, ("update_ratio", "loss")
    explains = (
        "learning-rate-too-low",
        Family.GRADIENTS,
        Family.UNITS,
        Family.NON_FINITE,
        Family.GENERALIZATION,
    )
    large: float = 0.05  # update / weight; below it a jump has another cause: Fashion-MNIST reaches 0.031
    ruin: float = 0.2  # the same in the first 20 steps, if the loss then does not fall; digits, wine
    wait: int = 6  # losses needed first: a loss that falls at once shows a right rate; a judgement
    lasts: int = 60  # losses needed before a loss counts as not falling; a judgement
    jump: float = 2.5  # loss within 12 steps over the first loss; healthy digits reach 1.19
    huge: float = 0.35  # update / weight above which a smaller rise is harm; healthy digits reach 0.135
    rises: float = 1.1  # that rise; regressions, breast cancer and digits with such updates reach 0.9
    settled: int = 7  # losses needed for that rise, because batches differ; regressions
    samples: int = 8  # a smaller first batch may have a low loss by chance; breast cancer, digits
    dead: float = 0.8  # share of units of a layer that died after such updates; Fashion-MNIST, digits
    died: float = 0.2  # of which this share responded at first: a ReLU on one positive input starts half dead
    learned: float = 0.95  # loss over that of random guessing, below which the net learns; regressions
    shrunk: float = 0.5  # weights that lose this share of their norm are erased by weight decay; digits
    spike: float = 20.0  # gradient norm over the median of the norms before; a judgement
    target: float = 0.02  # update / weight of the suggested rate; it trained in every case tried on digits
    stays: int = 8  # steps for which the loss must stay above twice its best; a judgement
    lost: float = 10.0  # times the first loss: no recovery; on digits a spike that recovers reaches 5

    def judge(self, history: History) -> Suspicion | None:
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
            return None  # decides almost every case, without the ratios
        ratios, chosen = update_ratios(history, early.rows)
        each = np.array([median(row) for row in ratios])
        if not chosen or not (each > self.large).any() or kept_norm(history) < self.shrunk:
            return None
        peak = float(np.nanmax(each))
        if not (harm := self._harm(history, peak)):
            return None
        # The first of the largest ratios: later ones show the damage, not the learning rate.
        at = int(np.argmax(each > min(self.ruin, peak / 2)))
        worst = updates.columns[chosen[int(np.argmax(np.nan_to_num(ratios, nan=0.0).max(0)))]]
        rate = learning_rate(history, early.steps[at])
        return _Start(int(early.steps[0]), float(each[at]), worst, rate, harm)

    def _harm(self, history: History, peak: float) -> str:
        """Say what updates of this size have done; empty if they did no harm."""
        if peak > self.ruin and (layer := self._died(history)):
            return f"units of {layer} died"
        if not stuck(history):
            return ""  # the run learns anyway
        losses = history["loss"].rows[:, 0]
        if (level := self._jumped(history, peak)) == level:
            reached = f"{level:.3g}" if np.isfinite(level) else "NaN or infinity"
            return f"the loss rises from {losses[0]:.3g} to {reached}"
        if peak > self.ruin and self._not_falling(history):
            return f"the loss has not fallen in {len(losses)} steps"
        return ""

    def _died(self, history: History) -> str:
        """Name a layer most of whose units are dead now, many more than at first; empty if there is none."""
        dead, silent = history["dead_share"], history["silent_share"]
        both = set(dead.columns) & set(silent.columns) if len(dead) and len(silent) else set()
        for name in filter(both.__contains__, dead.columns):
            share = float(dead.column(name)[-1])
            if share >= self.dead and silent.column(name)[0] < share - self.died:
                return history.layers[name].owner
        return ""

    def _jumped(self, history: History, peak: float) -> float:
        """Return the loss that most of the first 12 losses exceed, if that is a jump; otherwise NaN."""
        factor = self.rises if peak > self.huge else self.jump
        losses, baseline = history["loss"], history.loss.baseline
        first, start = float(losses.rows[0, 0]), int(losses.steps[0])
        soon = losses.between(start + 2, start + 12).rows[:, 0]
        # A loss that starts near 0 may rise by any factor without harm.
        reference = max(first, 0.5 * baseline) if baseline > 0 else first
        few = 3 if factor == self.jump else self.settled
        if len(soon) < few or not reference > 0 or not self._same_in_each_batch(history):
            return float("nan")
        level = float(np.sort(np.nan_to_num(soon, nan=np.inf, posinf=np.inf))[len(soon) // 4])
        if not np.isfinite(level) and not peak > self.ruin:
            # NaN may come from a batch or a layer: it is a jump only if the loss rises before it.
            earlier = losses.between(start + 1, start + 12).rows
            if not earlier[np.isfinite(earlier)].max(initial=0.0) > factor * reference:
                return float("nan")
        return level if level > factor * reference else float("nan")

    def _same_in_each_batch(self, history: History) -> bool:
        """Return whether batches are large enough for the first losses to be compared."""
        data = history["input"]
        return not len(data) or float(data.column("samples")[0]) >= self.samples

    def _not_falling(self, history: History) -> bool:
        losses, baseline = history["loss"].rows[:, 0], history.loss.baseline
        if len(losses) < self.lasts or not stuck(history, 0.9):
            return False
        return not baseline > 0 or not smooth(losses, self.lasts // 2) < self.learned * baseline

    def _about_start(self, seen: _Start) -> Suspicion:
        share = min(self.target / seen.ratio, 1 / 3)
        return self.suspect(
            seen.step,
            (seen.worst,),
            f"In the first steps each update changes the weights by {seen.ratio:.2g} times their size "
            f"(healthy updates: 0.001 to 0.02), and {seen.harm}.",
            f"The learning rate{shown_rate(seen.rate)} is too high for this network.",
            f"{changed_rate(seen.rate, share)}: each update is then {seen.ratio * share:.2g} of the weights.",
            Severity.ERROR,
            update_ratio=seen.ratio,
            lr=seen.rate,
            suggested_lr=seen.rate * share,
        )

    # -- later -------------------------------------------------------------------------------------------

    def _later(self, history: History) -> _Jump | None:
        """Detect a jump of the loss in mid-run after which it does not recover, if large updates made it."""
        losses = history["loss"]
        values = losses.rows[:, 0]
        if len(values) < 30 or not np.isfinite(values).all():
            return None
        if values[-self.stays :].min() <= clearly_above(float(values.min()), float(values[0])):
            return None  # a cheap lower bound of the level below
        best = float(np.convolve(values, np.ones(5) / 5, mode="valid").min())
        level = clearly_above(best, float(values[0]))
        if not self._lasts(values, level):
            return None
        above = values > level
        onset = len(values) - int(np.argmin(above[::-1])) if not above.all() else 0
        step = int(losses.steps[min(onset, len(values) - 1)])
        rate_step, rate, before = _rate_around(history, step)
        ratio = _ratio_before(history, step)
        if not (rate > 3 * before or ratio > self.large or (ratio != ratio and self._spiked(history, step))):
            return None
        return _Jump(rate_step, best, smooth(values), ratio, rate, before)

    def _lasts(self, values: Array, level: float) -> bool:
        """Return whether the loss stays above a level, and does not recover."""
        recent, late = values[-self.stays :], values[-20:]
        if not (recent > level).all():
            return False
        if recent[self.stays // 2 :].mean() > self.lost * abs(values[0]):
            return True
        rising = t_of_slope(np.log(late) if (late > 0).all() else late)
        return bool((late > level).all()) and rising >= -2

    def _spiked(self, history: History, step: int) -> bool:
        """Return whether the gradient jumped at this step."""
        series = history["gradient_norm"]
        steps, norms = series.steps, np.sqrt(np.nansum(np.square(series.rows), axis=1))
        before = norms[(steps < step - 1) & (steps >= step - 200)]
        near = norms[(steps >= step - 3) & (steps <= step + 5)]
        return len(before) > 4 and len(near) > 0 and float(near.max()) > self.spike * median(before)

    def _about_jump(self, seen: _Jump) -> Suspicion:
        jumped = seen.rate > 3 * seen.rate_before
        share = seen.rate_before / seen.rate if jumped else 0.1
        updates = f" The updates before it are {seen.ratio:.2g} times the weights (healthy: 0.001 to 0.02)."
        return self.suspect(
            seen.step,
            (),
            f"At step {seen.step} the loss leaves its best value of {seen.best:.3g} and then stays near "
            f"{seen.level:.3g}.{updates if seen.ratio > self.large else ''}",
            f"The learning rate rose from {seen.rate_before:.3g} to {seen.rate:.3g} at that step."
            if jumped
            else f"The learning rate{shown_rate(seen.rate)} is too high for this stage of the training.",
            f"{changed_rate(seen.rate, share)}, and continue from a checkpoint before step {seen.step}.",
            Severity.ERROR,
            update_ratio=seen.ratio,
            lr=seen.rate,
            suggested_lr=seen.rate * share,
        )


def _ratio_before(history: History, step: int) -> float:
    """Return the largest update ratio of the last measurements up to a step; NaN if there is none."""
    ratios, _ = update_ratios(history, history["update_ratio"].between(step - 50, step + 1).last(6).rows)
    return max((median(row) for row in ratios), default=float("nan"))


def _rate_around(history: History, step: int) -> tuple[int, float, float]:
    """Return where the learning rate is largest around a step, its value there, and the value before."""
    before, near = learning_rate(history, step - 4), history["lr"].between(step - 3, step + 1)
    if not len(near):
        return step, learning_rate(history, step), before
    rates = np.fmax.reduce(near.rows, axis=1)
    at = int(np.argmax(np.nan_to_num(rates)))  # the loss shows a jump of the rate one step later
    return (int(near.steps[at]) if rates[at] > 3 * before else step), float(rates[at]), before
