"""The pipeline: events of a training loop in, findings out. Knows tensors, and no framework.

A loop calls, in this order, `begin`, `observe`, `before_step`, `after_step`, `end`, and now and then
`validated`. On a step that is not looked at, these do next to nothing and never wait for the device.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnfoundations.diagnostics._activations import ActivationProbe
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._judge import Judge
from nnfoundations.diagnostics._loss import batch_accuracy, loss_facts
from nnfoundations.diagnostics._nonfinite import Origin, RandomState, locate, nonfinite_inputs
from nnfoundations.diagnostics._packet import Packet
from nnfoundations.diagnostics._parameters import ParameterProbe, parameter_facts
from nnfoundations.diagnostics._schedule import Schedule
from nnfoundations.diagnostics._tape import LossTape
from nnfoundations.diagnostics._wiring import cut_off, mode_sensitive, not_in_optimizer, symmetric

P = ParamSpec("P")
R = TypeVar("R")

EARLY = 5
"""Steps at the start in which the wiring is looked at."""


def timed(
    method: "Callable[Concatenate[Engine, P], R]",
) -> "Callable[Concatenate[Engine, P], R]":
    """Book the time of an event on the engine's account."""

    @wraps(method)
    def run(self: "Engine", *args: P.args, **kwargs: P.kwargs) -> R:
        start = perf_counter()
        try:
            return method(self, *args, **kwargs)
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
    ) -> None:
        self.model, self.optimizers = model, list(optimizers)
        self.judge = judge or Judge()
        self.history = History()
        self.schedule = Schedule(budget)
        self.scaled, self.locate_nonfinite, self.replay = scaled, locate_nonfinite, replay
        self.on_finding = on_finding
        self.step = 0
        self._own = 0.0
        self._probes: dict[int, ParameterProbe] | None = None
        self._activations: ActivationProbe | None = None
        self._tape: LossTape | None = None
        self._packet: Packet | None = None
        self._travelling: list[Packet] = []
        self._open = self._stepped = self._fresh = False
        self._measured: set[int] = set()
        self._gradient_seconds = self._activation_seconds = 0.0
        self._skipped = 0
        self._rates: list[float] = []
        self._located = False
        self._random: RandomState | None = None
        self._batch: Any = None
        self._index: int | None = None
        self._last_end: float | None = None
        self._looking = self._hooked = False

    @property
    def findings(self) -> list[Finding]:
        return self.judge.findings

    # -- events ------------------------------------------------------------------------------------------

    @timed
    def begin(self, step: int, batch: Any = None, index: int | None = None) -> None:
        """A batch comes. Several may belong to one step, where gradients are accumulated."""
        if step < self.step:
            self.reset()  # another run
        self._batch, self._index = batch, index
        if self._probes is None:
            return self._set_up(step)
        self.step = step
        if self._waits:
            self._random = RandomState(self._device)
        if self._open:
            return None
        self._open, self._stepped, self._fresh = True, False, True
        self._measured.clear()
        self._gradient_seconds = self._activation_seconds = 0.0
        self._looking = self.schedule.wants_gradients(step)
        if self._activations is not None and self.schedule.wants_activations(step):
            start = perf_counter()
            self._activations.attach(self._letter(), self._booked)
            self._hooked = True
            self._activation_seconds += perf_counter() - start
        return None

    @timed
    def observe(self, loss: Tensor, scale: Tensor | float | None = None) -> None:
        """The loss is there, and the backward pass comes.

        Args: scale: what it was multiplied by: a loss scaler's factor, or one over the accumulated batches.
        """
        if self._tape is None:
            return
        if self._unread and loss.requires_grad:
            self.history.loss, self._unread = loss_facts(loss), False
        value = self._tape.write(self.step, loss, scale)
        if (self._mode_sensitive and not self.model.training) or self._wants_mode_check():
            self._check_mode()
        if value is not None:
            if value - value != 0 and not self.scaled:
                self._not_finite("loss", loss)
            elif self._tape.jumped:
                self.schedule.look_closer(2)
                self._looking = True
        if self._looking and self._fresh and len(self.optimizers) == 1 and loss.requires_grad:
            loss.register_hook(self._look_for_stale_gradients)
        if self._hooked and (accuracy := batch_accuracy(loss)) is not None:
            self._letter().add("train_accuracy", ("accuracy",), accuracy.reshape(1))
        self._fresh = False

    @timed
    def before_step(self, optimizer: Optimizer, scale: Tensor | None = None) -> None:
        """Gradients are whole and unscaled, and the weights have not moved yet.

        Args: scale: what gradients are still multiplied by, where the optimizer unscales them itself.
        """
        probe = self._probes and self._probes.get(id(optimizer))
        if not probe or not self._open or id(optimizer) in self._measured:
            return  # a closure that is evaluated again: the first gradients count
        self._measured.add(id(optimizer))
        self._read_rates()
        if self._waits and not self.scaled and not self._located and not probe.finite():
            self._not_finite("gradient", None, probe)
        if self._looking:
            start = perf_counter()
            probe.before_step(self._letter(), self.step, scale)
            if self.schedule.steps <= EARLY:
                self._check_wiring(probe)
            self._gradient_seconds += perf_counter() - start

    @timed
    def after_step(self, optimizer: Optimizer) -> None:
        """The weights have moved."""
        probe = self._probes and self._probes.get(id(optimizer))
        if not probe or not self._open:
            return
        self._stepped = True
        if self._looking and id(optimizer) in self._measured:
            start = perf_counter()
            probe.after_step(self._letter())
            self._gradient_seconds += perf_counter() - start

    def end(self) -> None:
        """The batch is done. Findings of this step, or of one before it, may come now."""
        self._end()
        now = perf_counter()
        if self._last_end is not None and not self._open:
            self.schedule.advance(now - self._last_end, self._own)
        if not self._open:
            self._last_end, self._own = now, 0.0

    @timed
    def _end(self) -> None:
        self._batch = None
        if self._hooked:
            assert self._activations is not None
            start = perf_counter()
            self._activations.collect()
            self.history.layers = dict(self._activations.layers)
            self._activations.detach()
            self._hooked = False
            self._activation_seconds += perf_counter() - start
        if not self._open or not (self._stepped or self._measured):
            return  # accumulating
        self._open = False
        if self.scaled and not self._stepped:
            self._skipped += 1
            for probe in (self._probes or {}).values():
                probe.forget()
        self.schedule.looked(self.step, self._gradient_seconds, self._activation_seconds)
        if self._tape is not None and (self._packet or self._tape.full):
            self._tape.pack(self._letter(), self.history)
        if self._packet is not None:
            if self.scaled:
                self.history.record("skipped", self.step, ("steps",), [self._skipped])
            self._packet.send()
            self._travelling.append(self._packet)
            self._packet = None
        self._receive()

    @timed
    def validated(
        self, loss: float | None, accuracy: float | None = None, error: float = float("nan"), samples: int = 0
    ) -> None:
        """A check on validation data is done.

        Args: error: the standard error of the loss over the batches, NaN where it is not known.
        """
        if loss is not None:
            self.history.record("validation_loss", self.step, ("loss", "error"), [loss, error])
        if accuracy is not None:
            self.history.record("validation_accuracy", self.step, ("accuracy",), [accuracy])
        if samples:
            self.history.settings["validation_samples"] = samples
        self._judge(self.step)

    def close(self) -> None:
        """The run is over: take the hooks off, and read and judge what is still on its way."""
        if self._activations is not None:
            self._activations.detach()
        self._hooked = self._open = False
        if self._tape is not None and self._tape.pending:
            packet = Packet(self.step)
            self._tape.pack(packet, self.history)
            packet.send()
            self._travelling.append(packet)
        self._receive(wait=True)

    def reset(self) -> None:
        """Forget everything: another run begins."""
        if self._activations is not None:
            self._activations.detach()
        judge = Judge(self.judge.rules, self.judge.mute)
        self.__init__(  # type: ignore[misc]
            self.model,
            self.optimizers,
            judge=judge,
            budget=self.schedule.budget,
            scaled=self.scaled,
            locate_nonfinite=self.locate_nonfinite,
            replay=self.replay,
            on_finding=self.on_finding,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain Python, small: the history, and what the rules have said."""
        return {"step": self.step, "history": self.history.state_dict(), "judge": self.judge.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history.load_state_dict(state["history"])
        self.judge.load_state_dict(state["judge"])
        self.step = state["step"]

    # -- what happens in them ----------------------------------------------------------------------------

    def _set_up(self, step: int) -> None:
        """At the first batch: what a module makes on its first call is there from the second on."""
        facts, parameters = parameter_facts(self.model, self.optimizers)
        self.history.parameters = facts
        self._probes = {}
        for i, optimizer in enumerate(self.optimizers):
            own = {name: parameters[name] for name, f in facts.items() if f.optimizer == i}
            if own:
                self._probes[id(optimizer)] = ParameterProbe(own)
        first = next(iter(parameters.values()), None)
        self._device = torch.device("cpu") if first is None else first.device
        self._waits = self._device.type == "cpu" or self.locate_nonfinite
        self._tape = LossTape(self._device)
        self._unread = True
        self._mode_sensitive = mode_sensitive(self.model)
        self._parameters = parameters
        if "activation_std" not in self.history.unavailable:
            self._activations = ActivationProbe(self.model)
        if len(self.optimizers) > 1:
            self._not_run(
                "several optimizers: there is no one loss to judge",
                "loss",
                "stale_gradient",
                "validation_loss",
            )
        self.schedule.steps = 0
        self.begin.__wrapped__(self, step, self._batch, self._index)  # type: ignore[attr-defined]

    def _not_run(self, reason: str, *quantities: str) -> None:
        self.history.unavailable |= dict.fromkeys(quantities, reason)

    def _letter(self) -> Packet:
        if self._packet is None:
            self._packet = Packet(self.step)
        return self._packet

    def _booked(self, hook: Callable[..., R]) -> Callable[..., R]:
        """What runs inside the forward pass is our time too."""

        def run(*args: Any, **kwargs: Any) -> R:
            start = perf_counter()
            try:
                return hook(*args, **kwargs)
            finally:
                seconds = perf_counter() - start
                self._own += seconds
                self._activation_seconds += seconds

        return run

    def _read_rates(self) -> None:
        rates = [group["lr"] for o in self.optimizers for group in o.param_groups]
        if rates == self._rates or any(isinstance(r, Tensor) and r.device.type != "cpu" for r in rates):
            return
        then, self._rates = self._rates, [float(rate) for rate in rates]
        jumped = len(then) == len(rates) and any(a > 3 * b for a, b in zip(self._rates, then, strict=True))
        if jumped and self.schedule.steps:
            self.schedule.look_closer(3)
            self._looking = True
        columns = tuple(f"group {i}" for i in range(len(rates)))
        self.history.record("lr", self.step, columns, self._rates)

    def _look_for_stale_gradients(self, grad: Tensor) -> None:
        start = perf_counter()
        for probe in (self._probes or {}).values():
            probe.stale(self._letter())
        seconds = perf_counter() - start
        self._own += seconds
        self._gradient_seconds += seconds

    def _wants_mode_check(self) -> bool:
        return False

    def _check_mode(self) -> None:
        kind = "train-mode-off"
        if len(self.history.events_of(kind)) < 2:
            self.history.events.append(Event(kind, self.step, self._mode_sensitive))

    def _check_wiring(self, probe: ParameterProbe) -> None:
        executed = self._activations.executed if self._activations is not None else []
        events = [
            Event("parameter-not-in-optimizer", self.step, names)
            for names in [not_in_optimizer(self.history.parameters, self._parameters)]
            if names
        ]
        if executed and (cut := cut_off(self.history.parameters, probe.missing(), executed)):
            names, after = cut
            events.append(Event("graph-cut", self.step, names, {"after": after}))
        if self.schedule.steps >= 1 and (names := symmetric(self.history.parameters, self._parameters)):
            events.append(Event("symmetric-weights", self.step, names))
        self.history.events += events

    def _not_finite(self, seen: str, loss: Tensor | None, probe: ParameterProbe | None = None) -> None:
        """The first number that is not finite: find out where it was made, once."""
        if self._located:
            return
        self._located = True
        origin = self._origin(seen, probe)
        value = str(float(loss.detach())) if loss is not None else ""
        detail = {"place": origin.place, "value": value, "batch": self._index}
        self.history.events.append(Event("non-finite", self.step, origin.where, detail))
        self._judge(self.step)

    def _origin(self, seen: str, probe: ParameterProbe | None) -> Origin:
        if bad := nonfinite_inputs(self._batch):
            return Origin("input", bad)
        weights = [name for name, p in self._parameters.items() if not bool(p.detach().isfinite().all())]
        if weights:
            return Origin("weights", tuple(weights))
        if self.replay is not None and self._random is not None:
            origin = locate(self.model, self.replay, self._random)
            if origin.place != "unknown":
                return origin
        if probe is not None:
            return Origin("gradient", tuple(reversed(probe.nonfinite())))
        return Origin(seen, ())

    def _receive(self, wait: bool = False) -> None:
        """Take in what has arrived, and judge it."""
        while self._travelling and self._travelling[0].arrived(wait):
            packet = self._travelling.pop(0)
            for quantity, columns, values in packet.rows():
                if quantity == "loss":
                    assert self._tape is not None
                    self._tape.unpack(packet, values, self.history)
                else:
                    self.history.record(quantity, packet.step, columns, values)
            self._note_nonfinite(packet.step)
            self._judge(packet.step)

    def _note_nonfinite(self, step: int) -> None:
        """On a device that is not waited for, numbers tell a few steps later."""
        if self._waits or self._located or self.scaled:
            return
        losses = self.history["loss"]
        recent = losses.last(128)
        bad = recent.steps[recent.rows[:, 0] - recent.rows[:, 0] != 0]
        norms = self.history["gradient_norm"]
        where: tuple[str, ...] = ()
        place = "loss"
        if len(norms) and norms.steps[-1] == step:
            row = norms.rows[-1]
            where = tuple(n for n, v in zip(norms.columns, row, strict=True) if v - v != 0)
        if not len(bad) and not where:
            return
        if where and (not len(bad) or step < bad[0]):
            place = "gradient"
        self._located = True
        first = int(bad[0]) if len(bad) and place == "loss" else step
        detail = {"place": place if place == "gradient" else "first loss", "value": "nan", "batch": None}
        self.history.events.append(Event("non-finite", first, where if place == "gradient" else (), detail))

    def _judge(self, step: int) -> None:
        for finding in self.judge.look(self.history, step):
            if self.on_finding is not None:
                self.on_finding(finding)
