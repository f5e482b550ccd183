"""Rules about learning-rate schedules: their unit, and their length against that of the run.

What the scheduler says about itself is a fact. A schedule that is a function of the user, as of `LambdaLR`,
is known only from the rates of the run.
"""

import math
from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import Array, History, ScheduleFacts
from nnfoundations.diagnostics.rules._rule import Rule, median, update_ratios

__all__ = ["ScheduleEndsEarly", "ScheduleInterval", "ScheduleLongerThanRun"]

_TO_AN_END = ("CosineAnnealingLR", "OneCycleLR", "PolynomialLR")
"""Schedulers that reach their last rate at their length and are meant to end there."""

_DECAYS = ("StepLR", "MultiStepLR", "PolynomialLR", "LinearLR")
_RISES = ("LinearLR", "ConstantLR", "SequentialLR")
_AGAIN = ("CosineAnnealingWarmRestarts", "CyclicLR", "ReduceLROnPlateau")
"""Schedulers whose low rate is intended: it rises again, or it follows the validation loss."""


_LASTING = 5
"""Steps for which a rate must be held to count as the peak of a schedule."""


class _Run(NamedTuple):
    """The length of a run in steps, and the steps of an epoch (NaN if unknown)."""

    steps: float
    per_epoch: float

    @property
    def epochs(self) -> float:
        return self.steps / self.per_epoch

    def own_steps(self, schedule: ScheduleFacts) -> float:
        """Return how often a scheduler is stepped in the run; NaN if that is unknown."""
        units = {"step": self.steps, "epoch": self.epochs}.get(schedule.unit, math.nan)
        return units / max(schedule.frequency, 1)


@dataclass(frozen=True)
class _ScheduleRule(Rule, ABC):
    """A rule that compares a schedule with the length of the run."""

    def not_run(self, history: History) -> str:
        if reason := super().not_run(history):
            return reason
        return "" if "total_steps" in history.settings else "the length of the run is not known"

    @staticmethod
    def run(history: History) -> _Run:
        settings = history.settings
        return _Run(settings["total_steps"], settings.get("steps_per_epoch", math.nan))


