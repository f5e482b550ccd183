"""The size of the steps: too large, too small."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import (
    Rule,
    clearly_above,
    gain,
    learning_rate,
    matrices,
    median,
    smooth,
    stuck,
)


def total_norm(history: History) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and the norm of the whole gradient at each."""
    series = history["gradient_norm"]
    return series.steps, np.sqrt(np.nansum(np.square(series.rows), axis=1))


@dataclass(frozen=True)
class LearningRateTooHigh(Rule):
    """Steps so large that the loss jumps instead of falling."""

    fault, family, needs = "learning-rate-too-high", "learning-rate", ("update_ratio", "loss")
    at_once = True
    first_ratio: float = 0.35  # measured on digits: healthy runs reach 0.135 in steps 0 to 4
    ruin: float = 0.2  # the same in the first 20 steps, where the loss then stands still; 0.25 to 0.98 do it
    usual: float = 0.58  # gain of torch's initial weights: smaller ones count as that large
    wait: int = 6  # losses that must be seen: a loss that falls at once shows that the rate suits it
    lasts: int = 60  # losses that must be seen before a word on one that stands still
    jump: float = 2.5  # of the first loss within 12 steps; healthy runs reach 1.19
    spike: float = 20.0  # gradient norm over its median of 50
    target: float = 0.02  # an update ratio that trained in every case where it was tried
    stays: int = 8  # steps for which the loss stays above twice its best
    lost: float = 10.0  # times the first loss: no way back; a spike that heals reaches 5 after 8 steps

    def judge(self, history: History) -> Suspicion | None:
        return self._start(history) or self._later(history)

    def _start(self, history: History) -> Suspicion | None:
        updates, losses = history["update_ratio"], history["loss"]
        if len(losses) < self.wait and np.isfinite(losses.rows).all():
            return None
        early = updates.between(updates.steps[0], updates.steps[0] + 20)
        falls = 0.5 if len(losses) > 20 else 0.8  # so early a fifth off says that it is on its way
        if early.steps[0] > 5 or history.settings.get("resumed") or not stuck(history, falls):
            return None  # the start was not seen, or it learns all the same
        # A layer that starts at zero (the second half of an adapter, a last layer) has no ratio yet.
        gains = {i: gain(history, updates.columns[i]) for i in matrices(history, updates.columns)}
        chosen = [i for i, g in gains.items() if g > 1e-6]
        # What begins far below the usual size may grow to it in a few steps: the ratio is to that size.
        size = np.array([min(1.0, gains[i] / self.usual) for i in chosen])
        ratios = early.rows[:, chosen] * size
        ratios = np.where(np.isfinite(ratios), ratios, np.nan)
        each = np.array([median(row) for row in ratios])
        at_start = early.steps <= early.steps[0] + 4
        # The first ratio that is too large: what comes after it is the ruin, not the rate.
        large = each > self.first_ratio
        peak = float(each[np.argmax(large)]) if large.any() else float(np.nanmax(each, initial=0.0))
        ratio = peak if large[at_start].any() else median(each[at_start])
        first, soon = float(losses.rows[0, 0]), losses.between(0, losses.steps[0] + 12).rows[:, 0]
        baseline = history.loss.baseline
        # Of a loss that starts near 0, or below it, 2.5 times the first says nothing.
        known = first > 0.5 * baseline > 0 or (baseline != baseline and first > 0 and ratio > 0.1)
        jumped = known and len(soon) > 2 and float(np.nanmax(soon)) > self.jump * first
        if history.loss.kind == "squared" and first > 3 * baseline and not jumped:
            return None  # targets far from 0: large steps are the way there
        ruined = peak > self.ruin and len(losses) >= self.lasts and stuck(history, 0.9)
        if not (ratio > self.first_ratio or jumped or ruined):
            return None
        ratio = peak  # momentum takes some steps to come to its full length
        largest = np.nan_to_num(ratios, nan=0.0).max(0)
        worst = updates.columns[chosen[int(np.argmax(largest))]] if chosen else ""
        rate = learning_rate(history, early.steps[-1])
        better = min(rate * self.target / ratio, rate / 3)
        said = f"Within the first steps weights move by {ratio:.2g} of their size a step"
        if ruined and not jumped:
            said += f", and the loss has not fallen in {len(losses)} steps"
        if jumped:
            said += f", and the loss goes from {first:.3g} to {float(np.nanmax(soon)):.3g}"
        return self.suspect(
            early.steps[0],
            (worst,) if worst else (),
            f"{said} (about 0.001 to 0.02 is healthy).",
            f"The learning rate {rate:.3g} is too high for this network.",
            f"Set lr={better:.2g} (now {rate:.3g}): updates are then {self.target:g} of the weights.",
            Severity.ERROR,
            update_ratio=ratio,
            lr=rate,
            suggested_lr=better,
        )

    def _later(self, history: History) -> Suspicion | None:
        """The rate or the gradient jumps in mid-run and the loss does not come back."""
        losses = history["loss"]
        values = losses.rows[:, 0]
        if len(values) < 30 or not np.isfinite(values).all():
            return None
        recent = values[-self.stays :]
        if recent.min() <= clearly_above(float(values.min()), float(values[0])):
            return None  # a lower bound of the level below, and quick to have
        best = np.minimum.accumulate(np.convolve(values, np.ones(5) / 5, mode="valid"))
        level = clearly_above(float(best[-1]), float(values[0]))
        if not (recent > level).all():
            return None
        lost = recent[self.stays // 2 :].mean() > self.lost * abs(values[0])
        late = values[-20:]
        trend = _t_of_slope(np.log(late) if (late > 0).all() else late)
        if not lost and ((late <= level).any() or trend < -2):
            return None  # a spike that is short, or on its way back
        # When did it leave its best? The gradient or the rate must have jumped there.
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
        if rate_jumped:  # the loss shows it one step later
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
            f"The learning rate went from {rate_before:.3g} to {rate:.3g} there."
            if rate_jumped
            else f"The learning rate {rate:.3g} is too high for where the run had come."
        )
        better = rate_before if rate_jumped else rate / 10
        return self.suspect(
            step,
            (),
            f"At step {step} the loss leaves its best of {best[-1]:.3g} and stays at {smooth(values):.3g}, "
            f"with updates of {ratio:.2g} of the weights.",
            why,
            f"Keep lr at {better:.2g}, and go on from a checkpoint before step {step}.",
            Severity.ERROR,
            update_ratio=ratio,
            lr=rate,
            suggested_lr=better,
        )


