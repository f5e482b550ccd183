"""Rules about the form of the loss: what feeds it, and along which axis."""

import math
from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History, LossTerm
from nnfoundations.diagnostics.rules._loss_rule import (
    CONSEQUENCES,
    LossRule,
    first_step,
    named,
    place,
    with_module,
)
from nnfoundations.diagnostics.rules._rule import STEPS, Rule

__all__ = [
    "LossNeedsLogProbabilities",
    "SoftmaxBeforeCrossEntropy",
    "SoftmaxOverBatch",
    "SoftmaxOverOneUnit",
]


NOT_LOG_PROBABILITIES = ("relu", "sigmoid", "softmax", "tanh")
"""Activations whose outputs are not log-probabilities."""


@dataclass(frozen=True)
class SoftmaxOverOneUnit(LossRule):
    """A softmax runs over an axis of length 1, so its output is constant and every gradient is 0."""

    fault, family = "softmax-over-one-unit", Family.LOSS
    explains = (
        "softmax-over-batch",
        "output-activation-mismatch",
        "softmax-before-cross-entropy",
        "loss-needs-log-probabilities",
        "bad-output-scale",
        "symmetric-weights",
        *STEPS,
        Family.GENERALIZATION,
    )

    def judge(self, history: History) -> Suspicion | None:
        term = next((t for t in self.terms(history) if t.length == 1 and t.axis >= 0), None)
        if term is None:
            return None
        if term.kind == "cross-entropy" and term.activation != "softmax":
            evidence = (
                f"Cross-entropy gets one output per sample: scores of shape {term.shape}, which is a single "
                "class. Its softmax over this one output is 1 for every input."
            )
            remedy = (
                "For two classes use BCEWithLogitsLoss on the one output, with float targets of its shape. "
                "For C classes give the last layer C outputs (out_features=C)."
            )
        else:
            which = "softmax" if term.activation == "softmax" else "division by the sum"
            evidence = (
                f"The {with_module(which, term)} before the loss runs over axis {term.axis} of length 1, "
                "so its output is 1 for every input."
            )
            remedy = (
                "Replace the softmax of this single unit by a sigmoid (BCELoss, or BCEWithLogitsLoss without "
                "an activation), or give the last layer one output per class (out_features=2) and use "
                "CrossEntropyLoss without a softmax."
            )
        return self.suspect(
            first_step(history),
            place(term),
            evidence,
            "A softmax divides each number by the sum over its axis. For one number this is always 1, so "
            "every gradient is exactly 0 and no weight changes.",
            remedy,
            Severity.ERROR,
            length=1.0,
        )


@dataclass(frozen=True)
class SoftmaxOverBatch(LossRule):
    """A softmax before the loss runs over the samples of the batch, not over the classes."""

    fault, family = "softmax-over-batch", Family.LOSS
    explains = ("samples-mixed", "output-activation-mismatch", *STEPS, Family.GENERALIZATION)

    def judge(self, history: History) -> Suspicion | None:
        term = next((t for t in self.terms(history) if t.over_batch and t.length > 1 and not _ranks(t)), None)
        if term is None:
            return None
        kind = "softmax" if term.activation == "softmax" else "log-softmax"
        # Over axis 1 the time comes first; but a softmax before a log-softmax has an axis of its own.
        axis = 1 if term.axis == 1 and (kind != "softmax" or term.kind != "cross-entropy") else 0
        samples = term.shape[axis]
        classes = 1 if len(term.shape) == 4 and axis == 0 else -1  # images have shape (N, C, H, W)
        outputs = f"the {term.shape[classes]} outputs of each" if len(term.shape) > 1 else "single outputs"
        remedy = f"Set dim={classes} (now dim={axis}) in the {kind}."
        if len(term.shape) < 2 or term.shape[classes] == 1:
            remedy = "Use BCEWithLogitsLoss: cross-entropy takes scores of shape (N, C), with C classes."
        return self.suspect(
            first_step(history),
            place(term),
            f"The {with_module(kind, term)} before the loss runs over axis {axis} of an output of shape "
            f"{term.shape}. This is over the {samples} samples of the batch, not over {outputs}.",
            "The probabilities of a sample then depend on the other samples, and do not sum to 1 over its "
            "classes.",
            remedy,
            Severity.ERROR,
            samples=float(samples),
        )