@dataclass(frozen=True)
class ScheduleInterval(_ScheduleRule):
    """A schedule is counted in steps but stepped once per epoch, or the reverse."""

    fault, family, needs = "schedule-interval", Family.LEARNING_RATE, ("lr", "loss")
    explains = (
        "schedule-ends-early",
        "schedule-longer-than-run",
        "learning-rate-too-low",
        "stopped-too-early",
    )
    per_epoch: int = 5  # smallest number of steps in an epoch for which the unit matters; a judgement
    beyond: float = 2.0  # length over the epochs of the run, if it counts steps; a judgement
    slack: float = 1.5  # length over the unit that it seems to count, at most; a judgement
    least: int = 10  # shortest such length; a warm-up of some epochs may be longer than a short run
    below: float = 0.01  # rate over its peak after a decay; a judgement
    left: float = 0.3  # share of the run that must then be left; a judgement
    seen: float = 0.3  # share of the run after which a rise per epoch is judged by its rates; a judgement
    reaches: float = 0.5  # share of the base rate that such a rise must reach by the end; a judgement
    healthy_update: float = 1e-3  # update / weight below which such rates are too low; healthy digits

    def judge(self, history: History) -> Suspicion | None:
        run = self.run(history)
        if not run.per_epoch >= self.per_epoch:
            return None
        for schedule in history.schedules:
            found = (
                self._steps_per_epoch(history, schedule, run)
                or self._epochs_per_step(history, schedule, run)
                or self._slow_rise(history, schedule, run)
            )
            if found is not None:
                return found
        return None

    def _steps_per_epoch(self, history: History, schedule: ScheduleFacts, run: _Run) -> Suspicion | None:
        """A length in steps, stepped per epoch."""
        length = schedule.length * schedule.frequency
        if schedule.unit != "epoch" or not length > self.beyond * run.epochs or length < self.least:
            return None
        if not length <= self.slack * run.steps:
            return None
        if schedule.kind in _TO_AN_END:
            counts_steps = length >= run.steps / self.slack
        else:
            counts_steps = schedule.kind in _RISES and length >= 0.5 * run.per_epoch
        if not counts_steps:
            return None
        return self._about(
            history,
            0,
            schedule,
            f"{_said(schedule)} and is stepped once per epoch, but the run has only "
            f"{run.epochs:.3g} epochs of {run.per_epoch:.0f} steps.",
            "The length of the schedule counts steps, so it ends long after the run.",
            "step",
            f"divide {schedule.argument} by {run.per_epoch:.0f}",
        )

    def _epochs_per_step(self, history: History, schedule: ScheduleFacts, run: _Run) -> Suspicion | None:
        """A length in epochs, stepped per step."""
        length = schedule.length * schedule.frequency
        if schedule.unit != "step" or not 2 <= length <= self.slack * run.epochs:
            return None
        periodic = schedule.kind == "CosineAnnealingLR" and length >= run.epochs / self.slack
        if not periodic and schedule.kind not in _DECAYS:
            return None
        rates = _rates(history)
        step, peak = _fallen(history, rates, 0.5 if periodic else self.below)
        if not step <= (1 - self.left) * run.steps:
            return None
        falls = (
            f"falls to 0 and rises again every {2 * length:.0f} steps"
            if periodic
            else (
                f"fell below {self.below:.0%} of its peak ({peak:.3g}) at step {step:.0f} of {run.steps:.0f}"
            )
        )
        return self._about(
            history,
            int(history["lr"].steps[0]),
            schedule,
            f"{_said(schedule)} and is stepped once per step, so the learning rate {falls}. The run has "
            f"{run.epochs:.3g} epochs of {run.per_epoch:.0f} steps.",
            "The length of the schedule counts epochs.",
            "epoch",
            f"multiply {schedule.argument} by {run.per_epoch:.0f}",
        )

    def _slow_rise(self, history: History, schedule: ScheduleFacts, run: _Run) -> Suspicion | None:
        """A warm-up by a function of the user, stepped per epoch: it would reach its end after the run."""
        now = int(history["loss"].steps[-1])
        if schedule.unit != "epoch" or schedule.argument or not now >= self.seen * run.steps:
            return None
        rates, steps = _rates(history), history["lr"].steps
        if len(rates) < 2 or not (np.diff(rates) > 0).all():
            return None
        at_the_end = rates[0] + (rates[-1] - rates[0]) / max(now - int(steps[0]), 1) * run.steps
        if not at_the_end < self.reaches * schedule.base:
            return None
        updates = history["update_ratio"]
        ratio = median(update_ratios(history, updates.last(20).rows)[0]) if len(updates) else math.nan
        if not ratio < self.healthy_update:
            return None
        return self._about(
            history,
            int(steps[0]),
            schedule,
            f"The warm-up is stepped once per epoch: after {now / run.per_epoch:.2g} of {run.epochs:.3g} "
            f"epochs the learning rate is {rates[-1]:.3g}, {rates[-1] / schedule.base:.1%} of "
            f"{schedule.base:.3g}. Each update changes the weights by {ratio:.1e} times their size "
            "(healthy: 0.001 to 0.02).",
            "The warm-up counts steps, so it ends long after the run.",
            "step",
            f"divide its length by {run.per_epoch:.0f}",
        )

    def _about(
        self,
        history: History,
        step: int,
        schedule: ScheduleFacts,
        evidence: str,
        cause: str,
        unit: str,
        otherwise: str,
    ) -> Suspicion:
        return self.suspect(
            step,
            (),
            evidence,
            cause,
            f'Return {{"scheduler": ..., "interval": "{unit}"}} from configure_optimizers (now '
            f'"{schedule.unit}"), or {otherwise}.',
            Severity.WARNING,
            length=schedule.length,
            steps_per_epoch=history.settings["steps_per_epoch"],
            total_steps=history.settings["total_steps"],
        )


