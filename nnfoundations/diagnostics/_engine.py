"""Turns the events of a training loop into findings. It works with tensors and knows no framework.

A loop calls `begin`, `observe`, `before_step`, `after_step` and `end` in this order, and sometimes
`validated`. At a step without measurements these do almost nothing and never wait for the device.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from nnfoundations.diagnostics._diagnosis import Diagnosis
from nnfoundations.diagnostics._event import event
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._judge import Judge
from nnfoundations.diagnostics._measurements import Measurements
from nnfoundations.diagnostics._schedule import Schedule
from nnfoundations.diagnostics._step_events import StepEvents
from nnfoundations.diagnostics._watched_model import WatchedModel
from nnfoundations.diagnostics.rules import ENDED

__all__ = ["Engine"]


class Engine(StepEvents):
    """Measure the training of a model and run the rules on the measurements.

    An exception in here never ends the training. It ends the kind of measurement in which it occurred, and
    the rules that need it are listed as not run. A `FaultError` from `on_finding` or `on_measured` is passed
    on.

    Args:
        model: the module whose layers are named in findings.
        optimizers: all optimizers that update its parameters.
        judge: the rules, and what is muted. None means all rules.
        budget: share of the step time that the measurements may take. For steps below 10 ms the budget is
            0.1 ms per step.
        compiled: whether the model runs compiled although `model` is the module before compilation.
        scaled: whether a loss scaler is in use. A step that it skips is not a fault.
        locate_nonfinite: whether to name the module that makes the first NaN on CUDA too. This waits for the
            device at every step. On the CPU the module is always named.
        replay: runs the batch of this step again and returns its loss. None if that is not possible.
        on_finding: called with each new finding.
        on_measured: called with the step of each measurement, after the rules ran.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        judge: Judge | None = None,
        budget: float = 0.01,
        compiled: bool = False,
        scaled: bool = False,
        locate_nonfinite: bool = False,
        replay: Callable[[], Tensor | None] | None = None,
        on_finding: Callable[[Finding], None] | None = None,
        on_measured: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(Schedule(budget), Diagnosis(judge or Judge(), on_finding, on_measured), scaled)
        self.model, self.optimizers = model, list(optimizers)
        self.compiled, self.locate_nonfinite, self.replay = compiled, locate_nonfinite, replay

    @property
    def findings(self) -> list[Finding]:
        """All findings so far, root cause first."""
        return self.judge.findings

    @property
    def history(self) -> History:
        """All measurements."""
        return self.diagnosis.history

    @property
    def evaluating(self) -> bool:
        """Whether the model runs now for a measurement, not for the training."""
        probe = None if self._measurements is None else self._measurements.watched.evaluation
        return probe is not None and probe.evaluating

    @property
    def judge(self) -> Judge:
        """The rules and their results."""
        return self.diagnosis.judge

    def pause(self) -> None:
        """Do not count the time until the next batch as training: a validation, or the end of an epoch."""
        self.schedule.pause()
        self._quiet = 0

    @event
    def validating(self, batch: Any, loader: int = 0) -> None:
        """Begin a batch of a validation. The first ones are compared with those of training.

        Args:
            batch: the batch.
            loader: the position of its data loader.
        """
        measurements = self._measurements
        if measurements is not None and not measurements.data.failed:
            with measurements.data:
                measurements.validation.begin(batch, loader)

    @event
    def validated_batch(self) -> None:
        """End a batch of a validation."""
        if self._measurements is not None:
            self._measurements.validation.end()

    @event
    def validated(
        self, loss: float | None, accuracy: float | None = None, error: float = float("nan"), samples: int = 0
    ) -> None:
        """Take the results of a validation.

        Args:
            loss: mean validation loss, None if unknown.
            accuracy: validation accuracy from 0 to 1, None if unknown.
            error: standard error of the loss over the batches, NaN if unknown.
            samples: number of validation samples, 0 if unknown.
        """
        self.pause()
        if self._measurements is not None and self._step is None:  # compare with the loss of this step
            self._measurements.watched.losses.settle(self.history)
            with self._measurements.data:
                self._measurements.validation.finish(self.history, self.step)
        self.diagnosis.validated(self.step, loss, accuracy, error, samples)

    @event
    def close(self, ended: bool = False) -> None:
        """End the run: remove the hooks, and run the rules on the measurements that are still in transfer.

        Args:
            ended: whether the run reached its planned length, so that nothing stopped it before.
        """
        self.schedule.settle()
        self._detach()
        if self._measurements is not None:
            self._measurements.flush(self.step, self.diagnosis)
            if ended:
                self.diagnosis.update(self.step, Event(ENDED, self.step))

    def adopt(self, optimizers: Sequence[Optimizer]) -> None:
        """Continue with other optimizers of the same model: some callbacks replace them during a run.

        Args:
            optimizers: all optimizers that update its parameters from now on.
        """
        self.optimizers = list(optimizers)
        if self._measurements is not None:
            self._set_up()

    def state_dict(self) -> dict[str, Any]:
        """Return the history and the results of the rules for a checkpoint.

        Returns:
            Plain Python objects, by name.
        """
        if self._measurements is not None and self._step is None:  # within a step its numbers are incomplete
            self._measurements.flush(self.step, self.diagnosis)
        return {"step": self.step, **self.diagnosis.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the history and the results of the rules.

        Args:
            state: what `state_dict` returned.
        """
        self.diagnosis.load_state_dict(state)
        self.step = state["step"]

    def _prepare(self) -> Measurements | None:
        now = self._measurements
        may_grow = self.schedule.steps == 1 and self._step is None  # some modules grow at their first call
        if now is None or (may_grow and now.watched.outgrown(self.model)):
            return self._set_up()
        return now

    def _set_up(self) -> Measurements | None:
        if not WatchedModel.ready(self.model):
            return None
        if self._measurements is not None:
            self._detach()
            self._measurements.flush(self.step, self.diagnosis)  # what is under way belongs to the old model
        watched = WatchedModel(
            self.model,
            self.optimizers,
            compiled=self.compiled,
            locate_nonfinite=self.locate_nonfinite,
            replay=self.replay,
        )
        self._measurements = Measurements(watched, self.optimizers, self.history, self.schedule, self.scaled)
        return self._measurements
