"""The events of an optimizer step. At a step without measurements they do almost nothing."""

import sys
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from nnfoundations.diagnostics._diagnosis import Diagnosis
from nnfoundations.diagnostics._error import describe
from nnfoundations.diagnostics._event import event
from nnfoundations.diagnostics._history import Event
from nnfoundations.diagnostics._measurements import Measurements
from nnfoundations.diagnostics._schedule import Schedule
from nnfoundations.diagnostics._step import Step

__all__ = ["StepEvents"]


class StepEvents:
    """Measures the steps of a run: a loop calls `begin`, `observe`, `before_step`, `after_step` and `end`.

    Args:
        schedule: decides when to measure.
        diagnosis: receives the measurements.
        scaled: whether a loss scaler is in use.
    """

    def __init__(self, schedule: Schedule, diagnosis: Diagnosis, scaled: bool) -> None:
        self.diagnosis, self.scaled = diagnosis, scaled
        self.failure: Exception | None = None
        self._start(schedule)

    def _start(self, schedule: Schedule) -> None:
        self.schedule, self.step = schedule, 0
        self._measurements: Measurements | None = None
        self._step: Step | None = None
        self._quiet = 0  # number of coming steps without measurements

    def reset(self) -> None:
        """Forget all measurements, because another run of the same model begins."""
        self._detach()
        self.diagnosis.reset()
        self._start(Schedule(self.schedule.budget))

    def _prepare(self) -> Measurements | None:
        """Return the measurements of the model, or None if it is not ready."""
        raise NotImplementedError

    def begin(self, step: int, batch: Any = None, index: int | None = None) -> None:
        """Begin a batch. Several batches belong to one step if gradients are accumulated.

        Args:
            step: the current optimizer step. A smaller number than before begins a new run.
            batch: the batch, to find NaN in it.
            index: its number in the epoch, for findings.
        """
        if self._quiet and self._step is None and step >= self.step and self.failure is None:
            self.step, self._quiet = step, self._quiet - 1
            self._step = Step(step, batch, index, quiet=True)
        else:
            self._begin(step, batch, index)

    @event
    def _begin(self, step: int, batch: Any, index: int | None) -> None:
        if step < self.step:
            self.reset()  # another run
        self.step = step
        self.schedule.resume()
        measurements = self._prepare()
        if measurements is None:
            return
        first = self._step is None
        current = self._step = self._step or measurements.choose(step)
        current.batches += not first
        current.batch, current.batch_index, current.quiet = batch, index, False
        if measurements.begin(current, first):
            self._quiet = self.schedule.quiet()
            current.quiet = self._quiet > 0 and not measurements.reader.wanted

    @event
    def observe(self, loss: Tensor, scale: Tensor | float | None = None) -> None:
        """Take the loss of a batch, before its backward pass.

        Args:
            loss: the loss.
            scale: the factor in it: that of a loss scaler, or 1 / N for N accumulated batches.
        """
        measurements, step = self._measurements, self._step
        if measurements is None or step is None or (step.measured and measurements.watched.one_loss):
            return  # a closure runs several times: only its first loss counts
        value = measurements.keep_loss(step, loss, scale)
        if value is not None and value - value != 0:
            self._not_finite(measurements.search("loss", step, loss=value))
        elif measurements.watched.losses.high:
            measurements.inspect_batch(step)
            if measurements.watched.losses.jumped:
                self._inspect(measurements, step, 2)
        if not step.quiet:
            measurements.read_loss(step, loss)
        step.losses += 1

    @event
    def before_step(self, optimizer: Optimizer, scale: Tensor | None = None) -> None:
        """Measure the complete gradients before the optimizer changes the weights.

        Args:
            optimizer: the optimizer that is about to step.
            scale: the factor that is still in the gradients if the optimizer unscales them itself.
        """
        measurements, step, key = self._measurements, self._step, id(optimizer)
        if measurements is None or step is None or key in step.measured:
            return  # a closure runs several times: only its first gradients count
        if key not in measurements.watched.probes:
            return
        step.measured += (key,)
        if measurements.rate_jumped(step, optimizer) and self.schedule.steps:
            step.gradients = not measurements.gradients.failed  # even shortly after another jump
            self._inspect(measurements, step, 3)
        if not measurements.gradients_finite(step, key):
            self._not_finite(measurements.search("gradient", step, optimizer=key))
        if step.gradients:
            measurements.before_step(step, key, scale)

    def _inspect(self, measurements: Measurements, step: Step, steps: int) -> None:
        self.schedule.inspect(steps)
        step.gradients = step.gradients or (
            self.schedule.wants_gradients(self.step) and not measurements.gradients.failed
        )
        if step.gradients:
            self._quiet, step.quiet = 0, False

    def _not_finite(self, fact: Event | None) -> None:
        if fact is not None:
            self.diagnosis.update(self.step, fact)

    @event
    def not_finite(self, optimizer: Optimizer) -> None:
        """Take the fact that an optimizer is about to apply gradients that are not finite.

        Args:
            optimizer: the optimizer. Its gradients are still there.
        """
        measurements, step, key = self._measurements, self._step, id(optimizer)
        if measurements is not None and step is not None and key in measurements.watched.checks:
            self._not_finite(measurements.search("gradient", step, optimizer=key))

    @event
    def raised(self, error: BaseException) -> None:
        """Look for NaN in the batch, the weights and the layers after the training step raised.

        Args:
            error: the exception. Only one about NaN or infinity counts.
        """
        measurements, step = self._measurements, self._step
        if measurements is not None and step is not None and step.batch is not None:
            self._not_finite(measurements.raised(step, error))

    def after_step(self, optimizer: Optimizer, overflow: Tensor | None = None) -> None:
        """Measure how far the optimizer changed the weights.

        Args:
            optimizer: the optimizer that stepped.
            overflow: not 0 if an optimizer that unscales gradients itself skipped the step.
        """
        step = self._step
        if step is None:
            return
        if step.gradients or overflow is not None:
            self._after_step(step, optimizer, overflow)
        elif id(optimizer) in step.measured:
            step.stepped = True

    @event
    def _after_step(self, step: Step, optimizer: Optimizer, overflow: Tensor | None) -> None:
        measurements = self._measurements
        if measurements is None or id(optimizer) not in measurements.watched.probes:
            return
        waits = measurements.watched.waits
        step.stepped = step.stepped or overflow is None or not waits or not bool(overflow)
        measurements.after_step(step, id(optimizer), overflow)

    @event
    def skipped(self) -> None:
        """Note that a loss scaler skipped the step. Not needed if `before_step` was called."""
        if self._step is not None:
            self._step.skipped = True

    def end(self) -> None:
        """End a batch. Findings of this step or an earlier one may follow."""
        step, measurements = self._step, self._measurements
        full = measurements is not None and measurements.watched.losses.full
        if self._quiet and step is not None and step.measured and not full:
            self._step = None
        else:
            self._end()
            if self._step is not None or self.failure is not None:
                return
        self.schedule.stepped()
        if not self._quiet:
            self.schedule.settle()

    @event
    def _end(self) -> None:
        step, measurements = self._step, self._measurements
        if step is None or measurements is None:
            return
        self._not_finite(measurements.search_accumulated(step))
        step.batch = None
        measurements.detach(step)
        if not step.complete:
            return  # more batches of this step follow
        self._step = None
        if step.evaluates:
            measurements.evaluate(step)
        if not step.measures:
            measurements.finish(step, self.diagnosis)
            return
        with self.schedule.gradients if step.gradients else self.schedule.activations as account:
            measurements.finish(step, self.diagnosis)  # running the rules is part of the cost
        account.seconds -= self.diagnosis.outside
        self.schedule.measured(self.step)

    def _detach(self) -> None:
        self._step, self._quiet = None, 0
        if self._measurements is not None:
            self._measurements.watched.detach()
            self._measurements.validation.end()
            self._measurements.watched.end_evaluation()

    def fail(self, error: Exception) -> None:
        """End the diagnostics after an internal error, and say so in one line. The training continues.

        Args:
            error: the exception.
        """
        self._detach()
        if self.failure is None:
            self.failure = error
            error.__traceback__ = error.__context__ = error.__cause__ = None  # their frames hold the model
            print(
                f"Diagnostics ended at step {self.step} because of an internal error ({describe(error)}). "
                "The training continues without them.",
                file=sys.stderr,
            )