@dataclass(frozen=True)
class ScheduleEndsEarly(_ScheduleRule):
    """The learning rate falls to almost 0 long before the run ends, so the rest of it changes nothing."""

    fault, family, needs = "schedule-ends-early", Family.LEARNING_RATE, ("lr", "loss")
    explains = ("learning-rate-too-low", "stopped-too-early")
    below: float = 0.01  # rate over its peak; a schedule that decays by 100 and stays there is usual
    left: float = 0.3  # share of the run that must then be left; a judgement
    lasts: float = 0.05  # share of the run for which it must stay so low: cycles rise again; a judgement
    wait: int = 30  # the same in steps; a judgement
    cycles: float = 4.0  # half cycles of a cosine in the run, from which they are on purpose; a judgement

    def not_run(self, history: History) -> str:
        if reason := super().not_run(history):
            return reason
        if "may_stop_early" in history.settings:
            return "early stopping or a time limit may end the run at any step"
        if any(schedule.kind in _AGAIN for schedule in history.schedules):
            return "the schedule may fall and rise as often as it needs"
        return ""

    def judge(self, history: History) -> Suspicion | None:
        run, rates, now = self.run(history), _rates(history), int(history["loss"].steps[-1])
        if len(rates) < 2:
            return None
        # Rounding: exactly one hundredth is not below it.
        step, peak = _fallen(history, rates, 0.99 * self.below)
        left = 1 - step / run.steps
        if not left > self.left:
            return None
        schedule = next(iter(history.schedules), ScheduleFacts(""))
        bounces = schedule.kind == "CosineAnnealingLR"  # it rises again after its end
        if bounces and run.own_steps(schedule) >= self.cycles * schedule.length:
            return None
        if not bounces and (
            now - step < max(self.wait, self.lasts * run.steps) or not rates[-1] < self.below * peak
        ):
            return None
        remedy, longer = "Let the schedule end with the run", run.steps / max(step, 1)
        length = schedule.length * longer
        if schedule.length > 0:
            remedy += f": {schedule.argument}={length:.0f} (now {schedule.length:.0f})"
        elif schedule.kind:
            remedy += f": make {schedule.kind} {longer:.2g} times longer"
            remedy += ', or set its "interval" to "epoch"' if schedule.unit == "step" else ""
        return self.suspect(
            int(step),
            (),
            f"The learning rate fell below {self.below:.0%} of its peak of {peak:.3g} at step {step:.0f}, "
            f"with {left:.0%} of the {run.steps:.0f} steps left (healthy: less than {self.left:.0%}).",
            "The schedule ends before the run."
            + (
                " CosineAnnealingLR then rises again."
                if bounces
                else " The rest of it changes almost nothing."
            ),
            remedy + f", or stop after step {step:.0f}.",
            Severity.WARNING,
            peak=peak,
            lr=float(rates[-1]),
            left=left,
            total_steps=run.steps,
            suggested_length=length,
        )


@dataclass(frozen=True)
class ScheduleLongerThanRun(_ScheduleRule):
    """A schedule that should end at a low rate is longer than the run, which ends at a high one."""

    fault, family, needs = "schedule-longer-than-run", Family.LEARNING_RATE, ("lr", "loss")
    beyond: float = 1.5  # length over the steps of the schedule in this run; a judgement

    def judge(self, history: History) -> Suspicion | None:
        run = self.run(history)
        for schedule in _known(history):
            own = run.own_steps(schedule)
            if schedule.kind in _TO_AN_END and schedule.length > self.beyond * own:
                return self._about(history, schedule, run, own)
        return None

    def _about(self, history: History, schedule: ScheduleFacts, run: _Run, own: float) -> Suspicion:
        return self.suspect(
            int(history["lr"].steps[0]),
            (),
            f"{_said(schedule)}, but it is stepped only {own:.0f} times "
            f"in this run of {run.steps:.0f} steps.",
            "The run ends before the schedule, at a high learning rate. The loss is lower after a decay.",
            f"Set {schedule.argument}={own:.0f} (now {schedule.length:.0f}), or train longer.",
            Severity.INFO,
            length=schedule.length,
            steps=own,
        )


def _known(history: History) -> Iterator[ScheduleFacts]:
    return (schedule for schedule in history.schedules if schedule.length > 0)


def _said(schedule: ScheduleFacts) -> str:
    """Return the length of a schedule as its user gave it."""
    last = " up to " if schedule.argument == "milestones" else "="
    return f"{schedule.kind} has {schedule.argument}{last}{schedule.length:.0f}"


def _rates(history: History) -> Array:
    """Return the largest learning rate of any group at each change."""
    rates: Array = np.fmax.reduce(history["lr"].rows, axis=1)
    return rates


def _fallen(history: History, rates: Array, share: float) -> tuple[float, float]:
    """Return the step at which the rate first fell below a share of its peak, and the peak; NaN if never."""
    steps = history["lr"].steps
    if not (rates < share * np.fmax.reduce(rates)).any():
        return math.nan, math.nan  # decides almost every case
    # A peak lasts: a rate that is high for a single step is not one.
    ends = np.maximum(np.searchsorted(steps, steps + _LASTING), np.arange(len(steps)) + 1)
    held = np.array([rates[i:end].min() for i, end in enumerate(ends)])
    at = int(np.argmax(np.nan_to_num(held)))
    low = np.flatnonzero(rates[at:] < share * held[at])
    return (float(steps[at + low[0]]) if len(low) else math.nan), float(held[at])
