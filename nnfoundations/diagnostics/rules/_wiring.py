"""Is everything connected? Exact facts of the first steps."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion, listed
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics.rules._rule import Rule


def _seen_twice(history: History, kind: str) -> Event | None:
    """The event, once it was seen at two steps: the first alone may be a peculiarity of the start."""
    events = history.events_of(kind)
    return events[0] if len({event.step for event in events}) >= 2 else None


@dataclass(frozen=True)
class ParameterNotInOptimizer(Rule):
    """A trainable parameter gets a gradient, and no optimizer has it."""

    fault, family = "parameter-not-in-optimizer", "wiring"
    at_once = True

    def judge(self, history: History) -> Suspicion | None:
        left_out = _seen_twice(history, self.fault)
        unregistered = _seen_twice(history, "unregistered-parameter")
        events = [event for event in (unregistered, left_out) if event is not None]
        if not events:
            return None
        where = tuple(name for event in events for name in event.where)
        n = len(where)
        cause = "They stay at their initial values"
        if unregistered is None:
            cause += ", and optimizer.zero_grad() never clears their gradients."
            remedy = "Pass them too: optimizer = ...(self.parameters(), ...) after the last layer was made"
        else:
            cause += ": layers in a Python list or dict are not registered, nor are they saved or moved."
            remedy = "Hold them in nn.ModuleList or nn.ModuleDict, parameters in nn.ParameterList"
        return self.suspect(
            events[0].step,
            where,
            f"{n} trainable parameter{'s' * (n > 1)} with a gradient, {listed(where)}, in no "
            "optimizer's groups.",
            cause,
            f"{remedy}; or set requires_grad=False if they are meant to stay.",
            Severity.ERROR,
            parameters=n,
        )


@dataclass(frozen=True)
class GraphCut(Rule):
    """Layers ran, later ones have gradients, they have none."""

    fault, family = "graph-cut", "wiring"
    at_once = True

    def judge(self, history: History) -> Suspicion | None:
        event = _seen_twice(history, self.fault)
        if event is None:
            return None
        after = event["after"]
        if not event.where:
            return self.suspect(
                event.step,
                (),
                "The optimizer steps and no parameter has a gradient, though there was a backward pass.",
                "zero_grad() stands between backward() and step(), or the loss is of other weights.",
                "Call optimizer.zero_grad(), backward() and optimizer.step() in this order, on the model "
                "that the optimizer was made for.",
                Severity.ERROR,
            )
        return self.suspect(
            event.step,
            event.where,
            f"{listed(event.where)} ran in the forward pass and got no gradient, though trainable, while "
            f"later layers, from {after} on, did.",
            f"The graph is cut before {after}: .detach(), torch.no_grad(), .item(), or a way through NumPy.",
            f"Remove the cut before {after}, or set requires_grad=False for what is meant to be frozen.",
            Severity.ERROR,
            layers=len(event.where),
        )


@dataclass(frozen=True)
class GradientsNotZeroed(Rule):
    """Gradients of the last step lie there when the next backward pass begins."""

    fault, family, needs = "gradients-not-zeroed", "wiring", ("stale_gradient",)
    at_once = True

    def judge(self, history: History) -> Suspicion | None:
        stale = history["stale_gradient"]
        recent = stale.last(3)
        if len(recent) < 3 or not (recent.rows[:, 0] > 0).all():
            return None
        first = int(stale.steps[np.argmax(stale.rows[:, 0] > 0)])
        return self.suspect(
            first,
            (),
            f"Gradients of summed norm {recent.rows[-1, 0]:.3g} are there when a backward pass begins, right "
            "after a step.",
            "Each step then follows the sum of all gradients so far, as with a momentum of 1.",
            "Call optimizer.zero_grad() before each backward pass that follows a step.",
            Severity.ERROR,
            norm=float(recent.rows[-1, 0]),
        )


@dataclass(frozen=True)
class TrainModeOff(Rule):
    """The training forward pass runs in evaluation mode, and the model has layers that care."""

    fault, family = "train-mode-off", "wiring"
    at_once = True

    def judge(self, history: History) -> Suspicion | None:
        event = _seen_twice(history, self.fault)
        if event is None:
            return None
        return self.suspect(
            event.step,
            event.where,
            f"At step {event.step} the training forward pass of {listed(event.where)} runs in evaluation "
            "mode.",
            "Dropout drops nothing and batch normalization uses running statistics that no longer follow.",
            "Take .eval() out of the training step, and call .train() on a model that comes in evaluation "
            "mode, as pretrained ones do: Lightning leaves it so.",
            Severity.WARNING,
        )
