"""The rule about overfitting: the network fits only its training data."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, smooth

__all__ = ["Overfitting"]


@dataclass(frozen=True)
class Overfitting(Rule):
    """The validation loss rises after its best value while the training loss still falls.

    Or validation accuracy is far below training accuracy and has not improved for a third of the run.
    """

    fault, family, needs = "overfitting", "generalization", ("validation_loss", "loss")
    checks: int = 3  # validations without an improvement
    rise: float = 0.06  # rise of the lowest of these over the best loss; healthy digits reach 0.053
    least: float = 0.02  # smallest rise, as a share of the loss of random guessing
    errors: float = 3.0  # smallest rise, in standard errors of the validation loss
    gap: float = 0.08  # between training and validation accuracy; healthy gaps reach 0.06

    def judge(self, history: History) -> Suspicion | None:
        series = history["validation_loss"]
        if len(series) < self.checks + 1 or not np.isfinite(series.column("loss")).all():
            return None
        return self._rising(history) or self._gap(history)

    def _rising(self, history: History) -> Suspicion | None:
        series = history["validation_loss"]
        values = series.column("loss")
        at = int(np.nanargmin(values))
        best = float(values[at])
        if len(values) - 1 - at < self.checks:
            return None
        lowest = float(values[-self.checks :].min())
        rise, baseline = lowest - best, history.loss.baseline
        if baseline > 0 and rise < self.least * baseline:
            return None  # six per cent of a loss near 0 mean nothing
        if not (rise > self.rise * abs(best) and rise > self.errors * _error(history, at)):
            return None
        then, now = _training_loss(history, at)
        if not now < then:
            return None
        return self._said(
            history, at,
            f"The validation loss was lowest at step {series.steps[at]} ({best:.3g}) and at least "
            f"{lowest:.3g} in the last {self.checks} validations, while the training loss fell from "
            f"{then:.3g} to {now:.3g}.",
            best=best, lowest=lowest, train_then=then, train_now=now,
        )  # fmt: skip

    def _gap(self, history: History) -> Suspicion | None:
        series, accuracy = history["validation_loss"], history["validation_accuracy"]
        train = history["train_accuracy"]
        if len(accuracy) < 6 or not len(train):
            return None
        validated = accuracy.column("accuracy")
        at = int(np.nanargmax(validated))
        quiet = len(validated) - 1 - at >= max(self.checks, len(validated) // 3)
        now = float(validated[-3:].mean())
        fitted = smooth(train.rows[:, 0], 5)
        n = history.settings.get("validation_samples", 0) or 100
        error = (max(now * (1 - now), 1e-4) / n) ** 0.5
        if not quiet or not fitted - now > max(self.gap, 4 * error):
            return None
        if smooth(series.column("loss"), 3) < 1.02 * float(series.column("loss").min()):
            return None  # still the best loss so far: it generalizes better, not worse
        at_loss = int(np.nanargmin(series.column("loss")))
        then, after = _training_loss(history, at_loss)
        if not after < then:
            return None
        return self._said(
            history, at_loss,
            f"Accuracy is {fitted:.3f} on training data and {now:.3f} on validation data, and the latter has "
            f"not improved since step {accuracy.steps[at]}.",
            train_accuracy=fitted, validation_accuracy=now,
        )  # fmt: skip

    def _said(self, history: History, at: int, evidence: str, **numbers: float) -> Suspicion:
        step = int(history["validation_loss"].steps[at])
        return self.suspect(
            step,
            (),
            evidence,
            "The network memorizes its training samples: it has more capacity than they can constrain.",
            f"Stop at the best validation (EarlyStopping, or the checkpoint of step {step}). Use more data, "
            "augmentation, weight decay, dropout or a smaller network.",
            Severity.WARNING,
            best_step=step,
            **numbers,
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
