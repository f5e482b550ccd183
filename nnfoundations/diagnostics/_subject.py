"""Holds the model under diagnosis: its parameters by name, a probe per optimizer, hooks for its layers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from nnfoundations.diagnostics._activations import ActivationProbe
from nnfoundations.diagnostics._graph import strangers
from nnfoundations.diagnostics._history import Event
from nnfoundations.diagnostics._packet import Packet
from nnfoundations.diagnostics._parameters import ParameterProbe, parameter_facts
from nnfoundations.diagnostics._sentinel import Sentinel
from nnfoundations.diagnostics._tape import LossTape
from nnfoundations.diagnostics._wiring import (
    evaluating,
    limits,
    listed_parameters,
    mode_sensitive,
    sharded,
    wiring_events,
)

__all__ = ["Subject"]


class Subject:
    """A model at its first batch, when its parameters are on their device. Arguments as in `Engine`."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        compiled: bool,
        replay: Callable[[], Tensor | None] | None,
        locate_nonfinite: bool,
    ) -> None:
        self.model = model
        self.facts, parameters = parameter_facts(model, optimizers)
        self.reasons = limits(model, optimizers, compiled)
        self.whole = not sharded(model)
        self.parameters = parameters if self.whole else {}
        self.probes = {
            id(optimizer): ParameterProbe(
                {name: p for name, p in self.parameters.items() if self.facts[name].optimizer == i}
            )
            for i, optimizer in enumerate(optimizers)
        }
        self.activations = None if "activation_std" in self.reasons else ActivationProbe(model)
        self.mode_sensitive = mode_sensitive(model)
        first = next(iter(parameters.values()), None)
        self.device = torch.device("cpu") if first is None else first.device
        self.waits = locate_nonfinite or self.device.type == "cpu"
        self.tape = LossTape(self.device)
        # A single process that ran a sharded forward pass again would wait for the others forever.
        self.sentinel = Sentinel(model, replay if self.whole else None, self.device, self.waits)
        self.one_loss = len(optimizers) == 1

    @staticmethod
    def ready(model: nn.Module) -> bool:
        """Return whether all parameters have shapes: lazy modules get theirs with the first batch."""
        return not any(is_lazy(p) for p in model.parameters())

    def outgrown(self, model: nn.Module) -> bool:
        """Return whether parameters were added since: some modules make them on their first call."""
        return len(list(model.parameters())) != len(self.facts)

    def stale(self, packet: Packet, grad: Tensor) -> None:
        """Measure old gradients when the backward pass begins, with this gradient of the loss."""
        for probe in self.probes.values():
            probe.stale(packet)

    def guard(self, loss: Tensor) -> None:
        """Find the last gradients of the backward pass: most steps check only these for NaN."""
        if self.waits:
            for probe in self.probes.values():
                probe.guard(loss)

    def wiring(self, step: int, probe: ParameterProbe, backward: bool) -> list[Event]:
        """Return what is wrong with the wiring; `backward`: whether this step had a backward pass."""
        seen = self.activations
        executed = [] if seen is None else [name for name in seen.executed if name not in seen.used]
        missing = probe.missing()
        events = wiring_events(step, self.facts, self.parameters, missing, executed)
        if backward and self.one_loss and missing and len(missing) == probe.trainable:
            events.append(Event("graph-cut", step, (), {"after": ""}))
        if self.mode_sensitive and (off := evaluating(self.model, self.mode_sensitive)):
            events.append(Event("train-mode-off", step, off))
        return events

    def unregistered(self, step: int, loss: Tensor, optimizers: Sequence[Optimizer]) -> list[Event]:
        """Find parameters in a plain list or dict that the loss depends on and no optimizer has."""
        if not self.whole:
            return []
        trained = (p for o in optimizers for group in o.param_groups for p in group["params"])
        found = strangers(loss, {id(p) for p in (*self.model.parameters(), *trained)})
        names = listed_parameters(self.model) if found else {}
        where = tuple(name for name, p in names.items() if any(p is stranger for stranger in found))
        return [Event("unregistered-parameter", step, where)] if where else []

    def detach(self) -> None:
        """Remove the hooks from the layers."""
        if self.activations is not None:
            self.activations.detach()
