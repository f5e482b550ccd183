"""The rule about overfitting: the network fits only its training data."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, smooth

__all__ = ["Overfitting"]


class _Rise(NamedTuple):
    """Validation and training losses, at the best validation and now; `now` is the lowest of the last few."""

    step: int
    best: float
    now: float
    train_then: float
    train_now: float


@dataclass(frozen=True)
class Overfitting(Rule):
    """The validation loss rises after its best value while the training loss still falls."""

    fault, family, needs = "overfitting", Family.GENERALIZATION, ("validation_loss", "loss")
    confirmations = 3
    checks: int = 3  # validations without an improvement; a judgement
    rise: float = 0.06  # rise of the lowest of these over the best loss; healthy digits reach 0.053
    min_rise: float = 0.02  # smallest rise, as a share of the loss of random guessing; a judgement
    errors: float = 3.0  # smallest rise, in standard errors of the validation loss; a judgement
    fall: float = 0.05  # smallest fall of the training loss since then; on diabetes noise alone has 0.01

    def judge(self, history: History) -> Suspicion | None:
        seen = self._measure(history)
        return None if seen is None else self._about(seen)

    def _measure(self, history: History) -> _Rise | None:
        series = history["validation_loss"]
        values = series.column("loss") if len(series) else np.empty(0)
        if len(values) < self.checks + 1 or not np.isfinite(values).all():
            return None
        at = int(np.argmin(values))
        if len(values) - 1 - at < self.checks:
            return None
        best, now = float(values[at]), float(values[-self.checks :].min())
        rise, baseline = now - best, history.loss.baseline
        if baseline > 0 and rise < self.min_rise * baseline:
            return None  # six per cent of a loss near 0 mean nothing
        if not (rise > self.rise * abs(best) and rise > self.errors * _error(history, at)):
            return None
        train_then, train_now = _training_loss(history, at)
        if not train_then - train_now > self.fall * abs(train_then):
            return None
        return _Rise(int(series.steps[at]), best, now, train_then, train_now)

    def _about(self, seen: _Rise) -> Suspicion:
        return self.suspect(
            seen.step,
            (),
            f"The validation loss was lowest at step {seen.step} ({seen.best:.3g}) and at least "
            f"{seen.now:.3g} in the last {self.checks} validations, while the training loss fell from "
            f"{seen.train_then:.3g} to {seen.train_now:.3g}.",
            "The network memorizes its training samples: it has more capacity than they can constrain.",
            f"Stop at the best validation (EarlyStopping, or the checkpoint of step {seen.step}). Use more "
            "data, augmentation, weight decay, dropout or a smaller network.",
            Severity.WARNING,
            best=seen.best,
            lowest=seen.now,
            train_then=seen.train_then,
            train_now=seen.train_now,
            best_step=seen.step,
        )


def _training_loss(history: History, at: int) -> tuple[float, float]:
    """Return the training loss around this validation, and now."""
    losses, step = history["loss"], int(history["validation_loss"].steps[at])
    return smooth(losses.between(0, step).rows[:, 0], 20), smooth(losses.rows[:, 0], 20)


def _error(history: History, at: int) -> float:
    """Estimate the standard error of a validation loss from its batches, or else from its noise."""
    series = history["validation_loss"]
    measured = series.column("error")
    if np.isfinite(measured).any():
        return float(np.nanmedian(measured))
    values = series.column("loss")
    steps = np.abs(np.diff(values))
    return float(np.median(steps)) / 0.95 if len(steps) > 3 else 0.0  # for normal noise: 0.6745 sqrt(2) sigma