@dataclass(frozen=True)
class LearningRateTooLow(Rule):
    """Steps so small that nothing happens, all in the same direction."""

    fault, family = "learning-rate-too-low", "learning-rate"
    needs = ("update_ratio", "gradient_cosine", "loss")
    at_once = True  # sixty steps are in the measurement itself
    ratio: float = 1e-5  # measured on digits: healthy medians lie above 1.4e-5
    cosine: float = 0.6  # only with the ratio: healthy runs reach 0.71
    tiny: float = 2e-6  # a ratio for which less will do: noisy gradients of a net that never moved
    noisy: float = 0.15  # the cosine then; of an LSTM at Adam 1e-7 it is 0.25 +- 0.2 from look to look
    slope: float = 4.0  # |t| of the loss's slope over 60 steps
    target: float = 3e-3  # 1e-3 was too timid

    def judge(self, history: History) -> Suspicion | None:
        losses, rates = history["loss"], history["lr"]
        if len(losses) < 60 or history.settings.get("steps_per_epoch") == 1 or not stuck(history, 0.9):
            return None
        updates = history["update_ratio"].between(10).last(10)
        cosines = history["gradient_cosine"].between(10).last(20)
        if not len(updates) or not len(cosines):
            return None
        ratio = median(updates.rows[:, matrices(history, updates.columns)])
        cosine = median(cosines.rows[:, matrices(history, cosines.columns)])
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
            f"Weights move by {ratio:.1e} of their size a step (about 0.001 is healthy), mostly in the same "
            f"direction (cosine {cosine:.2f}), and the loss has stood still for 60 steps.",
            f"The learning rate {rate:.3g} is too low for this network.",
            f"Set lr={better:.2g} (now {rate:.3g}): updates are then {self.target:g} of the weights.",
            Severity.WARNING,
            update_ratio=ratio,
            cosine=cosine,
            lr=rate,
            suggested_lr=better,
        )


def _t_of_slope(y: np.ndarray) -> float:
    """Slope of a straight line through y over its standard error."""
    x = np.arange(len(y)) - (len(y) - 1) / 2
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = (float(rest @ rest) / (len(y) - 2) / float(x @ x)) ** 0.5
    return slope / error if error > 0 else float("inf") * np.sign(slope) if slope else 0.0
