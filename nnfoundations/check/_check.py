"""The checks, in the order in which a fault would hide the next one."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import mean, median
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from nnfoundations.check._gradient import TOLERANCE, GradientCheck
from nnfoundations.check._inputs import Inputs
from nnfoundations.check._modes import evaluation_fault, mixing
from nnfoundations.check._trial import Trial, hushed, train
from nnfoundations.check._verdict import State, Verdict

ONE_BATCH_STEPS, STEPS = 200, 100


@dataclass
class Subject:
    """A model with what its checks read.

    Args: model: never trained itself. batches: real ones, of training. trainer: options of its Trainer.
        trial: steps at the given rate.
    """

    model: LightningModule
    batches: Sequence[Any]
    trainer: Mapping[str, Any]
    trial: Trial = field(default_factory=Trial)

    def train(self, steps: int, trial: Trial, *, batches: Sequence[Any] | None = None) -> Trial:
        """Train a copy as `fit` would."""
        train(self.model, batches or self.batches, steps, trial, **self.trainer)
        return trial

    @property
    def inputs(self) -> Inputs:
        """What the model's forward is called with, in a step of training."""
        seen = self.trial.inputs if self.trial.inputs is not None else Inputs.of_batch(self.batches[0])
        return seen.for_model(self.model)

    @property
    def floor(self) -> float:
        """The least value that the loss can take: with smoothed labels, their entropy; else 0."""
        smoothing = max(
            (float(getattr(module, "label_smoothing", 0.0) or 0.0) for module in self.model.modules()),
            default=0.0,
        )
        classes = self.trial.facts.classes
        if not smoothing or classes < 2:
            return 0.0
        other = smoothing / classes
        right = 1 - smoothing + other
        return -right * math.log(right) - (classes - 1) * other * math.log(other)


def check(
    model: LightningModule,
    datamodule: LightningDataModule | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> Iterator[Verdict]:
    """Judge a model with its data: a verdict a check, as they come.

    Args:
        model: with its optimizer, as for a fit; copies are trained.
        datamodule: for real training batches; None: the model has a `train_dataloader`.
        trainer: options of the `Trainer` that would train it: its precision, how it clips, on which device.
    """
    source: Any = datamodule or model
    try:
        with hushed():
            if datamodule is not None:
                datamodule.prepare_data()
                datamodule.setup("fit")
            batches = list(islice(iter(source.train_dataloader()), STEPS))
    except Exception as error:  # no loader, no files, a broken data set
        yield Verdict(
            "data", State.FAIL, _short(error), "Give --data, or a train_dataloader(); `fit` says more."
        )
        return
    if not batches:
        yield Verdict("data", State.FAIL, "the training loader gives no batch", "Look at train_dataloader().")
        return
    subject = Subject(model, batches, trainer or {})
    try:
        subject.train(STEPS, subject.trial)
    except Exception as error:  # whatever a user's model raises is the verdict
        yield Verdict("runs", State.FAIL, _short(error), "Run `fit` with --verbose and mend what it raises.")
        return
    for name, judge in CHECKS.items():
        if not model.automatic_optimization and name in OF_ONE_LOSS:
            yield Verdict(name, State.SKIPPED, "manual optimization: there is no one loss to judge by")
            continue
        try:
            state, measured, remedy = judge(subject)
        except Exception as error:  # a check that a model does not fit is not its fault
            state, measured, remedy = State.SKIPPED, f"could not be measured: {_short(error)}", ""
        yield Verdict(name, state, measured, remedy)


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:120] or type(error).__name__


Judgement = tuple[State, str, str]


def initial_loss(subject: Subject) -> Judgement:
    facts, loss = subject.trial.facts, subject.trial.losses[0]
    if facts.softmax_before:
        return State.FAIL, "probabilities go into a cross-entropy that takes logits", "Leave the softmax out."
    if not facts.baseline > 0:  # not known; or the targets of this batch do not vary
        return State.SKIPPED, f"{loss:.3g}; the theory of this loss is not known", ""
    text = f"{loss:.3g}, where a net that knows nothing has {facts.baseline:.3g} ({facts.kind})"
    if not loss <= 2 * facts.baseline:
        return State.FAIL, text, "Scale the last layer's weights down, and standardise the inputs."
    if loss < 0.5 * facts.baseline:
        return (
            State.FAIL,
            text,
            "Too good for a beginning: does the input hold the answer? Is the loss divided twice?",
        )
    return State.PASS, text, ""


