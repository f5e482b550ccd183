"""The rule about weight decay that erases the weights."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import Array, GroupFacts, History
from nnfoundations.diagnostics.rules._rule import (
    Rule,
    constant_loss,
    learning_rate,
    median,
    smooth,
    stuck,
    weight_matrices,
)

__all__ = ["WeightDecayTooStrong"]


class _Erased(NamedTuple):
    """Weights that decay has erased: since when, their share of the first norm, and what the loss shows."""

    step: int
    group: GroupFacts
    rate: float
    kept: float
    steps: int
    loss: float
    constant: float


@dataclass(frozen=True)
class WeightDecayTooStrong(Rule):
    """Weight decay shrinks the weights faster than the gradient builds them, and nothing is learned."""

    fault, family, needs = "weight-decay-too-strong", Family.LEARNING_RATE, ("weight_norm", "loss")
    explains = (
        "no-learning",
        "learning-rate-too-low",
        "stopped-too-early",
        "vanishing-gradients",
        "no-gradient",
        Family.UNITS,
        Family.GENERALIZATION,
    )
    kept_norm: float = 0.5  # share of the first norm of a typical matrix; digits that learn nothing: to 0.28
    soon: int = 1000  # steps in which it falls to that; usual decay needs several thousand; a judgement
    wait: int = 50  # losses needed; a judgement
    level: float = 0.9  # loss over that of the best constant prediction; a judgement
    step_share: float = 1e-4  # share of a weight that the suggested decay removes per step; SGD at 5e-4
    usual: float = 1e-3  # largest suggested decay if it is a part of the gradient; a judgement
    usual_decoupled: float = 0.1  # the same if it is not, as in AdamW; a judgement

    def not_run(self, history: History) -> str:
        reason = super().not_run(history)
        return reason or ("" if history.groups else "the options of the optimizer were not seen")

    def judge(self, history: History) -> Suspicion | None:
        seen = self._measure(history)
        return None if seen is None else self._about(seen)

    def _measure(self, history: History) -> _Erased | None:
        decayed = {i for i, group in enumerate(history.groups) if group.weight_decay > 0}
        series, losses = history["weight_norm"], history["loss"].rows[:, 0]
        if not decayed or len(losses) < self.wait:
            return None
        constant, loss = constant_loss(history), smooth(losses, 20)
        if not (loss > self.level * constant if constant > 0 else stuck(history)):
            return None  # it learns: decides almost every case
        chosen = [
            i
            for i in weight_matrices(history, series.columns)
            if history.parameters[series.columns[i]].group in decayed
        ]
        if not chosen or not (kept := _kept(series.rows[-1:], series.rows[0], chosen)[0]) < self.kept_norm:
            return None
        each = _kept(series.rows, series.rows[0], chosen)
        start, at = int(series.steps[0]), int(series.steps[int(np.argmax(each < self.kept_norm))])
        if at - start > self.soon:
            return None
        group = history.groups[history.parameters[series.columns[chosen[0]]].group or 0]
        return _Erased(start, group, learning_rate(history), kept, at - start, loss, constant)

    def _about(self, seen: _Erased) -> Suspicion:
        decay, suggested = seen.group.weight_decay, self._suggested(seen)
        constant = f" that of a constant prediction ({seen.constant:.3g})" if seen.constant > 0 else ""
        removed = seen.rate * seen.group.shrinkage
        each = f", which removes {removed:.2g} of each weight per step," if removed > 0 else ""
        return self.suspect(
            seen.step,
            (),
            f"A typical weight matrix lost half its norm in {seen.steps} steps and now has {seen.kept:.2g} "
            f"of it (healthy: more than 0.5). The loss of {seen.loss:.3g} "
            + (f"is{constant}." if constant else "has not fallen."),
            f"The weight decay of {decay:.3g}{each} erases the weights faster than the gradient builds them.",
            f"Set weight_decay={suggested:.1g} (now {decay:.3g}).",
            Severity.ERROR,
            kept_norm=seen.kept,
            weight_decay=decay,
            suggested_weight_decay=suggested,
            lr=seen.rate,
            loss=seen.loss,
        )

    def _suggested(self, seen: _Erased) -> float:
        """Return the decay that removes a small share of a weight per step, or a usual one if smaller."""
        group = seen.group
        usual = self.usual_decoupled if group.decoupled else self.usual
        share = seen.rate * group.shrinkage / group.weight_decay  # of a weight, for a decay of 1
        return min(usual, self.step_share / share if share > 0 else usual, 0.01 * group.weight_decay)


def _kept(rows: Array, first: Array, chosen: list[int]) -> Array:
    """Return the share of its first norm that a typical matrix has at each row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([median(row[chosen] / first[chosen]) for row in rows])
