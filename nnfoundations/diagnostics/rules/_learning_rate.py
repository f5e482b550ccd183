"""Rules about the size of the updates: the learning rate is too high or too low."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import (
    Rule,
    clearly_above,
    gain,
    learning_rate,
    median,
    smooth,
    stuck,
    weight_matrices,
)

__all__ = ["LearningRateTooHigh", "LearningRateTooLow", "total_norm"]


def total_norm(history: History) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and the norm of the whole gradient at each."""
    series = history["gradient_norm"]
    return series.steps, np.sqrt(np.nansum(np.square(series.rows), axis=1))


@dataclass(frozen=True)
class LearningRateTooHigh(Rule):
    """The updates are so large that the loss jumps instead of falling."""

    fault, family, needs = "learning-rate-too-high", "learning-rate", ("update_ratio", "loss")
    at_once = True
    first_ratio: float = 0.35  # update / weight in steps 0 to 4; healthy digits reach 0.135
    ruin: float = 0.2  # update / weight in the first 20 steps, if the loss then does not fall
    usual: float = 0.58  # gain of torch's default initial weights; smaller gains count as this one
    wait: int = 6  # losses needed first: a loss that falls at once shows that the rate is right
    lasts: int = 60  # losses needed before a loss counts as not falling
    jump: float = 2.5  # largest loss within 12 steps over the first loss; healthy runs reach 1.19
    spike: float = 20.0  # gradient norm over the median of the norms before
    target: float = 0.02  # update / weight of the suggested rate; it trained in every case tried
    stays: int = 8  # steps for which the loss must stay above twice its best
    lost: float = 10.0  # times the first loss: no recovery; a spike that recovers reaches 5 after 8 steps

    def judge(self, history: History) -> Suspicion | None:
        return self._start(history) or self._later(history)

    def _start(self, history: History) -> Suspicion | None:
        updates, losses = history["update_ratio"], history["loss"]
        if len(losses) < self.wait and np.isfinite(losses.rows).all():
            return None
        early = updates.between(updates.steps[0], updates.steps[0] + 20)
        falls = (
            0.5 if len(losses) > 20 else 0.8
        )  # in the first steps a fall of one fifth shows that it learns
        if early.steps[0] > 5 or history.settings.get("resumed") or not stuck(history, falls):
            return None  # the start was not seen, or the run learns anyway
        # A layer that starts at zero (the second half of an adapter, a last layer) has no ratio yet.
        gains = {i: gain(history, updates.columns[i]) for i in weight_matrices(history, updates.columns)}
        chosen = [i for i, g in gains.items() if g > 1e-6]
        # A weight far below its usual size may grow to it in a few steps, so compare with that size.
        size = np.array([min(1.0, gains[i] / self.usual) for i in chosen])
        ratios = early.rows[:, chosen] * size
        ratios = np.where(np.isfinite(ratios), ratios, np.nan)
        each = np.array([median(row) for row in ratios])
        at_start = early.steps <= early.steps[0] + 4
        # Take the first ratio that is too large: later ones show the damage, not the learning rate.
        large = each > self.first_ratio
        peak = float(each[np.argmax(large)]) if large.any() else float(np.nanmax(each, initial=0.0))
        ratio = peak if large[at_start].any() else median(each[at_start])
        first, soon = float(losses.rows[0, 0]), losses.between(0, losses.steps[0] + 12).rows[:, 0]
        baseline = history.loss.baseline
        # A multiple of the first loss means nothing if the loss starts near 0 or below.
        known = first > 0.5 * baseline > 0 or (baseline != baseline and first > 0 and ratio > 0.1)
        jumped = known and len(soon) > 2 and float(np.nanmax(soon)) > self.jump * first
        if history.loss.kind == "squared" and first > 3 * baseline and not jumped:
            return None  # targets far from 0 need large steps at first
        ruined = peak > self.ruin and len(losses) >= self.lasts and stuck(history, 0.9)
        if not (ratio > self.first_ratio or jumped or ruined):
            return None
        ratio = peak  # momentum needs some steps to reach its full size
        largest = np.nan_to_num(ratios, nan=0.0).max(0)
        worst = updates.columns[chosen[int(np.argmax(largest))]] if chosen else ""
        at = int(np.argmax(large)) if large.any() else int(np.argmax(np.nan_to_num(each)))
        rate = learning_rate(history, early.steps[at])
        better = min(rate * self.target / ratio, rate / 3)
        said = f"In the first steps each update changes the weights by {ratio:.2g} times their size"
        if ruined and not jumped:
            said += f", and the loss has not fallen in {len(losses)} steps"
        if jumped:
            said += f", and the loss rises from {first:.3g} to {float(np.nanmax(soon)):.3g}"
        return self.suspect(
            early.steps[0],
            (worst,) if worst else (),
            f"{said} (healthy updates: 0.001 to 0.02).",
            f"The learning rate {rate:.3g} is too high for this network.",
            f"Set lr={better:.2g} (now {rate:.3g}): each update is then {self.target:g} of the weights.",
            Severity.ERROR,
            update_ratio=ratio,
            lr=rate,
            suggested_lr=better,
        )

    def _later(self, history: History) -> Suspicion | None:
        """Detect a jump of the rate or the gradient in mid-run after which the loss does not recover."""
        losses = history["loss"]
        values = losses.rows[:, 0]
        if len(values) < 30 or not np.isfinite(values).all():
            return None
        recent = values[-self.stays :]
        if recent.min() <= clearly_above(float(values.min()), float(values[0])):
            return None  # a cheap lower bound of the level below
        best = np.minimum.accumulate(np.convolve(values, np.ones(5) / 5, mode="valid"))
        level = clearly_above(float(best[-1]), float(values[0]))
        if not (recent > level).all():
            return None
        lost = recent[self.stays // 2 :].mean() > self.lost * abs(values[0])
        late = values[-20:]
        trend = _t_of_slope(np.log(late) if (late > 0).all() else late)
        if not lost and ((late <= level).any() or trend < -2):
            return None  # a short spike, or one that recovers
        # Find the step at which the loss left its best. The gradient or the rate must have jumped there.
        above = values > level
        onset = len(values) - int(np.argmin(above[::-1])) if not above.all() else 0
        step = int(losses.steps[min(onset, len(values) - 1)])
        steps, norms = total_norm(history)
        before = norms[(steps < step - 1) & (steps >= step - 200)]
        near = norms[(steps >= step - 3) & (steps <= step + 5)]
        rates = history["lr"]
        rate_before = learning_rate(history, step - 4)
        rate = max(
            (float(np.nanmax(row)) for row in rates.between(step - 3, step + 1).rows),
            default=learning_rate(history, step),
        )
        rate_jumped = rate > 3 * rate_before
        if rate_jumped:  # the loss shows the jump one step later
            there = rates.between(step - 3, step + 1)
            step = int(there.steps[int(np.argmax(np.nanmax(there.rows, axis=1)))])
        spiked = len(before) > 4 and len(near) and float(near.max()) > self.spike * median(before)
        if not (rate_jumped or spiked):
            return None
        updates = history["update_ratio"].between(step - 3, step + 3)
        ratio = (
            float(np.nanmax(np.where(np.isfinite(updates.rows), updates.rows, np.nan)))
            if len(updates)
            else np.nan
        )
        why = (
            f"The learning rate rose from {rate_before:.3g} to {rate:.3g} at that step."
            if rate_jumped
            else f"The learning rate {rate:.3g} is too high for this stage of the training."
        )
        better = rate_before if rate_jumped else rate / 10
        return self.suspect(
            step,
            (),
            f"At step {step} the loss leaves its best value of {best[-1]:.3g} and then stays near "
            f"{smooth(values):.3g}. The updates there are {ratio:.2g} times the weights.",
            why,
            f"Keep lr at {better:.2g}, and continue from a checkpoint before step {step}.",
            Severity.ERROR,
            update_ratio=ratio,
            lr=rate,
            suggested_lr=better,
        )


@dataclass(frozen=True)
class LearningRateTooLow(Rule):
    """The updates are so small that the loss does not change, although they share one direction."""

    fault, family = "learning-rate-too-low", "learning-rate"
    needs = ("update_ratio", "gradient_cosine", "loss")
    at_once = True  # the evidence itself spans 60 steps
    ratio: float = 1e-5  # median update / weight; healthy digits lie above 1.4e-5
    cosine: float = 0.6  # cosine of successive gradients, together with the ratio; healthy runs reach 0.71
    tiny: float = 2e-6  # update / weight below which a smaller cosine is enough: the net has not moved
    noisy: float = 0.15  # that smaller cosine; an LSTM with Adam at 1e-7 has 0.25 +- 0.2
    slope: float = 4.0  # largest |t| of the slope of the loss over 60 steps
    target: float = 3e-3  # update / weight of the suggested rate; 1e-3 was too small

    def judge(self, history: History) -> Suspicion | None:
        losses, rates = history["loss"], history["lr"]
        if len(losses) < 60 or history.settings.get("steps_per_epoch") == 1 or not stuck(history, 0.9):
            return None
        updates = history["update_ratio"].between(10).last(10)
        cosines = history["gradient_cosine"].between(10).last(20)
        if not len(updates) or not len(cosines):
            return None
        ratio = median(updates.rows[:, weight_matrices(history, updates.columns)])
        cosine = median(cosines.rows[:, weight_matrices(history, cosines.columns)])
        limit = self.noisy if ratio < self.tiny else self.cosine
        if not (ratio < self.ratio and cosine > limit):
            return None
        y = losses.rows[-60:, 0]
        if abs(_t_of_slope(y)) >= self.slope:
            return None
        rate = learning_rate(history)
        peak = float(np.nanmax(rates.rows)) if len(rates) else rate
        rising = len(rates) > 1 and float(np.nanmax(rates.rows[0])) < 0.5 * rate
        if rate < 0.01 * peak or rising:  # annealed, or still warming up
            return None
        better = rate * self.target / max(ratio, 1e-12)
        return self.suspect(
            updates.steps[0],
            (),
            f"Each update changes the weights by {ratio:.1e} times their size (healthy: about 0.001), mostly "
            f"in the same direction (cosine {cosine:.2f}), and the loss has not changed for 60 steps.",
            f"The learning rate {rate:.3g} is too low for this network.",
            f"Set lr={better:.2g} (now {rate:.3g}): each update is then {self.target:g} of the weights.",
            Severity.WARNING,
            update_ratio=ratio,
            cosine=cosine,
            lr=rate,
            suggested_lr=better,
        )


def _t_of_slope(y: np.ndarray) -> float:
    """Divide the slope of a straight line through y by its standard error."""
    x = np.arange(len(y)) - (len(y) - 1) / 2
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = (float(rest @ rest) / (len(y) - 2) / float(x @ x)) ** 0.5
    return slope / error if error > 0 else float("inf") * np.sign(slope) if slope else 0.0
