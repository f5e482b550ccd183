"""Runs the checks, in an order in which a fault does not hide the next one."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from nnfoundations.check._learning import initial_loss, one_batch, real_batches, ten_times
from nnfoundations.check._modes import evaluation, independence
from nnfoundations.check._trained_copy import STEPS, Judgement, TrainedCopy
from nnfoundations.check._trial import hushed
from nnfoundations.check._updates import gradient, parameters, step
from nnfoundations.check._verdict import State, Verdict

__all__ = ["CHECKS", "check"]

ONE_LOSS_ONLY = {"initial loss", "gradient", "optimizer's gradient", "overfits one batch",
                 "falls on real batches", "10 times the rate"}  # fmt: skip
"""Checks that assume one loss per step, whose gradients go to the optimizer."""

CHECKS: dict[str, Callable[[TrainedCopy], Judgement]] = {
    "initial loss": initial_loss,
    "gradient": gradient,
    "optimizer's gradient": step,
    "parameters move": parameters,
    "samples stay apart": independence,
    "evaluation mode": evaluation,
    "overfits one batch": one_batch,
    "falls on real batches": real_batches,
    "10 times the rate": ten_times,
}

_ADVICE = {
    r"Target -?\d+ is out of bounds": (
        "Class indices must be below the number of outputs: use one output per class, or BCEWithLogitsLoss "
        "with float targets for one output."
    ),
    r"[Tt]arget size .* input size": (
        "Give predictions and targets one shape: squeeze(1) the predictions, or unsqueeze(1) the targets."
    ),
}
"""What to do about errors that have a usual cause, by their text."""


def check(
    model: LightningModule,
    datamodule: LightningDataModule | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> Iterator[Verdict]:
    """Check a model with its data; the model itself is not changed.

    Args:
        model: with its optimizer, as for a fit. Copies of it are trained.
        datamodule: gives real training batches; None if the model has a `train_dataloader`.
        trainer: options of the `Trainer` that would train it: device, precision, gradient clipping.

    Yields:
        The verdict of each check, as soon as it is known. If no data can be read, or the first training steps
        raise an error or return no loss, the only verdict says so.

    Example:
        >>> from nnfoundations.check import State, check
        >>> from nnfoundations.datamodules import DigitsDataModule
        >>> from nnfoundations.lightning_modules import Classifier
        >>> from nnfoundations.models import MLP
        >>> verdicts = check(Classifier(MLP([64, 32, 10])), DigitsDataModule())
        >>> [verdict.check for verdict in verdicts if verdict.state is State.FAIL]
        []
    """
    try:
        batches = _batches(model, datamodule)
    except Exception as error:  # no loader, no files, a broken data set
        remedy = (
            "Name a DataModule with --data, or define train_dataloader() in the model."
            if datamodule is None
            else "Fix the data set. `nnfoundations data NAME` downloads and verifies a packaged one."
        )
        yield Verdict("data", State.FAIL, _short(error), remedy)
        return
    if not batches:
        remedy = "Check the data set and drop_last of train_dataloader()."
        yield Verdict("data", State.FAIL, "the training loader is empty", remedy)
        return
    copy = TrainedCopy(model, batches, trainer or {})
    try:
        copy.train(STEPS, copy.trial)
    except Exception as error:  # whatever a user's model raises is the verdict
        yield Verdict("runs", State.FAIL, _short(error), _advice(error))
        return
    if model.automatic_optimization and not copy.trial.losses:
        measured = "training_step returned no loss, so nothing was trained"
        yield Verdict("runs", State.FAIL, measured, "Return the loss from training_step.")
        return
    for name, judge in CHECKS.items():
        verdict = _verdict(name, judge, copy)
        if verdict.state is State.FAIL:
            copy.failed.append(name)
        yield verdict


def _batches(model: LightningModule, datamodule: LightningDataModule | None) -> list[Any]:
    source: Any = datamodule or model
    with hushed():
        if datamodule is not None:
            datamodule.prepare_data()
            datamodule.setup("fit")
        return list(islice(iter(source.train_dataloader()), STEPS))


def _verdict(name: str, judge: Callable[[TrainedCopy], Judgement], copy: TrainedCopy) -> Verdict:
    if not copy.model.automatic_optimization and name in ONE_LOSS_ONLY:
        reason = "under manual optimization a step may have several losses"
        return Verdict(name, State.SKIPPED, reason)
    try:
        return Verdict(name, *judge(copy))
    except Exception as error:  # a check that does not fit a model is not the model's fault
        return Verdict(name, State.SKIPPED, f"could not be measured: {_short(error)}")


def _short(error: Exception) -> str:
    """The first line of an error, after its type; an error of this package explains itself."""
    text = (str(error).splitlines() or [""])[0][:120]
    if text and type(error).__module__.startswith("nnfoundations."):
        return text
    return ": ".join(filter(None, (type(error).__name__, text)))


def _advice(error: Exception) -> str:
    text = _short(error)
    known = (advice for pattern, advice in _ADVICE.items() if re.search(pattern, text))
    return next(known, "Run `fit` with --verbose to see where the error is raised, and fix it.")
