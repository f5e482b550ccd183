"""Rules about the sign of a loss, and about a sum in place of a mean."""

import math
from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History, LossTerm
from nnfoundations.diagnostics.rules._high_learning_rate import LearningRateTooHigh
from nnfoundations.diagnostics.rules._loss_rule import CONSEQUENCES, LossRule, first_step, place
from nnfoundations.diagnostics.rules._rule import STEPS, learning_rate, shown_rate, smooth

__all__ = ["LossNotAveraged", "LossSignWrong"]

_NAMES = {
    "squared": "squared error",
    "absolute": "absolute error",
    "log-likelihood": "negative log-likelihood",
    "negative-log-likelihood": "negative log-likelihood",
}


def _name(term: LossTerm) -> str:
    return _NAMES.get(term.kind, term.kind)


@dataclass(frozen=True)
class LossSignWrong(LossRule):
    """The loss has a negative factor, so the optimizer makes the fit worse."""

    fault, family = "loss-sign-wrong", Family.LOSS
    explains = (
        "loss-needs-log-probabilities",
        "loss-not-averaged",
        *CONSEQUENCES,
        *STEPS,
        Family.NON_FINITE,
        Family.GENERALIZATION,
    )
    wait: int = 10  # losses needed: batches differ
    fall: float = 0.05  # fall below the first loss, over its size; a judgement

    def judge(self, history: History) -> Suspicion | None:
        terms, losses = self.terms(history), history["loss"].rows[:, 0]
        # Of different terms one may be negative on purpose, as a repulsion or an entropy.
        alike = len({term.kind for term in terms}) == 1 and all(term.negated for term in terms)
        if not alike or len(losses) < self.wait:
            return None
        if not any(f.kind == "matrix" and f.trainable for f in history.parameters.values()):
            return None  # the model is fixed, and its input is changed to fool it
        first, now = float(losses[0]), smooth(losses)
        if not now < min(first - self.fall * abs(first), 0.0):
            return None
        name = _name(terms[0])
        return self.suspect(
            first_step(history),
            place(terms[0]),
            f"The loss is a {name} with a negative factor. It fell from {first:.3g} to {now:.3g}, but a "
            f"{name} is never below 0.",
            f"The optimizer lowers the loss and so raises the {name}: the outputs leave the targets.",
            f"Change the sign of the loss: + for a {name}, - for the logarithm of a probability.",
            Severity.ERROR,
            first=first,
            loss=now,
        )


@dataclass(frozen=True)
class LossNotAveraged(LossRule):
    """The loss is the sum over the batch, and the learning rate is one for a mean."""

    fault, family = "loss-not-averaged", Family.LOSS
    explains = ("bad-output-scale", *CONSEQUENCES, *STEPS, Family.NON_FINITE)
    elements: int = 4  # smallest number of values for which the difference matters; a judgement

    def judge(self, history: History) -> Suspicion | None:
        term = next((t for t in self.terms(history) if t.summed), None)
        if term is None or len(self.terms(history)) > 1 or len(history.groups) != 1:
            return None
        if not _elements(term) >= self.elements or history.groups[0].adaptive:
            return None  # an adaptive optimizer divides by the size of the gradient
        high = LearningRateTooHigh()
        if high.not_run(history) or (seen := high.judge(history)) is None:
            return None  # it does no harm
        rate, elements = learning_rate(history, seen.onset), _elements(term)
        return self.suspect(
            first_step(history),
            place(term),
            f"The loss is the sum of {elements} values of the {_name(term)}, not their mean. {seen.evidence}",
            f"The gradient is {elements} times that of the mean, and so are the updates at the learning"
            f" rate{shown_rate(rate)}.",
            f'Use reduction="mean", or divide the loss by {elements}.',
            Severity.ERROR,
            elements=elements,
            lr=rate,
        )


def _elements(term: LossTerm) -> int:
    """Return the number of values that a loss adds up: one for each target."""
    labels = term.kind in ("cross-entropy", "negative-log-likelihood") and len(term.shape) > 1
    return math.prod(term.shape) // (term.shape[1] if labels else 1)
