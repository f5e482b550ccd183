"""The pipeline: events of a training loop in, findings out. Knows tensors, and no framework.

A loop calls, in this order, `begin`, `observe`, `before_step`, `after_step`, `end`, and now and then
`validated`. On a step that is not looked at, these do next to nothing and never wait for the device.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from nnfoundations.diagnostics._activations import ActivationProbe
from nnfoundations.diagnostics._error import FaultError
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._judge import Judge
from nnfoundations.diagnostics._loss import batch_accuracy, loss_facts
from nnfoundations.diagnostics._packet import Packet
from nnfoundations.diagnostics._parameters import BY_PARAMETER, ParameterProbe, parameter_facts, record_named
from nnfoundations.diagnostics._schedule import Schedule
from nnfoundations.diagnostics._sentinel import Sentinel
from nnfoundations.diagnostics._tape import LossTape
from nnfoundations.diagnostics._wiring import EARLY, limits, mode_sensitive, wiring_events

P = ParamSpec("P")
R = TypeVar("R")

SAME = 8
"""Events of one kind that are kept: rules ask for the first two."""


def event(
    method: "Callable[Concatenate[Engine, P], None]",
) -> "Callable[Concatenate[Engine, P], None]":
    """Book the time of an event on the engine's account, and keep its failure away from the training."""

    @wraps(method)
    def run(self: "Engine", *args: P.args, **kwargs: P.kwargs) -> None:
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
            self._own += perf_counter() - start

    return run


