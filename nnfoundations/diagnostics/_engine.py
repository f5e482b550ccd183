"""The pipeline: events of a training loop in, findings out. Knows tensors, and no framework.

A loop calls, in this order, `begin`, `observe`, `before_step`, `after_step`, `end`, and now and then
`validated`. On a step that is not looked at, these do next to nothing and never wait for the device.

Longer than our files are: the events share the state of the step that is open, which parts of it in files of
their own would have to hand to and fro. What they measure with is elsewhere.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial, wraps
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from nnfoundations.diagnostics._error import FaultError
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

P = ParamSpec("P")
R = TypeVar("R")

SEEN = 2
"""Steps at the start in which parameters are looked for that the model does not have."""

SAME = 8
"""Events of one kind that are kept: rules ask for the first two."""


def event(
    method: "Callable[Concatenate[Engine, P], None]",
) -> "Callable[Concatenate[Engine, P], None]":
    """Book the time of an event on the engine's account, and keep its failure away from the training."""

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
    """Watch a model that is trained by these optimizers.

    Args:
        model: the module whose layers are named in findings.
        optimizers: all that step its parameters.
        judge: the rules, and what is muted.
        budget: the share of a step's time that watching may take; below 10 ms a step, 0.1 ms.
        compiled: it runs compiled, though it is passed as it was before.
        scaled: gradients pass a loss scaler, whose skipped steps are no fault.
        locate_nonfinite: name the module of a number that is not finite on CUDA too, where it costs a wait
            for the device at every step. On the CPU it is always named.
        replay: runs the batch of this step again and returns its loss; None where there is no way to.
        on_finding: called with each cause that is new.
        on_look: called with the step of each look, after it was judged. Both may raise `FaultError`; any
            other exception in here is kept in `failure`, said in one line, and ends the watching only.
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
        self._quiet = 0  # coming steps that nothing is asked about
        self._resting = False  # this is one of them, and of one backward pass
        self._rates: list[float] = []
        self._rate: Any = None

    @property
    def findings(self) -> list[Finding]:
        return self.judge.findings

    # -- events ------------------------------------------------------------------------------------------

    def begin(self, step: int, batch: Any = None, index: int | None = None) -> None:
        """A batch comes. Several may belong to one step, where gradients are accumulated."""
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
        subject = self._subject
        if subject is None or (self.schedule.steps == 1 and not self._open and subject.outgrown(self.model)):
            subject = self._set_up()
        if subject is None:
            return
        if self._open:
            if self._looking or subject.sentinel.draws:
                subject.sentinel.begin()
            return
        self._open_step()
        self._looking = self.schedule.wants_gradients(step)
        still = (
            self.schedule.steps in DOUBT
            and "loss" not in self.history.unavailable
            and stuck(self.history, 0.9)
        )
        self._sampling = self.schedule.wants_activations(step, still)
        if self._looking or subject.sentinel.draws:
            subject.sentinel.begin()
        elif not (self._sampling or self.scaled):
            self._quiet = self.schedule.quiet()
        if self._sampling and subject.activations is not None:
            with self.schedule.activations as account:
                subject.activations.attach(
                    self._post.packet(step), lambda hook: self._booked(hook, account), batch
                )
                self._hooked = True

    @event
    def observe(self, loss: Tensor, scale: Tensor | float | None = None) -> None:
        """The loss is there, and the backward pass comes.

        Args: scale: what it was multiplied by: a loss scaler's factor, or one over the accumulated batches.
        """
        subject = self._subject
        if subject is None or (self._measured and subject.one_loss):
            return  # a closure that is evaluated again: its first loss counts
        self._resting = self._resting and self._fresh
        if self._looking:
            subject.sentinel.observe()
        value = subject.tape.write(self.step, loss, scale)
        if self._unread and loss.requires_grad:
            self.history.loss, self._unread = loss_facts(loss), False
        if self._fresh and self.schedule.steps < SEEN:
            with self.schedule.gradients:
                self._note(*subject.unregistered(self.step, loss, self.optimizers))
        if subject.mode_sensitive and not self.model.training:
            self._note(Event("train-mode-off", self.step, subject.mode_sensitive))
        if value is not None:
            if value - value != 0:
                self._not_finite("loss", loss=value)
            elif subject.tape.jumped:
                self._look_closer(2)
        if self._fresh and self._looking and subject.one_loss and loss.requires_grad:
            stale = partial(subject.stale, self._post.packet(self.step))
            loss.register_hook(self._booked(stale, self.schedule.gradients))
        if self._fresh and self._sampling:
            with self.schedule.activations:
                if (accuracy := batch_accuracy(loss)) is not None:
                    self._post.packet(self.step).add("train_accuracy", ("accuracy",), accuracy.reshape(1))
                if subject.one_loss and loss.requires_grad:
                    subject.guard(loss)
        self._fresh = False

    @event
    def before_step(self, optimizer: Optimizer, scale: Tensor | None = None) -> None:
        """Gradients are whole and unscaled, and the weights have not moved yet.

        Args: scale: what gradients are still multiplied by, where the optimizer unscales them itself.
        """
        subject = self._subject
        if subject is None or not self._open or (key := id(optimizer)) in self._measured:
            return  # a closure that is evaluated again: the first gradients count
        if (probe := subject.probes.get(key)) is None:
            return
        self._measured.add(key)
        if self._looking or optimizer.param_groups[0]["lr"] is not self._rate:  # no schedule: the same object
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
        """The weights have moved.

        Args: overflow: not 0 where the optimizer, which unscales by itself, left them where they were.
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
        """A loss scaler kept the optimizer from its step; where it calls `before_step`, nobody need tell."""
        self._tried = True

    def end(self) -> None:
        """The batch is done. Findings of this step, or of one before it, may come now."""
        subject = self._subject
        if self._quiet and self._measured and subject is not None and not subject.tape.full:
            self._open, self._batch = False, None
        else:
            self._end()
            if self._open:
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
            return  # accumulating
        self._open = False
        if self.scaled and not self._stepped:
            self._skips += 1
            for probe in subject.probes.values():
                probe.forget()
        if not (self._looking or self._sampling or self._post.travelling or subject.tape.full):
            return
        if self._looking or self._sampling:  # to judge is part of the price of a look
            with self.schedule.gradients if self._looking else self.schedule.activations:
                self._send(subject)
            self.schedule.looked(self.step)
        else:
            self._send(subject)

    def _send(self, subject: Subject) -> None:
        """Send off what this step measured, and take in what has arrived."""
        if self._post.filling is None and not subject.tape.full:
            if self._post.travelling:
                self._receive()
            return
        subject.tape.pack(self._post.packet(self.step), self.history)
        if self.scaled:
            self.history.record("skipped", self.step, ("steps",), [self._skips])
        if not subject.waits:
            self._receive()  # what was sent at the last look; this one is on its way until the next
        self._post.send()
        if subject.waits:
            self._receive()

    def pause(self) -> None:
        """The time until the next batch is no step's: a check on validation data, the end of an epoch."""
        self.schedule.pause()
        self._quiet = 0

    @event
    def validated(
        self, loss: float | None, accuracy: float | None = None, error: float = float("nan"), samples: int = 0
    ) -> None:
        """A check on validation data is done.

        Args: error: the standard error of the loss over the batches, NaN where it is not known.
        """
        self.pause()
        if self._subject is not None and not self._open:
            self._subject.tape.settle(self.history)  # the training loss of today is what it is held against
        if loss is not None and loss - loss == 0:  # rules take the least of all; of a lost run there is none
            self.history.record("validation_loss", self.step, ("loss", "error"), [loss, error])
        if accuracy is not None:
            self.history.record("validation_accuracy", self.step, ("accuracy",), [accuracy])
        if samples:
            self.history.settings["validation_samples"] = samples
        self._judge(self.step)

    @event
    def close(self) -> None:
        """The run is over: take the hooks off, and read and judge what is still on its way."""
        self.schedule.settle()
        self._detach()
        self._open, self._batch = False, None
        self._flush()

    def _flush(self) -> None:
        """Wait for what is still on its way."""
        if self._subject is not None and self._subject.tape.pending:
            self._subject.tape.pack(self._post.packet(self.step), self.history)
        self._post.send()
        self._receive(wait=True)

    # -- between runs ------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """Something is wrong with the watching itself: say so, and watch no more."""
        self._detach()
        self._batch, self._open, self._quiet = None, False, 0
        self._post.drop()
        if self.failure is None:
            self.failure = error
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"Diagnostics are off, the training goes on. Step {self.step}: {what}", file=sys.stderr)

    def adopt(self, optimizers: Sequence[Optimizer]) -> None:
        """Others step the same model from now on: some callbacks make them anew in the middle of a run."""
        self.optimizers = list(optimizers)
        if self._subject is not None:
            self._set_up()

    def reset(self) -> None:
        """Forget what was measured: another run of the same model begins."""
        self._detach()
        settings, unavailable = self.history.settings, self.history.unavailable
        self.judge, self.history = Judge(self.judge.rules, self.judge.mute), History()
        self.history.settings, self.history.unavailable = settings, unavailable
        self._start(Schedule(self.schedule.budget))

    def state_dict(self) -> dict[str, Any]:
        """Plain Python, small: the history, and what the rules have said."""
        if not self._open:  # else a step is half done, and its numbers are not whole
            self._flush()
        return {"step": self.step, "history": self.history.state_dict(), "judge": self.judge.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history.load_state_dict(state["history"])
        self.judge.load_state_dict(state["judge"])
        self.step = state["step"]

    # -- what happens in them ----------------------------------------------------------------------------

    def _set_up(self) -> Subject | None:
        if not Subject.ready(self.model):
            return None
        if self._subject is not None:
            self._detach()
            self._flush()  # what is on its way is of the old one
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
        """What runs inside the forward and the backward pass is our time, and our failure, too."""

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
            self.history.unavailable["lr"] = "the learning rate is a tensor on the device"
            return
        then, self._rates = self._rates, [float(rate) for rate in rates]
        jumped = len(then) == len(rates) and any(a > 3 * b for a, b in zip(self._rates, then, strict=True))
        if jumped and self.schedule.steps:
            self._looking = True  # at this step, however short ago the last jump was
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
        """Take in what has arrived, and judge it."""
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
            # Medians over parameters that were not measured in a window are NaN, as they should be.
            warnings.simplefilter("ignore", RuntimeWarning)
            new = self.judge.look(self.history, step)
        for finding in new:
            if self.on_finding is not None:
                self.on_finding(finding)
        if self.on_look is not None:
            self.on_look(step)
