"""The rule about the last activation: whether its range suits the targets and the loss."""

import math
from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History, LossTerm
from nnfoundations.diagnostics._target_facts import LIMITS
from nnfoundations.diagnostics.rules._loss_rule import (
    CONSEQUENCES,
    LOGITS,
    REGRESSION,
    LossRule,
    first_step,
    named,
    place,
    with_module,
)

__all__ = ["OutputActivationMismatch"]

_UNIT = ("sigmoid", "softmax", "hardsigmoid")


def _range(activation: str) -> str:
    low, high = LIMITS[activation]
    return f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} and more"


@dataclass(frozen=True)
class OutputActivationMismatch(LossRule):
    """The last activation cannot give the targets, or it limits what the loss expects without limits."""

    fault, family = "output-activation-mismatch", Family.LOSS
    explains = ("unscaled-targets", "no-gradient", *CONSEQUENCES)
    beyond: float = 0.03  # share of the targets' variance outside the range of the outputs; a judgement
    rows: float = 0.1  # share of rows of targets that do not sum to 1; a judgement

    def judge(self, history: History) -> Suspicion | None:
        for term in self.terms(history):
            found = (
                self._before_logits(history, term)
                or self._several_labels(history, term)
                or self._out_of_reach(history, term)
            )
            if found is not None:
                return found
        return None

    def not_run(self, history: History) -> str:
        reason = super().not_run(history)
        limited = [t for t in history.loss.terms if t.kind in REGRESSION and t.activation in LIMITS]
        if reason or not limited or any(term.target is not None for term in limited):
            return reason
        return "the graph of the loss does not show its targets"

    def _before_logits(self, history: History, term: LossTerm) -> Suspicion | None:
        inner, loss, binary = term.activation, "CrossEntropyLoss", term.kind != "cross-entropy"
        if term.kind in LOGITS:
            loss = "BCEWithLogitsLoss" if binary else loss
            if binary and inner == "sigmoid":
                return None  # softmax-before-cross-entropy
        elif term.activation in ("sigmoid", "softmax"):
            inner, loss, binary = term.inner, f"a {term.activation}", term.activation == "sigmoid"
        else:
            return None
        if inner not in ("relu", "sigmoid", "tanh"):
            return None
        name = named(inner)
        others = max(term.length - 1, 1)
        which = with_module(name, term) if inner == term.activation else name
        floor, effect = math.nan, "outputs below 0 become 0, where no gradient passes"
        if inner == "relu" and binary:
            effect = "no probability can be below 0.5"
        elif binary:
            effect = f"probabilities are {'0.27' if inner == 'tanh' else '0.5'} to 0.73"
        elif inner != "relu":
            width = 2 if inner == "tanh" else 1
            floor = math.log1p(others * math.exp(-width))
            effect = f"the probability of the right class is at most {math.exp(-floor):.2g}"
        return self.suspect(
            first_step(history),
            place(term),
            f"The output of a {which} goes into {loss}, which takes logits (any numbers). A "
            f"{name} gives only {_range(inner)}, so {effect}.",
            f"{'A sigmoid' if binary else 'A softmax'} turns any numbers into probabilities. An activation "
            "before it only limits them.",
            f"Remove the {name} after the last layer.",
            Severity.ERROR if binary or inner != "relu" else Severity.WARNING,
            floor=floor,
        )

    def _several_labels(self, history: History, term: LossTerm) -> Suspicion | None:
        target = term.target
        if target is None or not target.in_unit or term.length < 2:
            return None
        by_softmax = term.activation == "softmax" and term.kind in ("binary-cross-entropy", *REGRESSION)
        classes = term.kind in ("cross-entropy", "log-likelihood") and term.layer  # not pairs of samples
        multiple = classes and target.whole and not target.is_input
        share = target.rows_off if by_softmax else target.rows_above if multiple else math.nan
        if not share >= self.rows:
            return None
        if term.activation == "softmax":
            which = f"The outputs of the {with_module('softmax', term)} sum to 1"
        else:
            which = "CrossEntropyLoss takes the softmax of the outputs, whose sum is 1"
        return self.suspect(
            first_step(history),
            place(term),
            f"{which}, but the targets of {share:.0%} of the samples do not.",
            "A softmax cannot represent several labels at once, or none: a higher probability of one label "
            "lowers those of the others.",
            "Use one sigmoid per label: BCEWithLogitsLoss on the outputs of the last layer, without a "
            "softmax.",
            Severity.ERROR,
            share=share,
        )

    def _out_of_reach(self, history: History, term: LossTerm) -> Suspicion | None:
        target = term.target
        if term.kind not in REGRESSION or target is None or not target.beyond > self.beyond:
            return None
        if term.activation not in LIMITS or term.broadcast:
            return None
        share = min(target.beyond, 1.0)
        scale = max(abs(target.low), abs(target.high))
        remedy = f"Remove the {named(term.activation)} after the last layer, because a regression needs none"
        if term.activation == "tanh" or (term.activation in _UNIT and target.low >= 0):
            remedy += f", or divide the targets by {scale:.3g}"
        return self.suspect(
            first_step(history),
            place(term),
            f"The last activation, {with_module(named(term.activation), term)}, has outputs of "
            f"{_range(term.activation)}, but the targets are from {target.low:.3g} to {target.high:.3g}. "
            f"{'At least ' if share < 1 else ''}{share:.0%} of their variance is out of reach.",
            "The outputs cannot be equal to targets beyond the range of the activation. They move to its "
            "limit, where almost no gradient passes.",
            remedy + ".",
            Severity.ERROR,
            low=target.low,
            high=target.high,
            share=target.beyond,
        )
