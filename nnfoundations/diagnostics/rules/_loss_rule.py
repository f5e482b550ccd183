"""What the rules share that read the graph under the loss."""

from abc import ABC
from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._history import History, LossTerm
from nnfoundations.diagnostics._targets import READS
from nnfoundations.diagnostics.rules._rule import UNLEARNED, Rule

__all__ = ["CONSEQUENCES", "LOGITS", "REGRESSION", "LossRule", "first_step", "named", "place", "with_module"]

_NAMES = {"relu": "ReLU", "elu": "ELU", "gelu": "GELU", "silu": "SiLU"}

CONSEQUENCES = (
    *UNLEARNED,
    "bad-initialization",
    "bad-output-scale",
    "learning-rate-too-low",
    "stopped-too-early",
    "vanishing-gradients",
    Family.UNITS,
    Family.GENERALIZATION,
)
"""What a wrong loss or wrong targets look like later."""

LOGITS = ("cross-entropy", "binary-cross-entropy-with-logits")
REGRESSION = ("squared", "absolute")
"""Kinds of terms of a loss that take logits, or any numbers."""


@dataclass(frozen=True)
class LossRule(Rule, ABC):
    """A rule that compares fields of the terms of a loss. It is exact, and needs no series but the loss."""

    needs = ("loss", "loss_graph")
    exact = True

    def not_run(self, history: History) -> str:
        if reason := super().not_run(history):
            return reason
        if not history.loss.reads:
            return "the graph of the loss was not seen"
        return "" if history.loss.terms else "the graph of the loss shows no loss of a known kind"

    @staticmethod
    def terms(history: History) -> tuple[LossTerm, ...]:
        """Return the terms of the loss if two batches agree on them; a single one may be an exception."""
        return history.loss.terms if history.loss.reads >= READS else ()


def first_step(history: History) -> float:
    """Return the step of the first loss."""
    return float(history["loss"].steps[0])


def place(term: LossTerm) -> tuple[str, ...]:
    """Return the module that feeds a term, if it is known."""
    return (term.module,) if term.module else ()


def named(activation: str) -> str:
    """Return an activation as users write it."""
    return _NAMES.get(activation, activation)


def with_module(name: str, term: LossTerm) -> str:
    """Name an activation or an output, with its module if that is known: ``sigmoid (net.3)``."""
    return f"{name} ({term.module})" if term.module else name