@dataclass(frozen=True)
class SoftmaxBeforeCrossEntropy(Rule):
    """A loss that expects logits gets probabilities, so softmax (or sigmoid) is applied twice."""

    fault, family, needs = "softmax-before-cross-entropy", Family.LOSS, ("loss", "loss_graph")
    explains = (*CONSEQUENCES, "no-gradient")
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        loss = history.loss
        if not loss.softmax_before:
            return self._in_validation(history)
        if loss.kind == "binary-cross-entropy":
            return self.suspect(
                history["loss"].steps[0],
                (),
                "The output of a sigmoid goes into binary cross-entropy with logits, so the loss cannot fall "
                f"below {math.log(2):.3f} for target 0 and {math.log(1 + 1 / math.e):.3f} for target 1.",
                "This loss already applies sigmoid, so a sigmoid in the model is applied twice.",
                "Remove the sigmoid at the end of the model (apply it only to predict), or use BCELoss on "
                "the probabilities.",
                Severity.ERROR,
                floor=math.log(1 + 1 / math.e),
            )
        # Probabilities differ by at most 1, so the best input of the second softmax is 1 and K - 1 zeros.
        floor = math.log(1 + (loss.classes - 1) / math.e)
        return self.suspect(
            history["loss"].steps[0],
            (),
            f"The output of a softmax goes into cross-entropy over {loss.classes} classes, so the loss "
            f"cannot fall below {floor:.3f}.",
            "Cross-entropy already applies softmax, so a softmax in the model is applied twice.",
            "Remove the softmax at the end of the model (apply it only to predict), or use NLLLoss on "
            "log-probabilities.",
            Severity.ERROR,
            floor=floor,
        )

    def _in_validation(self, history: History) -> Suspicion | None:
        """Report a validation whose loss gets probabilities, although training passes logits."""
        event = next(iter(history.events_of("softmax-in-validation")), None)
        if event is None:
            return None
        classes, of_classes = int(event["classes"]), event["loss"] == "cross_entropy"
        name, loss = ("softmax", "CrossEntropyLoss") if of_classes else ("sigmoid", "BCEWithLogitsLoss")
        floor = math.log(1 + (classes - 1) / math.e)
        over = f" over {classes} classes" if of_classes else ""
        return self.suspect(
            event.step,
            (),
            f"In validation the output of a {name} goes into {loss}{over}, so the validation loss cannot "
            f"fall below {floor:.3f}"
            + ("." if of_classes else f" for target 1 and {math.log(2):.3f} for 0."),
            f"This loss already applies {name}, so it is applied twice in validation. Training is not "
            "affected, but early stopping and checkpoints that use this loss are.",
            f"In validation_step, compute the loss of the logits, before {name}, as in training.",
            Severity.WARNING,
            floor=floor,
        )


