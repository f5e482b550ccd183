"""Turns the events of a training loop into findings. It works with tensors and knows no framework.

A loop calls `begin`, `observe`, `before_step`, `after_step` and `end` in this order, and sometimes
`validated`. At a step without measurements these do almost nothing and never wait for the device.

The file is longer than usual because all events share the state of the current step. The measurements
themselves are in other files.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial, wraps
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from nnfoundations.diagnostics._error import FaultError, describe
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._judge import LOOK, Judge
from nnfoundations.diagnostics._loss import batch_accuracy, loss_facts
from nnfoundations.diagnostics._parameters import ParameterProbe
from nnfoundations.diagnostics._post import Post
from nnfoundations.diagnostics._schedule import DOUBT, Account, Schedule
from nnfoundations.diagnostics._subject import Subject
from nnfoundations.diagnostics._wiring import EARLY
from nnfoundations.diagnostics.rules._rule import stuck

__all__ = ["SAME", "SEEN", "Engine", "event"]

P = ParamSpec("P")
R = TypeVar("R")

SEEN = 2
"""Steps at the start at which the loss is searched for parameters that the model does not have."""

SAME = 8
"""Number of events of one kind that are kept. Rules need the first two."""


def event(
    method: "Callable[Concatenate[Engine, P], None]",
) -> "Callable[Concatenate[Engine, P], None]":
    """Add the time of an event to the cost of diagnostics, and keep its exceptions away from the training."""

    @wraps(method)
    def run(self: "Engine", /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.failure is not None:
            return
        start = perf_counter()
        try:
            method(self, *args, **kwargs)
        except FaultError:
            raise
        except Exception as error:
            self.fail(error)
        finally:
            self.schedule.own += perf_counter() - start

    return run


class Engine:
    """Measure the training of a model and run the rules on the measurements.

    An exception in here never ends the training: it is printed in one line, kept in `failure`, and ends the
    diagnostics. Only a `FaultError` from `on_finding` or `on_look` is passed on.

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
        on_look: called with the step of each measurement, after the rules ran.
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
        on_look: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.optimizers = model, list(optimizers)
        self.compiled, self.scaled, self.locate_nonfinite, self.replay = (
            compiled,
            scaled,
            locate_nonfinite,
            replay,
        )
        self.on_finding, self.on_look = on_finding, on_look
        self.judge = judge or Judge()
        self.history = History()
        self.failure: Exception | None = None
        self._start(Schedule(budget))

    def _start(self, schedule: Schedule) -> None:
        self.schedule, self.step = schedule, 0
        self._subject: Subject | None = None
        self._post = Post(self.scaled)
        self._batch: Any = None
        self._index: int | None = None
        self._measured: set[int] = set()  # optimizers, in this step
        self._open = False  # a step has begun and is not over
        self._stepped = self._tried = self._unread = False
        self._looking = self._sampling = self._hooked = self._fresh = False
        self._skips = 0
        self._quiet = 0  # number of coming steps without measurements
        self._resting = False  # this is one of them, with a single backward pass
        self._rates: list[float] = []
        self._rate: Any = None

    @property
    def findings(self) -> list[Finding]:
        """All findings so far, root cause first."""
        return self.judge.findings

    # -- events ------------------------------------------------------------------------------------------

    def begin(self, step: int, batch: Any = None, index: int | None = None) -> None:
        """Begin a batch. Several batches belong to one step if gradients are accumulated.

        Args:
            step: the current optimizer step. A smaller number than before begins a new run.
            batch: the batch, to find NaN in it.
            index: its number in the epoch, for findings.
        """
        if not self._quiet or self._open or step < self.step or self.failure is not None:
            self._begin(step, batch, index)
            return
        self.step, self._batch, self._index = step, batch, index
        self._quiet -= 1
        self._resting = True
        self._open_step()

    def _open_step(self) -> None:
        self._open = self._fresh = True
        self._stepped = self._tried = False
        self._measured.clear()

    @event
    def _begin(self, step: int, batch: Any, index: int | None) -> None:
        if step < self.step:
            self.reset()  # another run
        self.step, self._batch, self._index = step, batch, index
        self._resting = False
        self.schedule.resume()
        subject = self._current_subject()
        if subject is None:
            return
        first = not self._open  # of the batches of this step
        if first:
            self._open_step()
            self._choose_measurements()
        if self._looking or subject.sentinel.draws:
            subject.sentinel.begin()
        elif first and not (self._sampling or self.scaled):
            self._quiet = self.schedule.quiet()
        if first and self._sampling:
            self._attach_hooks(subject, batch)

    def _current_subject(self) -> Subject | None:
        """Return the model. Set it up at the first batch, and again if that made new parameters."""
        subject = self._subject
        if subject is None or (self.schedule.steps == 1 and not self._open and subject.outgrown(self.model)):
            return self._set_up()
        return subject

    def _choose_measurements(self) -> None:
        """Decide whether this step measures gradients, and whether it measures activations."""
        self._looking = self.schedule.wants_gradients(self.step, self.history.settings.get("total_steps"))
        still = (
            self.schedule.steps in DOUBT
            and "loss" not in self.history.unavailable
            and stuck(self.history, 0.9)
        )
        self._sampling = self.schedule.wants_activations(self.step, still)

    def _attach_hooks(self, subject: Subject, batch: Any) -> None:
        """Attach the hooks that measure activations in this step."""
        if subject.activations is None:
            return
        with self.schedule.activations as account:
            subject.activations.attach(
                self._post.packet(self.step), lambda hook: self._booked(hook, account), batch
            )
            self._hooked = True

    @event
    def observe(self, loss: Tensor, scale: Tensor | float | None = None) -> None:
        """Take the loss of a batch, before its backward pass.

        Args:
            loss: the loss.
            scale: the factor in it: that of a loss scaler, or 1 / N for N accumulated batches.
        """
        subject = self._subject
        if subject is None or (self._measured and subject.one_loss):
            return  # a closure runs several times: only its first loss counts
        self._resting = self._resting and self._fresh
        if self._looking:
            subject.sentinel.observe()
        value = subject.tape.write(self.step, loss, scale)
        if self._unread or self.schedule.steps < SEEN:
            self._read_graph(subject, loss)
        if subject.mode_sensitive and not self.model.training:
            self._note(Event("train-mode-off", self.step, subject.mode_sensitive))
        if value is not None and (value - value != 0 or subject.tape.jumped):
            self._react_to_loss(value)
        if self._fresh and (self._looking or self._sampling):
            self._measure_loss(subject, loss)
        self._fresh = False

    def _read_graph(self, subject: Subject, loss: Tensor) -> None:
        """Read from the graph of the loss what kind it is and which parameters it depends on."""
        if self._unread and loss.requires_grad:
            self.history.loss, self._unread = loss_facts(loss), False
        if self._fresh and self.schedule.steps < SEEN:
            with self.schedule.gradients:
                self._note(*subject.unregistered(self.step, loss, self.optimizers))

    def _react_to_loss(self, value: float) -> None:
        """Find the origin of a loss that is not finite; measure more often after one that jumped."""
        if value - value != 0:
            self._not_finite("loss", loss=value)
        else:
            self._look_closer(2)

    def _measure_loss(self, subject: Subject, loss: Tensor) -> None:
        """Measure what the graph of the loss shows at a step with measurements."""
        one_backward = subject.one_loss and loss.requires_grad
        if self._looking and one_backward:
            stale = partial(subject.stale, self._post.packet(self.step))
            loss.register_hook(self._booked(stale, self.schedule.gradients))
        if not self._sampling:
            return
        with self.schedule.activations:
            if (accuracy := batch_accuracy(loss)) is not None:
                self._post.packet(self.step).add("train_accuracy", ("accuracy",), accuracy.reshape(1))
            if one_backward:
                subject.guard(loss)

    @event
    def before_step(self, optimizer: Optimizer, scale: Tensor | None = None) -> None:
        """Measure the complete gradients before the optimizer changes the weights.

        Args:
            optimizer: the optimizer that is about to step.
            scale: the factor that is still in the gradients if the optimizer unscales them itself.
        """
        subject = self._subject
        if subject is None or not self._open or (key := id(optimizer)) in self._measured:
            return  # a closure runs several times: only its first gradients count
        if (probe := subject.probes.get(key)) is None:
            return
        self._measured.add(key)
        if (
            self._looking or optimizer.param_groups[0]["lr"] is not self._rate
        ):  # without a schedule it is the same object
            self._rate = optimizer.param_groups[0]["lr"]
            self._read_rates()
        if subject.waits and not self.scaled and not subject.sentinel.done:
            finite = probe.finite_at_the_ends() if self._resting else probe.finite()
            if not finite:
                self._not_finite("gradient", probe=probe)
        if self._looking:
            with self.schedule.gradients:
                probe.before_step(self._post.packet(self.step), self.step, scale)
                if self.schedule.steps <= EARLY:
                    self._note(*subject.wiring(self.step, probe, backward=not self._fresh))

    def after_step(self, optimizer: Optimizer, overflow: Tensor | None = None) -> None:
        """Measure how far the optimizer changed the weights.

        Args:
            optimizer: the optimizer that stepped.
            overflow: not 0 if an optimizer that unscales gradients itself skipped the step.
        """
        if self._looking or overflow is not None:
            self._after_step(optimizer, overflow)
        elif id(optimizer) in self._measured:
            self._stepped = True

    @event
    def _after_step(self, optimizer: Optimizer, overflow: Tensor | None) -> None:
        subject = self._subject
        if subject is None or not self._open or (probe := subject.probes.get(id(optimizer))) is None:
            return
        self._stepped = self._stepped or overflow is None or not subject.waits or not bool(overflow)
        if self._looking and id(optimizer) in self._measured:
            with self.schedule.gradients:
                probe.after_step(self._post.packet(self.step), overflow)

    @event
    def skipped(self) -> None:
        """Note that a loss scaler skipped the step. Not needed if `before_step` was called."""
        self._tried = True

    def end(self) -> None:
        """End a batch. Findings of this step or an earlier one may follow."""
        subject = self._subject
        if self._quiet and self._measured and subject is not None and not subject.tape.full:
            self._open, self._batch = False, None
        else:
            self._end()
            if self._open or self.failure is not None:
                return
        self.schedule.stepped()
        if not self._quiet:
            self.schedule.settle()

    @event
    def _end(self) -> None:
        self._batch = None
        subject = self._subject
        if subject is None:
            return
        if self._hooked and subject.activations is not None:
            with self.schedule.activations:
                subject.activations.collect()
                self.history.layers = dict(subject.activations.layers)
                subject.detach()
                self._hooked = False
        if not self._open or not (self._stepped or self._measured or self._tried):
            return  # more batches of this step follow
        self._open = False
        if self.scaled and not self._stepped:
            self._skips += 1
            for probe in subject.probes.values():
                probe.forget()
        if not (self._looking or self._sampling or self._post.travelling or subject.tape.full):
            return
        if self._looking or self._sampling:  # running the rules is part of the cost
            with self.schedule.gradients if self._looking else self.schedule.activations:
                self._send(subject)
            self.schedule.looked(self.step)
        else:
            self._send(subject)

    def _send(self, subject: Subject) -> None:
        """Send what this step measured to the host, and read what has arrived."""
        if self._post.filling is None and not subject.tape.full:
            if self._post.travelling:
                self._receive()
            return
        subject.tape.pack(self._post.packet(self.step), self.history)
        if self.scaled:
            self.history.record("skipped", self.step, ("steps",), [self._skips])
        if not subject.waits:
            self._receive()  # what was sent at the last measurement; this one arrives by the next
        self._post.send()
        if subject.waits:
            self._receive()

    def pause(self) -> None:
        """Do not count the time until the next batch as training: a validation, or the end of an epoch."""
        self.schedule.pause()
        self._quiet = 0

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
        if self._subject is not None and not self._open:
            self._subject.tape.settle(
                self.history
            )  # the rules compare it with the training loss of this step
        if loss is not None and loss - loss == 0:  # rules use the smallest one, which NaN would hide
            self.history.record("validation_loss", self.step, ("loss", "error"), [loss, error])
        if accuracy is not None:
            self.history.record("validation_accuracy", self.step, ("accuracy",), [accuracy])
        if samples:
            self.history.settings["validation_samples"] = samples
        self._judge(self.step)

    @event
    def close(self) -> None:
        """End the run: remove the hooks, and run the rules on the measurements that are still in transfer."""
        self.schedule.settle()
        self._detach()
        self._open, self._batch = False, None
        self._flush()

    def _flush(self) -> None:
        """Wait for the measurements that are still in transfer."""
        if self._subject is not None and self._subject.tape.pending:
            self._subject.tape.pack(self._post.packet(self.step), self.history)
        self._post.send()
        self._receive(wait=True)

    # -- between runs ------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """End the diagnostics after an internal error, and say so in one line. The training continues.

        Args:
            error: the exception.
        """
        self._detach()
        self._batch, self._open, self._quiet = None, False, 0
        self._post.drop()
        if self.failure is None:
            self.failure = error
            print(
                f"Diagnostics ended at step {self.step} because of an internal error ({describe(error)}). "
                "The training continues without them.",
                file=sys.stderr,
            )

    def adopt(self, optimizers: Sequence[Optimizer]) -> None:
        """Continue with other optimizers of the same model: some callbacks replace them during a run.

        Args:
            optimizers: all optimizers that update its parameters from now on.
        """
        self.optimizers = list(optimizers)
        if self._subject is not None:
            self._set_up()

    def reset(self) -> None:
        """Forget all measurements, because another run of the same model begins."""
        self._detach()
        settings, unavailable = self.history.settings, self.history.unavailable
        self.judge, self.history = Judge(self.judge.rules, self.judge.mute), History()
        self.history.settings, self.history.unavailable = settings, unavailable
        self._start(Schedule(self.schedule.budget))

    def state_dict(self) -> dict[str, Any]:
        """Return the history and the results of the rules for a checkpoint.

        Returns:
            Plain Python objects, by name.
        """
        if not self._open:  # in the middle of a step its numbers are incomplete
            self._flush()
        return {"step": self.step, "history": self.history.state_dict(), "judge": self.judge.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the history and the results of the rules.

        Args:
            state: what `state_dict` returned.
        """
        self.history.load_state_dict(state["history"])
        self.judge.load_state_dict(state["judge"])
        self.step = state["step"]

    # -- what happens in them ----------------------------------------------------------------------------

    def _set_up(self) -> Subject | None:
        if not Subject.ready(self.model):
            return None
        if self._subject is not None:
            self._detach()
            self._flush()  # transfers under way belong to the old model
        subject = Subject(self.model, self.optimizers, self.compiled, self.replay, self.locate_nonfinite)
        self.history.parameters = subject.facts
        self.history.unavailable |= subject.reasons
        self._subject, self._unread = subject, True
        return subject

    def _detach(self) -> None:
        if self._subject is not None:
            self._subject.detach()
        self._hooked = False

    def _booked(self, hook: Callable[P, R], account: Account) -> Callable[P, R | None]:
        """Wrap a hook that runs inside forward or backward: count its time and catch its exceptions."""

        def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
            if self.failure is not None or self._subject is None or self._subject.sentinel.replaying:
                return None
            before = account.seconds
            try:
                with account:
                    return hook(*args, **kwargs)
            except Exception as error:
                self.fail(error)
                return None
            finally:
                self.schedule.own += account.seconds - before

        return run

    def _read_rates(self) -> None:
        rates = [group["lr"] for o in self.optimizers for group in o.param_groups]
        if rates == self._rates:
            return
        if any(isinstance(r, Tensor) and r.device.type != "cpu" for r in rates):
            self.history.unavailable["lr"] = (
                "the learning rate is a tensor on the device, and reading it would wait"
            )
            return
        then, self._rates = self._rates, [float(rate) for rate in rates]
        jumped = len(then) == len(rates) and any(a > 3 * b for a, b in zip(self._rates, then, strict=True))
        if jumped and self.schedule.steps:
            self._looking = True  # at this step, even shortly after another jump
            self._look_closer(3)
        columns = tuple(f"group {i}" for i in range(len(rates)))
        self.history.record("lr", self.step, columns, self._rates)

    def _look_closer(self, steps: int) -> None:
        self.schedule.look_closer(steps)
        self._looking = self._looking or self.schedule.wants_gradients(self.step)
        if self._looking:
            self._quiet, self._resting = 0, False

    def _note(self, *facts: Event) -> None:
        for fact in facts:
            if len(self.history.events_of(fact.kind)) < SAME:
                self.history.events.append(fact)

    def _not_finite(self, seen: str, loss: float | None = None, probe: ParameterProbe | None = None) -> None:
        subject = self._subject
        if subject is not None and not subject.sentinel.done and not self.scaled:
            batch = self._batch, self._index
            self._note(
                subject.sentinel.found(seen, self.step, subject.parameters, *batch, loss=loss, probe=probe)
            )
            self._judge(self.step)

    def _receive(self, wait: bool = False) -> None:
        """Read what has arrived, and run the rules on it."""
        subject = self._subject
        for step in self._post.arrivals(self.history, subject.tape if subject else None, wait):
            if (
                subject is not None
                and not self.scaled
                and (fact := subject.sentinel.late(self.history, step))
            ):
                self._note(fact)
            self._judge(step)

    def _judge(self, step: int) -> None:
        self.history.record(LOOK, step, ("step",), [step])
        with warnings.catch_warnings():
            # Medians over parameters that were not measured in a window are NaN, which is intended.
            warnings.simplefilter("ignore", RuntimeWarning)
            new = self.judge.look(self.history, step)
        for finding in new:
            if self.on_finding is not None:
                self.on_finding(finding)
        if self.on_look is not None:
            self.on_look(step)
