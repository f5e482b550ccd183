"""The rule about overfitting: the network fits only its training data."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import Array, History
from nnfoundations.diagnostics.rules._rule import TENDENCY, Rule, constant_loss, smooth

__all__ = ["Overfitting"]

_REMEDY = "Use more data, augmentation, weight decay, dropout or a smaller network."


class _Rise(NamedTuple):
    """Validation and training losses, at the best validation and now; `now` is the lowest of the last few."""

    step: int
    best: float
    now: float
    train_then: float
    train_now: float


@dataclass(frozen=True)
class Overfitting(Rule):
    """The network fits its training data far better than validation data, and this does not improve."""

    fault, family = "overfitting", Family.GENERALIZATION
    needs = ("validation_loss", "validation_accuracy", "predictions", "loss")
    confirmations = 3
    checks: int = 3  # validations without an improvement; a judgement
    rise: float = 0.06  # rise of the lowest of these over the best loss; healthy digits reach 0.053
    min_rise: float = 0.02  # smallest rise, as a share of the loss of random guessing; a judgement
    errors: float = 3.0  # smallest rise, in standard errors of the validation loss; a judgement
    fall: float = 0.05  # smallest fall of the training loss since then; on diabetes noise alone has 0.01
    learned: float = 0.97  # best validation loss over that of a constant; above, nothing was learned
    by_heart: float = 0.5  # training loss over that of a constant, below which that is no excuse; a judgement
    apart: float = 0.2  # validation loss over that of a constant, when all is memorized; healthy digits 0.1
    memorized: float = 0.03  # training over validation loss; 60 digits 0.02, class weights on digits 0.09
    settled: float = 0.85  # lowest validation loss of the last third over that before; 60 digits 0.9
    epochs: int = 10  # validations needed for both of these, and for accuracies; a judgement
    points: float = 0.08  # training over validation accuracy; healthy digits have up to 0.06

    def not_run(self, history: History) -> str:
        if TENDENCY in history.unavailable or "loss" in history.unavailable:
            return history.unavailable.get(TENDENCY) or history.unavailable["loss"]
        by_accuracy = len(history["validation_accuracy"]) and len(history["predictions"])
        if "overfit_batches" not in history.settings and (len(history["validation_loss"]) or by_accuracy):
            return ""
        return history.unavailable.get("validation_loss", "no finite validation loss was seen")

    def judge(self, history: History) -> Suspicion | None:
        if "overfit_batches" in history.settings:
            return None
        if not len(history["validation_loss"]):
            return self._of_accuracy(history)
        if self._nothing_learned(history):
            return None
        seen = self._measure(history)
        return self._of_gap(history) if seen is None else self._about(seen)

    def _nothing_learned(self, history: History) -> bool:
        """Return whether the validation was never better than that of a constant prediction."""
        best, constant = float(history["validation_loss"].column("loss").min()), constant_loss(history)
        by_heart = smooth(history["loss"].rows[:, 0], 20) < self.by_heart * constant
        return best > self.learned * constant > 0 and not by_heart

    def _measure(self, history: History) -> _Rise | None:
        series = history["validation_loss"]
        values = series.column("loss")
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
            f"Stop at the best validation (EarlyStopping, or the checkpoint of step {seen.step}). {_REMEDY}",
            Severity.WARNING,
            best=seen.best,
            lowest=seen.now,
            train_then=seen.train_then,
            train_now=seen.train_now,
            best_step=seen.step,
        )

    def _of_gap(self, history: History) -> Suspicion | None:
        """Report a training loss near 0 with a validation loss that stays high without rising."""
        series, level = history["validation_loss"], constant_loss(history)
        values = series.column("loss")
        if len(values) < self.epochs or not np.isfinite(values).all():
            return None
        now = float(values[-self.checks :].min())
        training = smooth(history["loss"].rows[:, 0], 20)
        if not now > self.apart * level > 0 or not 0 <= training < self.memorized * now:
            return None
        if not _settled(values, self.settled):
            return None
        return self.suspect(
            series.steps[len(values) * 2 // 3],
            (),
            f"The training loss is {training:.2g}, and the validation loss stays at {now:.3g} "
            f"({now / level:.0%} of that of a constant prediction). It has hardly fallen since step "
            f"{int(series.steps[len(values) * 2 // 3])}.",
            "The network has learned its training samples by heart, so they can teach it nothing more.",
            f"Longer training does not help. {_REMEDY}",
            Severity.INFO,
            train_now=training,
            lowest=now,
            constant=level,
        )

    def _of_accuracy(self, history: History) -> Suspicion | None:
        """Report a gap between the accuracies if no validation loss is known."""
        series, training = history["validation_accuracy"], history["predictions"].last(self.checks)
        values = series.column("accuracy")
        if len(values) < self.epochs or len(training) < self.checks:
            return None
        now, seen = float(values[-self.checks :].max()), float(training.column("correct").mean())
        samples = history.settings.get("validation_samples", 0.0)
        error = (now * (1 - now) / samples) ** 0.5 if samples else 0.0
        if seen - now < max(self.points, 4 * error) or not _settled(1 - values, self.settled):
            return None
        return self.suspect(
            series.steps[len(values) * 2 // 3],
            (),
            f"The accuracy is {seen:.1%} on training batches and at most {now:.1%} in the last {self.checks} "
            f"validations. It has hardly risen since step {int(series.steps[len(values) * 2 // 3])}.",
            "The network memorizes its training samples: it has more capacity than they can constrain.",
            f"{_REMEDY} Stop when the validation accuracy no longer rises.",
            Severity.WARNING,
            training=seen,
            validation=now,
        )


def _settled(values: Array, share: float) -> bool:
    """Return whether the lowest value of the last third is not clearly below the lowest one before."""
    later = len(values) * 2 // 3
    return float(values[later:].min()) > share * float(values[:later].min())


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
