"""Rules about validation: data prepared otherwise than for training or part of them, or another loss."""

import math
from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._loss_facts import MEASURES
from nnfoundations.diagnostics.rules._rule import Rule, smooth

__all__ = ["TrainValMismatch", "TrainValOverlap", "ValidationLossDiffers"]


@dataclass(frozen=True)
class TrainValMismatch(Rule):
    """The validation inputs have another scale or mean than the training inputs, and the loss shows it."""

    fault, family, needs = "train-val-mismatch", Family.DATA, ("validation_input", "validation_loss", "loss")
    explains = (Family.GENERALIZATION,)
    ratio: float = 2.0  # of the deviations; dropout or noise on the training inputs has up to 1.5
    shift: float = 1.0  # distance of the means, in deviations of training; a judgement
    samples: int = 30  # samples needed of each: the mean is then off by 0.2 deviations by chance
    harm: float = 1.5  # validation loss over training loss; a judgement
    share: float = 0.1  # smallest difference of them, as a share of random guessing; a judgement

    def judge(self, history: History) -> Suspicion | None:
        series = history["validation_input"]
        rms, train_rms, scale, shift, samples = (float(number) for number in series.rows[-1])
        far = not 1 / self.ratio < scale < self.ratio or shift > self.shift
        if samples < self.samples or not far or math.isnan(scale):
            return None
        validation = float(history["validation_loss"].rows[-1, 0])
        training, baseline = smooth(history["loss"].rows[:, 0], 20), history.loss.baseline
        least = self.share * baseline if baseline > 0 else 0.0
        if validation - training <= max(least, (self.harm - 1) * abs(training)):
            return None
        return self.suspect(
            series.steps[0],
            (),
            f"The inputs have a root mean square of {train_rms:.3g} in training and {rms:.3g} in validation. "
            f"Of a typical feature, the standard deviation in validation is {scale:.3g} times that in "
            f"training (expected: near 1), and the mean is off by {shift:.2g} standard deviations. The "
            f"validation loss is {validation:.3g}, the training loss {training:.3g}.",
            "The validation data are prepared otherwise than the training data, so the network sees inputs "
            "of a kind that it was not trained on.",
            "Apply the same scaling and normalization to both: use the transform of the training data "
            "without its random parts for validation, with the mean and standard deviation of the training "
            "data.",
            Severity.WARNING,
            rms=rms,
            train_rms=train_rms,
            scale=scale,
            shift=shift,
        )


@dataclass(frozen=True)
class TrainValOverlap(Rule):
    """Most validation samples are training samples, so the validation loss says nothing about new data."""

    fault, family, needs = "train-val-overlap", Family.DATA, ("validation_samples",)
    exact = True
    share: float = 0.5  # of the validation samples that are training samples; a judgement
    hits: int = 10  # such samples needed; a judgement
    most_repeated: float = 0.2  # share of training samples that recur at once, as whole graphs; a judgement

    def judge(self, history: History) -> Suspicion | None:
        if "overfit_batches" in history.settings or not len(history["validation_loss"]):
            return None
        series = history["validation_samples"]
        seen, samples, training, repeated = (float(number) for number in series.rows[-1])
        if seen < self.hits or repeated > self.most_repeated:
            return None
        known = self._known(history, training)
        share = min(1.0, seen / (samples * known))
        if share <= self.share:
            return None
        return self.suspect(
            series.steps[0],
            (),
            f"{seen:.0f} of {samples:.0f} validation samples are equal to one of {training:,.0f} training "
            f"samples that were compared"
            + (f" ({known:.0%} of an epoch)" if known < 0.995 else "")
            + f". This means that {'about ' * (known < 0.995)}{share:.0%} of the validation samples are "
            "training samples (expected: 0).",
            "The network has trained on these samples, so the validation loss and accuracy do not show how "
            "it does on new data, and overfitting stays hidden.",
            "Split the data once, before training, into rows for training and other rows for validation "
            "(random_split, or train_test_split), and remove duplicates first.",
            Severity.INFO if "same_data" in history.settings else Severity.WARNING,  # passed on purpose
            seen=seen,
            samples=samples,
            share=share,
        )

    @staticmethod
    def _known(history: History, training: float) -> float:
        """Return the share of the training samples that were compared; 1 if their number is unknown."""
        batches = history.settings.get("batches_per_epoch", 0.0)
        sizes = history["input"].column("samples") if len(history["input"]) else None
        if not batches or sizes is None:
            return 1.0
        return min(1.0, training / (batches * float(sizes.max())))


_TERMS = {
    "NllLoss": "cross-entropy",
    "NllLoss2D": "cross-entropy",
    "NllLossNd": "cross-entropy",
    "BinaryCrossEntropy": "binary cross-entropy",
    "BinaryCrossEntropyWithLogits": "binary cross-entropy",
    "MseLoss": "squared error",
    "HuberLoss": "squared error",
    "SmoothL1Loss": "squared error",
    "Abs": "absolute error",
}
"""What the nodes of these functions measure. A loss that is written by hand may be so in validation too."""


@dataclass(frozen=True)
class ValidationLossDiffers(Rule):
    """The validation loss measures something else than the training loss."""

    fault, family = "validation-loss-differs", Family.LOSS
    needs = ("validation_loss", "loss_graph", "loss")
    exact = True

    def not_run(self, history: History) -> str:
        if reason := super().not_run(history):
            return reason
        known = history.events_of("losses-in-validation")
        return "" if known else "no loss function of torch was seen in validation"

    def judge(self, history: History) -> Suspicion | None:
        trained = [_TERMS.get(term.node) for term in history.loss.terms]
        events = history.events_of("losses-in-validation")
        if not events or not trained or None in trained:
            return None
        measured = {MEASURES[name]: name for name in events[0].where}
        if set(trained) & set(measured):
            return None
        what, name = next(iter(measured.items()))
        return self.suspect(
            events[0].step,
            (),
            f"The training loss is a {trained[0]}. In validation_step only {name} ran, which is another "
            f"measure: {what}.",
            "The two losses cannot be compared, and early stopping or the choice of a checkpoint by the "
            "validation loss follows another aim than training.",
            "Log the loss of training as val_loss, and this one under another name, such as "
            f"val_{what.replace(' ', '_').replace('-', '_')}.",
            Severity.INFO,
        )