def gradient(subject: Subject) -> Judgement:
    probe = GradientCheck()
    train(subject.model, subject.batches[:1], 1, probe, precision="64-true", accelerator="cpu")
    if probe.written:
        return (State.FAIL, f"backward writes into parameters: {probe.written[0]}",
                "Compute all gradients first; only the optimizer may change weights.")  # fmt: skip
    if not probe.errors:
        return State.SKIPPED, "no parameter has a gradient", ""
    worst = max(probe.errors, key=probe.errors.__getitem__)
    text = f"{probe.errors[worst]:.1e} from differences of the loss, at worst in {worst}"
    if probe.errors[worst] > TOLERANCE:
        return State.FAIL, text, "A backward of your own is wrong at or above this layer: gradcheck it alone."
    return State.PASS, text, ""


def step(subject: Subject) -> Judgement:
    trial = subject.trial
    if trial.stale:
        return (
            State.FAIL,
            f"gradients of earlier steps are still there at step {trial.stale[0]}",
            "zero_grad().",
        )
    if trial.cosine < 0.999:
        return (State.FAIL, f"between backward and step the gradient turns: cosine {trial.cosine:.3f}",
                "Clip by the global norm (gradient_clip_val), not by layer or by element.")  # fmt: skip
    return State.PASS, f"the optimizer gets the gradient of the loss (cosine {trial.cosine:.4f} at least)", ""


def parameters(subject: Subject) -> Judgement:
    trial = subject.trial
    names = [name for name, _ in subject.model.named_parameters()]
    silent = [name for name in names if name in trial.unmoved]
    if silent:
        listed = ", ".join(silent[:3]) + (f" and {len(silent) - 3} more" if len(silent) > 3 else "")
        why = "with gradients" if set(silent) & trial.had_gradient else "without a gradient"
        return (State.FAIL, f"{listed} did not move, {why}",
                "Pass all parameters() to the optimizer; use each of them in forward().")  # fmt: skip
    return State.PASS, f"all {len(names)} tensors moved", ""


def independence(subject: Subject) -> Judgement:
    difference = mixing(subject.model, subject.inputs)
    if not difference < 1e-4:
        return (State.FAIL, f"a row alone gives another output than in its batch, by {difference:.1e}",
                "Look for a reshape, mean or softmax over the batch axis.")  # fmt: skip
    return State.PASS, f"a row alone gives what it gives in its batch, within {difference:.0e}", ""


def evaluation(subject: Subject) -> Judgement:
    fault = evaluation_fault(subject.model, subject.inputs)
    if fault:
        return State.FAIL, fault, "Let self.training decide; compare your layer with torch's in both modes."
    return State.PASS, "evaluation draws nothing, and training differs only where it should", ""


def one_batch(subject: Subject) -> Judgement:
    trial = subject.train(ONE_BATCH_STEPS, Trial(watch=0), batches=subject.batches[:1])
    first, last, floor = trial.losses[0], median(trial.losses[-10:]), subject.floor
    text = f"{first:.3g} to {last:.3g} in {ONE_BATCH_STEPS} steps" + (
        f", the least is {floor:.2g}" if floor else ""
    )
    if not last - floor <= 0.1 * (first - floor):
        return (
            State.FAIL,
            text,
            "The net cannot even learn a batch by heart: look at the rows that fail above.",
        )
    return State.PASS, text, ""


def real_batches(subject: Subject) -> Judgement:
    losses = subject.trial.losses
    first, last = mean(losses[:3]), mean(losses[-10:])
    text = f"{first:.3g} to {last:.3g} in {len(losses)} steps"
    if not last < 0.9 * first:
        return (
            State.FAIL,
            text,
            "Passes one batch? Then labels may not belong to their rows, or the rate is wrong.",
        )
    return State.PASS, text, ""


def ten_times(subject: Subject) -> Judgement:
    trial = subject.train(STEPS, Trial(rate=10, watch=0))
    here, there = mean(subject.trial.losses[-10:]), mean(trial.losses[-10:])
    if not math.isfinite(there) or there > 2 * trial.losses[0]:
        return State.PASS, "at 10 times the rate it explodes, as it should", ""
    if there < 0.8 * here:
        return (
            State.NOTE,
            f"at 10 times the rate it ends lower: {there:.3g}, not {here:.3g}",
            "Try 3 times the rate.",
        )
    return State.PASS, f"at 10 times the rate it ends at {there:.3g}, not {here:.3g}", ""


OF_ONE_LOSS = {"initial loss", "gradient", "optimizer's gradient", "overfits one batch",
               "falls on real batches", "10 times the rate"}  # fmt: skip
"""Checks that take it that each step has one loss, whose gradients are the optimizer's."""

CHECKS: dict[str, Callable[[Subject], Judgement]] = {
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