class Engine:
    """Watch a model that is trained by these optimizers.

    Args:
        model: the module whose layers are named in findings.
        optimizers: all that step its parameters.
        judge: the rules, and what is muted.
        budget: the share of a step's time that watching may take; below 10 ms a step, 0.1 ms.
        scaled: gradients pass a loss scaler, whose skipped steps are no fault.
        locate_nonfinite: name the module of a number that is not finite on CUDA too, where it costs a wait for
            the device at every step. On the CPU it is always named.
        replay: runs the batch of this step again and returns its loss; None where there is no way to.
        on_finding: called with each cause that is new.
        on_look: called with the step of each look, after it was judged. Both may raise `FaultError`; any other
            exception in here is kept in `failure`, said in one line, and ends the watching, not the training.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        judge: Judge | None = None,
        budget: float = 0.01,
        scaled: bool = False,
        locate_nonfinite: bool = False,
        replay: Callable[[], Tensor | None] | None = None,
        on_finding: Callable[[Finding], None] | None = None,
        on_look: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.optimizers = model, list(optimizers)
        self.scaled, self.locate_nonfinite, self.replay = scaled, locate_nonfinite, replay
        self.on_finding, self.on_look = on_finding, on_look
        self.judge = judge or Judge()
        self.history = History()
        self.failure: Exception | None = None
        self._start(Schedule(budget))

    def _start(self, schedule: Schedule) -> None:
        self.schedule, self.step = schedule, 0
        self._probes: dict[int, ParameterProbe] = {}
        self._parameters: dict[str, Tensor] = {}
        self._activations: ActivationProbe | None = None
        self._tape: LossTape | None = None
        self._sentinel = Sentinel(self.model, self.replay, waits=False)
        self._packet: Packet | None = None
        self._travelling: list[Packet] = []
        self._measured: set[int] = set()
        self._open = self._stepped = self._tried = self._fresh = self._looking = self._sampling = (
            self._hooked
        ) = False
        self._gradient_seconds = self._activation_seconds = self._own = 0.0
        self._last_end: float | None = None
        self._skipped = 0
        self._rates: list[float] = []
        self._batch: Any = None
        self._index: int | None = None

    @property
    def findings(self) -> list[Finding]:
        return self.judge.findings

    # -- events ------------------------------------------------------------------------------------------

    @event
    def begin(self, step: int, batch: Any = None, index: int | None = None) -> None:
        """A batch comes. Several may belong to one step, where gradients are accumulated."""
        if step < self.step:
            self.reset()  # another run
        self.step, self._batch, self._index = step, batch, index
        if self._tape is None or (self.schedule.steps == 1 and not self._open and self._has_grown()):
            self._set_up()
        if self._tape is None:
            return
        self._sentinel.begin(self._device)
        if self._open:
            return
        self._open, self._stepped, self._tried, self._fresh = True, False, False, True
        self._measured.clear()
        self._gradient_seconds = self._activation_seconds = 0.0
        self._looking = self.schedule.wants_gradients(step)
        self._sampling = self.schedule.wants_activations(step)
        if self._sampling and self._activations is not None:
            start = perf_counter()
            self._activations.attach(self._letter(), self._booked)
            self._hooked = True
            self._activation_seconds += perf_counter() - start

    @event
    def observe(self, loss: Tensor, scale: Tensor | float | None = None) -> None:
        """The loss is there, and the backward pass comes.

        Args: scale: what it was multiplied by: a loss scaler's factor, or one over the accumulated batches.
        """
        if self._tape is None or (self._measured and len(self.optimizers) == 1):
            return  # a closure that is evaluated again: its first loss counts
        value = self._tape.write(self.step, loss, scale)
        if self._unread and loss.requires_grad:
            self.history.loss, self._unread = loss_facts(loss), False
        if self._mode_sensitive and not self.model.training:
            self._note(Event("train-mode-off", self.step, self._mode_sensitive))
        if value is not None:
            if value - value != 0:
                self._not_finite("loss", value)
            elif self._tape.jumped:
                self.schedule.look_closer(2)
                self._looking = True
        if self._looking and self._fresh and len(self.optimizers) == 1 and loss.requires_grad:
            loss.register_hook(self._booked(self._look_for_stale_gradients))
        if self._sampling and self._fresh and (accuracy := batch_accuracy(loss)) is not None:
            self._letter().add("train_accuracy", ("accuracy",), accuracy.reshape(1))
        self._fresh = False

    @event
    def before_step(self, optimizer: Optimizer, scale: Tensor | None = None) -> None:
        """Gradients are whole and unscaled, and the weights have not moved yet.

        Args: scale: what gradients are still multiplied by, where the optimizer unscales them itself.
        """
        probe = self._probes.get(id(optimizer))
        if probe is None or not self._open or id(optimizer) in self._measured:
            return  # a closure that is evaluated again: the first gradients count
        self._measured.add(id(optimizer))
        self._read_rates()
        if self._sentinel.waits and not self._sentinel.done and not self.scaled and not probe.finite():
            self._not_finite("gradient", probe=probe)
        if self._looking:
            start = perf_counter()
            probe.before_step(self._letter(), self.step, scale)
            if self.schedule.steps <= EARLY:
                executed = self._activations.executed if self._activations is not None else []
                for fact in wiring_events(
                    self.step, self.history.parameters, self._parameters, probe.missing(), executed
                ):
                    self._note(fact)
            self._gradient_seconds += perf_counter() - start

    @event
    def after_step(self, optimizer: Optimizer, overflow: Tensor | None = None) -> None:
        """The weights have moved.

        Args: overflow: not 0 where the optimizer, which unscales by itself, left them where they were.
        """
        probe = self._probes.get(id(optimizer))
        if probe is None or not self._open:
            return
        self._stepped = self._stepped or overflow is None or not self._sentinel.waits or not bool(overflow)
        if self._looking and id(optimizer) in self._measured:
            start = perf_counter()
            probe.after_step(self._letter(), overflow)
            self._gradient_seconds += perf_counter() - start

    @event
    def skipped(self) -> None:
        """A loss scaler kept the optimizer from its step; where it calls `before_step`, nobody need tell."""
        self._tried = True

    def end(self) -> None:
        """The batch is done. Findings of this step, or of one before it, may come now."""
        self._end()
        if self._open:
            return
        now = perf_counter()
        if self._last_end is not None:
            looks = self._gradient_seconds + self._activation_seconds
            self.schedule.advance(now - self._last_end, self._own, looks)
        else:
            self.schedule.steps += 1
        self._last_end, self._own = now, 0.0

    @event
    def _end(self) -> None:
        self._batch = None
        if self._hooked and self._activations is not None:
            start = perf_counter()
            self._activations.collect()
            self.history.layers = dict(self._activations.layers)
            self._activations.detach()
            self._hooked = False
            self._activation_seconds += perf_counter() - start
        if not self._open or self._tape is None or not (self._stepped or self._measured or self._tried):
            return  # accumulating
        self._open = False
        if self.scaled and not self._stepped:
            self._skipped += 1
            for probe in self._probes.values():
                probe.forget()
        self.schedule.looked(self.step, self._gradient_seconds, self._activation_seconds)
        if self._packet is None and not self._tape.full:
            if self._travelling:
                self._receive()
            return
        self._tape.pack(self._letter(), self.history)
        if self.scaled:
            self.history.record("skipped", self.step, ("steps",), [self._skipped])
        if not self._sentinel.waits:
            self._receive()  # what was sent at the last look; this one is on its way until the next
        self._send()
        if self._sentinel.waits:
            self._receive()

    @event
    def validated(
        self, loss: float | None, accuracy: float | None = None, error: float = float("nan"), samples: int = 0
    ) -> None:
        """A check on validation data is done.

        Args: error: the standard error of the loss over the batches, NaN where it is not known.
        """
        self._last_end = None  # its time is no step's
        if loss is not None:
            self.history.record("validation_loss", self.step, ("loss", "error"), [loss, error])
        if accuracy is not None:
            self.history.record("validation_accuracy", self.step, ("accuracy",), [accuracy])
        if samples:
            self.history.settings["validation_samples"] = samples
        self._judge(self.step)

    @event
    def close(self) -> None:
        """The run is over: take the hooks off, and read and judge what is still on its way."""
        self.detach()
        self._open = False
        if self._tape is not None and self._tape.pending:
            self._packet = self._packet or Packet(self.step)
            self._tape.pack(self._packet, self.history)
        self._send()
        self._receive(wait=True)

    def detach(self) -> None:
        """Take all hooks off."""
        if self._activations is not None:
            self._activations.detach()
        self._hooked = False

    def fail(self, error: Exception) -> None:
        """Something is wrong with the watching itself: say so, and watch no more."""
        self.detach()
        self._batch = self._packet = None
        self._travelling.clear()
        if self.failure is None:
            self.failure = error
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            print(
                f"Diagnostics failed at step {self.step} and are off; training goes on. {text}",
                file=sys.stderr,
            )

    def adopt(self, optimizers: Sequence[Optimizer]) -> None:
        """Others step the same model from now on: some callbacks make them anew in the middle of a run."""
        self.optimizers = list(optimizers)
        if self._tape is not None:
            self._tape.pack(self._letter(), self.history)
            self._set_up()

    def reset(self) -> None:
        """Forget what was measured: another run of the same model begins."""
        self.detach()
        settings, unavailable = self.history.settings, self.history.unavailable
        self.judge, self.history = Judge(self.judge.rules, self.judge.mute), History()
        self.history.settings, self.history.unavailable = settings, unavailable
        self._start(Schedule(self.schedule.budget))

    def state_dict(self) -> dict[str, Any]:
        """Plain Python, small: the history, and what the rules have said."""
        return {"step": self.step, "history": self.history.state_dict(), "judge": self.judge.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history.load_state_dict(state["history"])
        self.judge.load_state_dict(state["judge"])
        self.step = state["step"]

    # -- what happens in them ----------------------------------------------------------------------------

    def _set_up(self) -> None:
        if any(is_lazy(p) for p in self.model.parameters()):
            return  # their shapes come with the first batch
        facts, parameters = parameter_facts(self.model, self.optimizers)
        self.history.parameters = facts
        self.history.unavailable |= (reasons := limits(self.model, self.optimizers))
        measured = "gradient_norm" not in reasons
        self._parameters = parameters if measured else {}
        self._probes = {
            id(optimizer): ParameterProbe(
                {name: p for name, p in self._parameters.items() if facts[name].optimizer == i}
            )
            for i, optimizer in enumerate(self.optimizers)
        }
        first = next(iter(parameters.values()), None)
        self._device = torch.device("cpu") if first is None else first.device
        self._tape = LossTape(self._device)
        self._sentinel = Sentinel(
            self.model, self.replay, self.locate_nonfinite or self._device.type == "cpu"
        )
        self._unread = True
        self._mode_sensitive = mode_sensitive(self.model)
        self._activations = None if "activation_std" in reasons else ActivationProbe(self.model)

    def _has_grown(self) -> bool:
        """Some modules make their parameters on their first call."""
        return len(list(self.model.parameters())) != len(self.history.parameters)

    def _letter(self) -> Packet:
        if self._packet is None:
            self._packet = Packet(self.step)
        return self._packet

    def _booked(self, hook: Callable[..., R]) -> Callable[..., R | None]:
        """What runs inside the forward and the backward pass is our time, and our failure, too."""

        def run(*args: Any, **kwargs: Any) -> R | None:
            if self.failure is not None or self._sentinel.replaying:
                return None
            start = perf_counter()
            try:
                return hook(*args, **kwargs)
            except Exception as error:
                self.fail(error)
                return None
            finally:
                seconds = perf_counter() - start
                self._own += seconds
                self._activation_seconds += seconds

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
            self.schedule.look_closer(3)
            self._looking = True
        columns = tuple(f"group {i}" for i in range(len(rates)))
        self.history.record("lr", self.step, columns, self._rates)

    def _look_for_stale_gradients(self, grad: Tensor) -> None:
        for probe in self._probes.values():
            probe.stale(self._letter())

    def _note(self, fact: Event) -> None:
        if len(self.history.events_of(fact.kind)) < SAME:
            self.history.events.append(fact)

    def _not_finite(self, seen: str, loss: float | None = None, probe: ParameterProbe | None = None) -> None:
        if self._sentinel.done or self.scaled:
            return
        fact = self._sentinel.found(
            seen, self.step, self._parameters, self._batch, self._index, loss=loss, probe=probe
        )
        self._note(fact)
        self._judge(self.step)

    def _send(self) -> None:
        if self._packet is not None:
            self._packet.send()
            self._travelling.append(self._packet)
            self._packet = None

    def _receive(self, wait: bool = False) -> None:
        """Take in what has arrived, and judge it."""
        while self._travelling and self._travelling[0].arrived(wait):
            packet = self._travelling.pop(0)
            self._record(packet)
            if not self.scaled and (fact := self._sentinel.late(self.history, packet.step)):
                self._note(fact)
            self._judge(packet.step)

    def _record(self, packet: Packet) -> None:
        named: dict[str, dict[str, float]] = {}
        for quantity, columns, values in packet.rows():
            if quantity == "loss":
                assert self._tape is not None
                self._tape.unpack(packet, values, self.history)
            elif quantity in BY_PARAMETER:  # of several optimizers, one row
                named.setdefault(quantity, {}).update(zip(columns, values.tolist(), strict=True))
            else:
                self.history.record(quantity, packet.step, columns, values)
        if self.scaled and not all(v - v == 0 for v in named.get("gradient_norm", {}).values()):
            return  # the scaler skips this step
        for quantity, row in named.items():
            record_named(self.history, quantity, packet.step, row)

    def _judge(self, step: int) -> None:
        with warnings.catch_warnings():
            # Medians over parameters that were not measured in a window are NaN, as they should be.
            warnings.simplefilter("ignore", RuntimeWarning)
            new = self.judge.look(self.history, step)
        for finding in new:
            if self.on_finding is not None:
                self.on_finding(finding)
        if self.on_look is not None:
            self.on_look(step)
