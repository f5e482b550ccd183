"""Rules about how model, loss and optimizer are connected. They read exact facts of the first steps."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion, listed
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics.rules._rule import STEPS, Rule

__all__ = ["GradientsNotZeroed", "GraphCut", "ParameterNotInOptimizer", "TrainModeOff"]


def _seen_twice(history: History, kind: str) -> Event | None:
    """Return the event if it was seen at two steps: the first step alone may be special."""
    events = history.events_of(kind)
    return events[0] if len({event.step for event in events}) >= 2 else None


@dataclass(frozen=True)
class ParameterNotInOptimizer(Rule):
    """A trainable parameter receives a gradient, but no optimizer updates it."""

    fault, family, needs = "parameter-not-in-optimizer", Family.WIRING, ("wiring",)
    explains = ("vanishing-gradients", "gradients-not-zeroed", "exploding-gradients")
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        left_out = _seen_twice(history, self.fault)
        unregistered = _seen_twice(history, "unregistered-parameter")
        events = [event for event in (unregistered, left_out) if event is not None]
        if not events:
            return None
        where = tuple(name for event in events for name in event.where)
        n = len(where)
        cause = "Parameters outside the optimizer keep their initial values"
        if unregistered is None:
            cause += ", and optimizer.zero_grad() never clears their gradients."
            remedy = "Create the optimizer after the last layer, from all of self.parameters()"
        else:
            cause += (
                ". Layers in a Python list or dict are not registered, so they are not saved or moved either."
            )
            remedy = "Use nn.ModuleList or nn.ModuleDict for layers and nn.ParameterList for parameters"
        return self.suspect(
            events[0].step,
            where,
            f"{n} trainable parameter{'s receive' if n > 1 else ' receives'} a gradient but "
            f"{'belong' if n > 1 else 'belongs'} to no optimizer: {listed(where)}.",
            cause,
            f"{remedy}; or set requires_grad=False if they are meant to stay fixed.",
            Severity.ERROR,
            parameters=n,
        )


@dataclass(frozen=True)
class GraphCut(Rule):
    """Layers ran in the forward pass but received no gradient, although later layers did."""

    fault, family, needs = "graph-cut", Family.WIRING, ("wiring",)
    explains = ("vanishing-gradients", "gradients-not-zeroed")
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        event = _seen_twice(history, self.fault)
        if event is None:
            return None
        after = event["after"]
        if not event.where:
            return self.suspect(
                event.step,
                (),
                "No parameter has a gradient when the optimizer steps, although a backward pass ran.",
                "zero_grad() is called between backward() and step(), or the optimizer holds other "
                "parameters than the loss uses.",
                "Call optimizer.zero_grad(), loss.backward() and optimizer.step() in this order, with an "
                "optimizer that holds the parameters of this model.",
                Severity.ERROR,
            )
        return self.suspect(
            event.step,
            event.where,
            f"{listed(event.where)} ran in the forward pass but received no gradient, although later "
            f"layers (from {after} on) did.",
            f"The graph is cut before {after}: by .detach(), torch.no_grad(), .item() or NumPy code.",
            f"Remove the cut before {after}, or set requires_grad=False on layers that should stay frozen.",
            Severity.ERROR,
            layers=len(event.where),
        )


@dataclass(frozen=True)
class GradientsNotZeroed(Rule):
    """Gradients of the previous step are still present when the next backward pass begins."""

    fault, family, needs = "gradients-not-zeroed", Family.WIRING, ("stale_gradient",)
    explains = (*STEPS, Family.NON_FINITE, Family.GENERALIZATION)
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        stale = history["stale_gradient"]
        recent = stale.last(3)
        if len(recent) < 3 or not (recent.rows[:, 0] > 0).all():
            return None
        first = int(stale.steps[np.argmax(stale.rows[:, 0] > 0)])
        return self.suspect(
            first,
            (),
            "When a backward pass begins right after a step, the old gradients are still there (sum of "
            f"their norms: {recent.rows[-1, 0]:.3g}).",
            "Each step follows the sum of all gradients so far, like momentum with a factor of 1.",
            "Call optimizer.zero_grad() before each backward pass that follows a step.",
            Severity.ERROR,
            norm=float(recent.rows[-1, 0]),
        )


@dataclass(frozen=True)
class TrainModeOff(Rule):
    """Layers that behave differently in training (dropout, batch norm) run in evaluation mode."""

    fault, family, needs = "train-mode-off", Family.WIRING, ("wiring",)
    explains = ("overfitting",)
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        event = _seen_twice(history, self.fault)
        if event is None:
            return None
        return self.suspect(
            event.step,
            event.where,
            f"The training forward pass of step {event.step} runs {listed(event.where)} in evaluation mode.",
            "In this mode dropout does nothing, and batch normalization uses running statistics that are no "
            "longer updated.",
            "Remove .eval() from the training step, and call .train() on a model that arrives in evaluation "
            "mode, as pretrained models do: Lightning keeps that mode.",
            Severity.WARNING,
        )
