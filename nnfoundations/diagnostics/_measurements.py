"""Measures one model in the steps that the schedule chooses. Each kind of measurement may fail on its own."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ParamSpec, TypeVar

from torch import Tensor
from torch.optim import Optimizer

from nnfoundations.diagnostics._constant import ConstantLoss
from nnfoundations.diagnostics._diagnosis import Diagnosis
from nnfoundations.diagnostics._doubt import not_learning, searches, unsettled
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._loss_graph import loss_terms
from nnfoundations.diagnostics._loss_terms import Term
from nnfoundations.diagnostics._predictions import (
    BATCH_CLASSES,
    LABEL_RANKS,
    PREDICTIONS,
    ClassCounts,
    label_ranks,
    labels_of,
    predictions,
)
from nnfoundations.diagnostics._probe_guard import ProbeGuard
from nnfoundations.diagnostics._rates import RateReader
from nnfoundations.diagnostics._samples import SeenSamples
from nnfoundations.diagnostics._schedule import DENSE, Account, Schedule
from nnfoundations.diagnostics._step import Step
from nnfoundations.diagnostics._targets import LossReader, batch_rms, batch_size
from nnfoundations.diagnostics._training_facts import group_facts
from nnfoundations.diagnostics._transfer import DeviceTransfer
from nnfoundations.diagnostics._validation_probe import ValidationProbe
from nnfoundations.diagnostics._watched_model import WatchedModel
from nnfoundations.diagnostics._wiring import EARLY, strong_dropout

__all__ = ["FIRST", "Measurements"]

P = ParamSpec("P")
R = TypeVar("R")

FIRST = 2
"""Number of first steps at which the loss is searched for parameters that the model does not have."""


class Measurements:
    """Everything that is measured of a model, from its first batch on.

    Args:
        watched: the model.
        optimizers: all optimizers that update it.
        history: receives the measurements.
        schedule: counts the time.
        scaled: whether a loss scaler is in use.
    """

    def __init__(
        self,
        watched: WatchedModel,
        optimizers: Sequence[Optimizer],
        history: History,
        schedule: Schedule,
        scaled: bool,
    ) -> None:
        self.watched, self.optimizers, self.history, self.schedule = watched, optimizers, history, schedule
        self.scaled = scaled
        self.transfer = DeviceTransfer(scaled)
        self.rates = RateReader(optimizers)
        self.loss = ProbeGuard("loss", history)
        self.gradients = ProbeGuard("gradients", history)
        self.activations = ProbeGuard("activations", history)
        self.evaluation = ProbeGuard("evaluation", history)
        self.graph = ProbeGuard("loss-graph", history)
        self.wiring = ProbeGuard("wiring", history)
        self.nonfinite = ProbeGuard("non-finite", history)
        self.data = ProbeGuard("data", history)
        self.reader, self.constant, self.classes = LossReader(), ConstantLoss(), ClassCounts()
        self.samples = SeenSamples()
        self.validation = ValidationProbe(watched, self.samples, self.data)
        skipped = history["skipped"].rows
        self._skips = int(skipped[-1, 0]) if len(skipped) else 0
        history.parameters, history.groups = watched.facts, group_facts(optimizers)
        history.unavailable |= watched.reasons
        if not history.events_of("strong-dropout"):
            self._note(strong_dropout(watched.model))

    def choose(self, step: int) -> Step:
        """Decide whether a step measures gradients, and whether it measures activations."""
        total = self.history.settings.get("total_steps")
        still = self.schedule.doubts(step) and not_learning(self.history)
        again = self.schedule.settles(step) and unsettled(self.history)
        gradients = self.schedule.wants_gradients(step, total)
        activations = self.schedule.wants_activations(step, total, still=still, unsettled=again)
        evaluates = self.watched.evaluation is not None and not self.evaluation.failed
        evaluates = evaluates and self.schedule.wants_evaluation(step, total)
        return Step(
            step,
            gradients=(gradients or evaluates) and not self.gradients.failed,
            activations=activations and not self.activations.failed,
            evaluates=evaluates,
        )

    def begin(self, step: Step, first: bool) -> bool:
        """Begin a batch of a step; `first` of its batches. Return whether the next steps may be quiet."""
        if step.gradients or self.watched.tracer.draws:
            with self.nonfinite:
                self.watched.tracer.begin()
        if first and step.activations and self.watched.activations is not None:
            with self.schedule.activations as account, self.activations:
                step.hooked = True
                timed = partial(self._timed, account=account, guard=self.activations)
                readings = self.transfer.readings(step.index)
                self.watched.activations.attach(readings, timed, step.batch, searches(self.history))
        if first and step.evaluates and self.watched.evaluation is not None:
            with self.schedule.evaluations, self.evaluation:
                self.watched.evaluation.attach()
        return first and not (step.measures or self.watched.tracer.draws or self.scaled)

    def detach(self, step: Step) -> None:
        """Collect what the hooks measured, and remove them."""
        if not step.hooked or self.watched.activations is None:
            return
        with self.schedule.activations, self.activations:
            self.watched.activations.collect()
            self.history.layers = self.history.layers | self.watched.activations.layers
            self.history.unseen = dict(self.watched.activations.unseen)
        self.watched.detach()
        step.hooked = False

    def keep_loss(self, step: Step, loss: Tensor, scale: Tensor | float | None) -> float | None:
        """Keep the loss of a batch. Return it if it can be read without waiting."""
        step.quiet = step.quiet and not step.losses
        if step.gradients:
            self.watched.tracer.observe()
        if self.watched.mode_sensitive and not self.watched.model.training:
            self.history.note(Event("train-mode-off", step.index, self.watched.mode_sensitive))
        try:
            return self.watched.losses.write(step.index, loss, scale)
        except Exception as error:
            self.loss.fail(error)
            return None

    def read_loss(self, step: Step, loss: Tensor) -> None:
        """Read the graph of a loss in the first steps, and what it shows at a step with measurements."""
        if step.losses:
            return
        if not self.graph.failed:
            with self.schedule.activations if step.activations else self.schedule.gradients, self.graph:
                self._read_graph(step, loss)
        if step.measures and not self.data.failed:
            with self.schedule.activations if step.activations else self.schedule.gradients, self.data:
                self._measure_batch(step)
        if step.evaluates and self.watched.evaluation is not None:
            with self.schedule.evaluations, self.evaluation:
                self.watched.evaluation.keep(loss)
        if self.schedule.steps < FIRST and not self.wiring.failed:
            with self.schedule.gradients, self.wiring:
                self._note(self.watched.unregistered(step.index, loss, self.optimizers))
        if step.gradients:
            timed = partial(self._timed, account=self.schedule.gradients, guard=self.gradients)
            self.watched.measure_stale(loss, self.transfer.readings(step.index), timed)

    def _read_graph(self, step: Step, loss: Tensor) -> None:
        """Read what kind of loss it is, its targets, and the accuracy that its graph shows."""
        if self.reader.wanted and loss.requires_grad:
            seen = self.watched.activations
            made, outputs = (seen.made, seen.outputs) if seen is not None else ({}, {})
            self.reader.read(loss, step.batch, self.history, made, outputs)
        if step.measures:
            self.reader.measure(self.transfer.readings(step.index), step.batch)
            self._read_targets(step, loss_terms(loss, {}))
        if step.activations:
            self.watched.find_terminal(loss)

    def _read_targets(self, step: Step, terms: list[Term]) -> None:
        """Read targets and predictions of a batch from the terms of its loss."""
        readings = self.transfer.readings(step.index)
        if step.activations and (constant := self.constant.update(terms)) is not None:
            readings.add("constant_loss", ("loss", "low", "high"), constant)
        labels = labels_of(terms, batch_size(step.batch))
        if labels is None:
            return
        readings.add("batch_classes", BATCH_CLASSES, self.classes.update(labels))
        wanted = step.activations or self.schedule.steps > DENSE  # the first predictions say nothing
        if wanted and (predicted := predictions(labels)) is not None:
            readings.add("predictions", PREDICTIONS, predicted)
        if wanted and (ranks := label_ranks(labels)) is not None:
            readings.add("label_ranks", LABEL_RANKS, ranks)

    def _measure_batch(self, step: Step) -> None:
        if {"validation_loss", "validation_samples"}.isdisjoint(self.history.unavailable):
            self.samples.add(step.batch)
        if (size := batch_rms(step.batch)) is not None:
            self.transfer.readings(step.index).add("batch_rms", ("rms",), size)

    def inspect_batch(self, step: Step) -> None:
        """Keep the size of a batch whose loss is high, if it can be read without waiting."""
        if step.measures or self.data.failed or not self.watched.waits:
            return
        with self.data:
            if (size := batch_rms(step.batch)) is not None:
                self.history.record("batch_rms", step.index, ("rms",), [float(size)])

    def rate_jumped(self, step: Step, optimizer: Optimizer) -> bool:
        """Record the learning rates if one has changed. Return whether one has jumped."""
        return (self.rates.changed(optimizer) or step.gradients) and self.rates.record(
            self.history, step.index
        )

    def gradients_finite(self, step: Step, optimizer: int) -> bool:
        """Check a few gradients, if numbers can be read without waiting and no NaN was found yet."""
        watched = self.watched
        if not watched.waits or self.scaled or watched.tracer.done or self.nonfinite.failed:
            return True
        check = watched.checks[optimizer]
        try:
            if step.quiet:
                return check.terminal_finite()
            return check.finite(every=step.measures or step.batches > 1)
        except Exception as error:
            self.nonfinite.fail(error)
            return True

    def search(
        self, seen: str, step: Step, loss: float | None = None, optimizer: int | None = None
    ) -> Event | None:
        """Find the origin of a NaN or infinity; None if it was found before, or a loss scaler is in use."""
        tracer = self.watched.tracer
        if tracer.done or self.scaled or self.nonfinite.failed:
            return None
        with self.nonfinite:
            check = None if optimizer is None else self.watched.checks[optimizer]
            return tracer.found(
                seen,
                step.index,
                self.watched.parameters,
                step.batch,
                step.batch_index,
                loss=loss,
                gradients=None if check is None else check.nonfinite,
                # After each batch of a step, only one gradient per module is checked.
                earlier=check is not None and step.batches > 1 and check.finite(),
            )
        return None

    def search_accumulated(self, step: Step) -> Event | None:
        """Check the gradients so far after a batch of a step that goes on, while this batch is here."""
        if step.complete or not step.losses:
            return None
        bad = (key for key in self.watched.checks if not self.gradients_finite(step, key))
        optimizer = next(bad, None)
        return None if optimizer is None else self.search("gradient", step, optimizer=optimizer)

    def raised(self, step: Step, error: BaseException) -> Event | None:
        """Find the origin after the training step raised an exception because of NaN or infinity."""
        with self.nonfinite:
            batch = step.batch, step.batch_index
            return self.watched.tracer.raised(error, step.index, self.watched.parameters, *batch)
        return None

    def before_step(self, step: Step, optimizer: int, scale: Tensor | None) -> None:
        """Measure the complete gradients before an optimizer changes the weights."""
        with self.schedule.gradients:
            with self.gradients:
                self.watched.probes[optimizer].before_step(self.transfer.readings(step.index), scale)
            if self.schedule.steps <= EARLY and not self.wiring.failed:
                with self.wiring:
                    self._note(self.watched.wiring(step.index, optimizer, backward=step.losses > 0))

    def after_step(self, step: Step, optimizer: int, overflow: Tensor | None) -> None:
        """Measure how far an optimizer changed the weights."""
        if step.gradients and optimizer in step.measured:
            with self.schedule.gradients, self.gradients:
                self.watched.probes[optimizer].after_step(self.transfer.readings(step.index), overflow)

    def evaluate(self, step: Step) -> None:
        """Run the network again on the first batch of a step, in other modes and on changed inputs."""
        if self.watched.evaluation is not None:
            with self.schedule.evaluations, self.evaluation:
                self.watched.evaluation.evaluate(step.index, self.history)

    def finish(self, step: Step, diagnosis: Diagnosis) -> None:
        """Send what a step measured to the host, and run the rules on what has arrived."""
        if self.scaled and not step.stepped:
            self._skips += 1
            for probe in self.watched.probes.values():
                probe.forget()
        if not self.watched.waits:
            self._receive(diagnosis)  # what was sent at the last measurement; this one arrives by the next
        if self.transfer.current is not None or self.watched.losses.full:
            self.watched.losses.pack(self.transfer.readings(step.index), self.history)
            if self.scaled:
                self.history.record("skipped", step.index, ("steps",), [self._skips])
            self.transfer.send()
        if self.watched.waits:
            self._receive(diagnosis)

    def flush(self, step: int, diagnosis: Diagnosis) -> None:
        """Send the losses that are still here, wait for all transfers, and run the rules on them."""
        if self.watched.losses.pending:
            self.watched.losses.pack(self.transfer.readings(step), self.history)
        self.transfer.send()
        self._receive(diagnosis, wait=True)

    def _receive(self, diagnosis: Diagnosis, wait: bool = False) -> None:
        for step in self.transfer.arrivals(self.history, self.watched.losses, wait):
            late = None if self.scaled else self.watched.tracer.late(self.history, step)
            diagnosis.update(step, *([late] if late else []))

    def _note(self, facts: list[Event]) -> None:
        for fact in facts:
            self.history.note(fact)

    def _timed(self, hook: Callable[P, R], account: Account, guard: ProbeGuard) -> Callable[P, R | None]:
        """Wrap a hook that runs inside forward or backward: count its time and catch its exceptions."""

        def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
            if guard.failed or self.watched.tracer.replaying:
                return None
            before = account.seconds
            try:
                with account, guard:
                    return hook(*args, **kwargs)
                return None
            finally:
                self.schedule.own += account.seconds - before

        return run
