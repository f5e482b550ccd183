"""The model under diagnosis with everything that measures it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from nnfoundations.diagnostics._activations import ActivationProbe
from nnfoundations.diagnostics._graph import unknown_parameters
from nnfoundations.diagnostics._history import Event
from nnfoundations.diagnostics._parameters import ParameterProbe, parameter_facts
from nnfoundations.diagnostics._transfer import LossBuffer, Readings
from nnfoundations.diagnostics._wiring import (
    evaluating,
    limits,
    listed_parameters,
    mode_sensitive,
    sharded,
    wiring_events,
)
from nnfoundations.diagnostics.evaluation import EvaluationProbe
from nnfoundations.diagnostics.nonfinite import GradientCheck, NonFiniteTracer

__all__ = ["WatchedModel"]


class WatchedModel:
    """A model at its first batch, when its parameters are on their device. Arguments as in `Engine`."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        compiled: bool,
        locate_nonfinite: bool,
        replay: Callable[[], Tensor | None] | None,
    ) -> None:
        self.model = model
        self.facts, parameters = parameter_facts(model, optimizers)
        self.reasons = limits(model, optimizers, compiled)
        self.whole = not sharded(model)
        self.parameters = parameters if self.whole else {}
        own = {
            id(optimizer): {n: p for n, p in self.parameters.items() if self.facts[n].optimizer == i}
            for i, optimizer in enumerate(optimizers)
        }
        self.probes = {key: ParameterProbe(parameters) for key, parameters in own.items()}
        self.checks = {key: GradientCheck(parameters) for key, parameters in own.items()}
        self.activations = None if "activation_std" in self.reasons else ActivationProbe(model)
        self.mode_sensitive = mode_sensitive(model)
        self._without_gradient: dict[str, Tensor] = {}  # some of their numbers at the last step
        first = next(iter(parameters.values()), None)
        self.device = torch.device("cpu") if first is None else first.device
        self.waits = locate_nonfinite or self.device.type == "cpu"
        self.losses = LossBuffer(self.device)
        # A single process that ran a sharded forward pass again would wait for the others forever.
        self.tracer = NonFiniteTracer(
            model,
            replay if self.whole else None,
            self.device,
            self.waits,
            others={"the settings of the optimizers": [o.param_groups for o in optimizers]},
        )
        self.one_loss = len(optimizers) == 1
        self.evaluation = None if "mixing" in self.reasons else EvaluationProbe(model, self.device)

    @staticmethod
    def ready(model: nn.Module) -> bool:
        """Return whether all parameters have shapes: lazy modules get theirs with the first batch."""
        return not any(is_lazy(p) for p in model.parameters())

    def outgrown(self, model: nn.Module) -> bool:
        """Return whether parameters were added since: some modules make them on their first call."""
        return len(list(model.parameters())) != len(self.facts)

    def measure_stale(self, loss: Tensor, readings: Readings, timed: Callable[..., Any]) -> None:
        """Measure the gradients that are still there when the backward pass of a loss begins."""
        if self.one_loss and loss.requires_grad:
            loss.register_hook(timed(partial(self._stale, readings)))

    def _stale(self, readings: Readings, grad: Tensor) -> None:
        for probe in self.probes.values():
            probe.stale(readings)

    def find_terminal(self, loss: Tensor) -> None:
        """Find where the backward pass of a loss ends: at most steps only these gradients are checked."""
        if self.waits and self.one_loss and loss.requires_grad:
            for check in self.checks.values():
                check.find_terminal(loss)

    def wiring(self, step: int, optimizer: int, backward: bool) -> list[Event]:
        """Return what is wrong with the wiring; `backward`: whether this step had a backward pass."""
        probe, seen = self.probes[optimizer], self.activations
        executed = [] if seen is None else [name for name in seen.executed if name not in seen.used]
        missing = probe.missing()
        found = wiring_events(step, self.facts, self.parameters, missing, executed)
        events = [event for event in map(self._without_averages, found) if event.where]
        if backward and self.one_loss and missing and len(missing) == probe.trainable:
            events.append(Event("graph-cut", step, (), {"after": ""}))
        if self.mode_sensitive and (off := evaluating(self.model, self.mode_sensitive)):
            events.append(Event("train-mode-off", step, off))
        return events

    def _without_averages(self, event: Event) -> Event:
        """Leave out modules whose weights change without a gradient, as moving averages of others do."""
        if event.kind != "graph-cut":
            return event
        before = self._without_gradient
        now = {n: p.detach().flatten()[:16].clone() for n, p in self.parameters.items()
               if self.facts[n].module in event.where}  # fmt: skip
        self._without_gradient = now
        moved = {
            self.facts[n].module for n, p in now.items() if n in before and not torch.equal(p, before[n])
        }
        return replace(event, where=tuple(name for name in event.where if name not in moved))

    def unregistered(self, step: int, loss: Tensor, optimizers: Sequence[Optimizer]) -> list[Event]:
        """Find parameters in a plain list or dict that the loss depends on and no optimizer has."""
        if not self.whole:
            return []
        trained = (p for o in optimizers for group in o.param_groups for p in group["params"])
        found = unknown_parameters(loss, {id(p) for p in (*self.model.parameters(), *trained)})
        names = listed_parameters(self.model) if found else {}
        where = tuple(name for name, p in names.items() if any(p is stranger for stranger in found))
        return [Event("unregistered-parameter", step, where)] if where else []

    def detach(self) -> None:
        """Remove the hooks from the layers."""
        if self.activations is not None:
            self.activations.detach()

    def end_evaluation(self) -> None:
        """Remove the hooks that record what an evaluation needs."""
        if self.evaluation is not None:
            self.evaluation.detach()