@dataclass(frozen=True)
class LossNeedsLogProbabilities(LossRule):
    """A likelihood is computed from numbers that are not probabilities, or not their logarithms."""

    fault, family = "loss-needs-log-probabilities", Family.LOSS
    explains = (
        "output-activation-mismatch",
        "unstable-loss-function",
        "bad-initialization",
        "bad-output-scale",
        *STEPS,
        Family.NON_FINITE,
        Family.GENERALIZATION,
    )
    floor: float = 1e-3  # input of a logarithm up to which it counts as cut off; a judgement

    def judge(self, history: History) -> Suspicion | None:
        # The graph proves it at the first batch already: there is often no second one, because of NaN.
        for term in history.loss.terms:
            found = (
                self._of_scores(history, term)
                or self._of_logarithm(history, term)
                or self._of_sigmoids(history, term)
            )
            if found is not None:
                return found
        return None

    def _of_scores(self, history: History, term: LossTerm) -> Suspicion | None:
        if term.kind not in ("negative-log-likelihood", "kl-divergence") or term.normalized:
            return None
        known = term.layer if not term.activation else term.activation in NOT_LOG_PROBABILITIES
        above = term.highest > 1e-3
        if not (known or above):
            return None
        loss = "NLLLoss" if term.kind == "negative-log-likelihood" else "KLDivLoss"
        what = _input_of_loss(term)
        evidence = f"{loss} gets {what}, of which no log-softmax was taken"
        if above:
            evidence += f": it takes {term.highest:.3g} for a log-probability, which cannot be above 0"
        probabilities = term.activation == "softmax"
        return self.suspect(
            first_step(history),
            place(term),
            evidence + ".",
            f"{loss} expects log-probabilities and takes no logarithm itself. This loss is not a likelihood: "
            "it only makes the output of the right class larger, without regard to the others.",
            ("Replace the softmax by log_softmax" if probabilities else "Apply log_softmax to the output")
            + f" (dim={max(term.axis, 1)}) before {loss}"
            + (", or use CrossEntropyLoss on the output without it." if loss == "NLLLoss" else "."),
            Severity.ERROR,
            highest=term.highest,
        )

    def _of_logarithm(self, history: History, term: LossTerm) -> Suspicion | None:
        if term.kind not in ("log-likelihood", "binary-cross-entropy"):
            return None
        raw = term.layer and not term.activation
        if not (raw or term.activation in ("relu", "tanh")):
            return None
        if (term.normalized or term.kind == "log-likelihood") and not term.lowest <= self.floor:
            return None
        target = term.target
        if target is not None and not target.in_unit and not target.whole:
            return None  # not a likelihood of classes
        what = _input_of_loss(term)
        least = f": its smallest input is {term.lowest:.2g}" if term.lowest == term.lowest else ""
        return self.suspect(
            first_step(history),
            place(term),
            f"The loss takes the logarithm of {what}, which is not a probability{least}.",
            "A logarithm of numbers at or below 0 is cut off or not finite, and where it is cut off no "
            "gradient passes.",
            "Use CrossEntropyLoss (or BCEWithLogitsLoss for yes-or-no targets) on the output of the last "
            "layer without an activation, or apply softmax (sigmoid) before this loss.",
            Severity.ERROR,
            lowest=term.lowest,
        )

    def _of_sigmoids(self, history: History, term: LossTerm) -> Suspicion | None:
        """Detect a categorical likelihood of independent probabilities, without the part of the others."""
        if term.kind != "log-likelihood" or term.activation != "sigmoid" or term.normalized or term.length:
            return None
        target, width = term.target, term.shape[-1] if len(term.shape) > 1 else 1
        rows = target is not None and (term.node == "NllLoss" or target.rows_off == 0)
        if width < 2 or not rows or any(other.flipped for other in history.loss.terms):
            return None
        return self.suspect(
            first_step(history),
            place(term),
            f"The loss takes the logarithm of one of {width} outputs of a {with_module('sigmoid', term)}. "
            "They do not sum to 1, and no other part of the loss makes them small.",
            "Such a loss is 0 if every output is 1, whatever the input. Use probabilities that sum to 1.",
            "Use CrossEntropyLoss on the output of the last layer, without the sigmoid, or BCELoss with "
            "one-hot targets after it.",
            Severity.ERROR,
            outputs=float(width),
        )


def _ranks(term: LossTerm) -> bool:
    """Return whether the targets sum to 1 over the batch: its samples are then ranked against each other."""
    return term.target is not None and term.target.rows_off == 0


def _input_of_loss(term: LossTerm) -> str:
    """Say what the loss takes in place of log-probabilities."""
    if term.activation:
        return f"the output of a {with_module(named(term.activation), term)}"
    return f"the raw output of the last layer ({term.module})" if term.module else "raw outputs of a layer"
