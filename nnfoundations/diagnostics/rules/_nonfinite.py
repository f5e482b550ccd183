"""Rules about NaN and infinity and where they came from. They read exact facts, not statistics."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion, listed
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics.rules._rule import Rule, learning_rate

__all__ = ["EVENT", "NonFinite", "NonFiniteInput", "UnstableLoss", "diverged", "first_event"]

EVENT = "non-finite"


def first_event(history: History) -> Event | None:
    events = history.events_of(EVENT)
    return events[0] if events else None


def diverged(history: History, step: int) -> bool:
    """Return whether the loss had grown far beyond its first value before that step.

    Such a loss overflowed, so its infinity is a symptom and not a cause.
    """
    before = history["loss"].between(0, step - 1).rows[:, 0]
    before = before[np.isfinite(before)]
    return len(before) > 0 and float(before.max()) > 10 * max(float(before[0]), 1e-3)


@dataclass(frozen=True)
class NonFiniteInput(Rule):
    """A batch contains NaN or infinity before any layer has processed it."""

    fault, family, needs = "non-finite-input", Family.DATA, ("non_finite",)
    explains = (
        "non-finite",
        "exploding-gradients",
        "unstable-loss-function",
        Family.LEARNING_RATE,
        Family.UNITS,
    )
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        event = first_event(history)
        if event is None or event["place"] != "input":
            return None
        batch = f"Batch {event['batch']}" if event["batch"] is not None else "A batch"
        return self.suspect(
            event.step,
            event.where,
            f"{batch} (step {event.step}) contains NaN or infinity, in {listed(event.where)}.",
            "One such number makes the loss and every gradient NaN and, after the step, every weight.",
            "Find this sample and remove or repair it in the dataset, or check with torch.isfinite in "
            "__getitem__.",
            Severity.ERROR,
        )


@dataclass(frozen=True)
class UnstableLoss(Rule):
    """The loss is NaN or infinite although the outputs of the network are finite."""

    fault, family, needs = "unstable-loss-function", Family.LOSS, ("non_finite",)
    explains = (
        "non-finite",
        "exploding-gradients",
        "bad-output-scale",
        "bad-initialization",
        Family.LEARNING_RATE,
        Family.UNITS,
    )
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        event = first_event(history)
        if event is None or event["place"] != "loss" or diverged(history, event.step):
            return None
        return self.suspect(
            event.step,
            (),
            f"At step {event.step} the loss is {event['value'] or 'NaN or infinite'}, although inputs, "
            "outputs and weights are finite.",
            "The loss takes the logarithm of 0, divides by 0, or overflows in an exponential.",
            "Use a loss that takes logits (CrossEntropyLoss, BCEWithLogitsLoss), or clamp the argument of "
            "the logarithm to at least 1e-7.",
            Severity.ERROR,
        )


def _unsure(event: Event) -> str:
    """Say why the origin is not known better; empty if it is."""
    reason = (event.detail or {}).get("reason", "")
    return f" Its origin is not known, because {reason}." if reason else ""


def _remedy(event: Event, rate: float) -> str:
    now = f" (now {rate:.3g})" if rate > 0 else ""
    if event["place"] == "weights":
        if not event.step:
            return "Check the checkpoint or the initialization that these weights come from."
        return f"An earlier update made them: lower the learning rate{now}, or clip gradients."
    if event["place"] == "before":
        return "Guard the operation that computes this input: add an eps in a root, logarithm or division."
    guard = "Guard that operation (add an eps inside the root or the division)"
    if not event.step:  # no update was made yet, so the learning rate is not the cause
        return f"{guard}, and check the scale of the inputs and of the initial weights."
    return f"{guard}, clip gradients, or lower the learning rate{now}."


@dataclass(frozen=True)
class NonFinite(Rule):
    """The output or the gradient of a layer, or a weight, contains NaN or infinity."""

    fault, family, needs = "non-finite", Family.NON_FINITE, ("non_finite", "skipped")
    exact = True
    skipped_share: float = 0.25  # steps that a loss scaler skips after step 50; wine, Fashion-MNIST: 0

    def not_run(self, history: History) -> str:
        return history.unavailable.get("non_finite", "")  # most runs have no loss scaler

    def judge(self, history: History) -> Suspicion | None:
        event = first_event(history)
        if event is None:
            return self._skipped(history)
        if event["place"] == "input" or (event["place"] == "loss" and not diverged(history, event.step)):
            return None
        place = {
            "before": f"is in the input of {listed(event.where)}, although the batch is finite",
            "forward": f"appears first in the output of {listed(event.where)}",
            "backward": f"appears first in the backward pass, at {listed(event.where)}",
            "gradient": f"is first seen in the gradient of {listed(event.where) or 'a parameter'}",
            "weights": f"is already in the weights of {listed(event.where)}",
        }.get(event["place"], "is first seen in the loss")
        rate = learning_rate(history, event.step)
        before = history["gradient_norm"].between(0, event.step - 1).last(5)
        norm = float((before.rows**2).sum(1).mean() ** 0.5) if len(before) else float("nan")
        named = event["batch"] is not None and event["place"] != "weights"
        batch = f" (batch {event['batch']})" if named else ""
        known = f" The last finite gradient norm was {norm:.3g}." if norm == norm else ""
        return self.suspect(
            event.step,
            event.where,
            f"At step {event.step}{batch} NaN or infinity {place}.{known}{_unsure(event)}",
            "Usual reasons: an overflow, a division by 0, or a square root or logarithm at 0.",
            _remedy(event, rate),
            Severity.ERROR,
            gradient_norm=norm,
            lr=rate,
        )

    def _skipped(self, history: History) -> Suspicion | None:
        late = history["skipped"].between(50)
        if len(late) < 2:
            return None
        steps = late.steps[-1] - late.steps[0]
        share = (late.rows[-1, 0] - late.rows[0, 0]) / max(steps, 1)
        if steps < 20 or share <= self.skipped_share:
            return None
        return self.suspect(
            late.steps[0],
            (),
            f"The loss scaler skipped {share:.0%} of the steps since step {late.steps[0]}.",
            "In float16, gradients overflow again after each reduction of the scale.",
            'Use precision="bf16-mixed", or lower growth_factor or init_scale of the scaler.',
            share=float(share),
        )
