"""Rules about units that no longer respond: dead or saturated."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._target_facts import LIMITS
from nnfoundations.diagnostics.rules._rule import (
    Rule,
    changed_rate,
    largest_update,
    learning_rate,
    movement,
    stuck,
)

__all__ = ["DeadUnits", "SaturatedUnits"]

_CONSEQUENCES = (
    "layers-without-gradient",
    "vanishing-gradients",
    "learning-rate-too-low",
    "stopped-too-early",
    "no-learning",
)
"""What units without a gradient look like elsewhere."""


class _Dead(NamedTuple):
    """Dead units: of the first such layer, and all such layers; `slower`: share of the rate to take."""

    step: int
    layer: str
    where: tuple[str, ...]
    share: float
    units: int
    rate: float
    slower: float


@dataclass(frozen=True)
class DeadUnits(Rule):
    """Units are zero on every sample of at least five measurements, so they receive no gradient."""

    fault, family, needs = "dead-units", Family.UNITS, ("dead_share", "loss")
    explains = _CONSEQUENCES
    share: float = 0.8  # share of dead units in a layer; healthy digits reach 0.52
    chance: float = 3.0  # standard errors above one half; inputs of one sign kill that many; Iris, cancer
    wait: int = 60  # losses after which they count if the loss is still stuck; Iris, breast cancer
    movement: float = 0.01  # updates of the run added up, over the weights; less says nothing; a judgement
    min_spread: float = 1e-3  # spread over the samples: units are not dead if these are equal; a judgement
    suggested_update: float = 0.02  # largest update / weight of the suggested rate; as for a rate too high
    suggested_rate: float = 0.1  # most of the present rate that is suggested; a judgement

    def judge(self, history: History) -> Suspicion | None:
        seen = self._measure(history)
        if seen is None:
            return None
        hurts = stuck(history)
        # With one input of one sign, each unit dies by the sign of its weight: of a few units, many may.
        by_chance = seen.share < min(0.5 + 0.5 * self.chance / seen.units**0.5, 1.0)
        if by_chance and not (hurts and len(history["loss"]) >= self.wait):
            return None
        if by_chance and movement(history) < self.movement:
            return None  # the loss stands still because all weights do
        return self._about(seen, hurts)

    def _measure(self, history: History) -> _Dead | None:
        series = history["dead_share"]
        dead = [name for name in series.columns if self._is_dead(history, name)]
        if not dead:
            return None
        first = dead[0]  # in forward order: the cause
        column, facts = series.column(first), history.layers[first]
        share = float(column[-1])
        step = int(series.steps[max(0, int(np.argmax(column >= min(share, self.share))) - 4)])
        where = tuple(dict.fromkeys(history.layers[name].owner for name in dead))
        update = largest_update(history, 0, step)
        slower = float(np.fmin(self.suggested_rate, self.suggested_update / max(update, 1e-9)))
        return _Dead(step, facts.owner, where, share, facts.units, learning_rate(history, step), slower)

    def _is_dead(self, history: History, name: str) -> bool:
        if not history["dead_share"].column(name)[-1] >= self.share:
            return False
        spread = history["sample_spread"]
        order = list(history.layers)
        before = order[max(0, order.index(name) - 1)]
        # Without a measurement of the spread, the samples are taken to differ.
        return before not in spread.columns or not spread.column(before)[-1] < self.min_spread

    def _about(self, seen: _Dead, hurts: bool) -> Suspicion:
        n = round(seen.share * seen.units)
        rate = f" (lr {seen.rate:.3g})" if seen.rate > 0 else ""
        reason = f"a large update{rate}" if seen.step > 0 else "the initial weights, a negative bias"
        return self.suspect(
            seen.step,
            seen.where,
            f"{n} of {seen.units} units of {seen.layer} were 0 on every sample of at least five "
            "measurements.",
            "The inputs of their activation are negative for all data, so they receive no gradient. Usual "
            f"reasons: {reason} or inputs that are not normalized.",
            self._remedy(seen),
            Severity.ERROR if hurts else Severity.WARNING,
            share=seen.share,
            units=seen.units,
            **({"lr": seen.rate, "suggested_lr": seen.rate * seen.slower} if seen.step > 0 else {}),
        )

    def _remedy(self, seen: _Dead) -> str:
        if seen.step == 0:
            return f"Initialize {seen.layer} again with bias 0, or use LeakyReLU or GELU."
        return f"{changed_rate(seen.rate, seen.slower)}, or use LeakyReLU or GELU."


class _Saturated(NamedTuple):
    """Saturated units: of the worst layer, and the names of all such layers."""

    step: int
    layer: str
    kind: str
    where: tuple[str, ...]
    share: float
    input_std: float
    output: bool
    weighted: bool


@dataclass(frozen=True)
class SaturatedUnits(Rule):
    """Units of a bounded activation are at its limits for almost every sample.

    At the output that is a fault only if targets lie beyond these limits.
    """

    fault, family, needs = "saturated-units", Family.UNITS, ("saturated_share", "loss")
    explains = _CONSEQUENCES
    share: float = 0.3  # share of saturated units; healthy digits reach 0.016

    def judge(self, history: History) -> Suspicion | None:
        seen = self._measure(history)
        return None if seen is None else self._about(seen, history)

    def _measure(self, history: History) -> _Saturated | None:
        series = history["saturated_share"]
        if len(series) < 3:
            return None
        recent = dict(zip(series.columns, series.last(3).rows.min(0).tolist(), strict=True))
        found = [name for name in series.columns if recent[name] >= self.share and _is_fault(history, name)]
        if not found:
            return None
        worst = max(found, key=recent.__getitem__)
        facts, std = history.layers[worst], history["activation_std"]
        return _Saturated(
            int(series.steps[int(np.argmax((series.rows >= self.share).any(1)))]),
            facts.owner,
            facts.module_class,
            tuple(dict.fromkeys(history.layers[name].owner for name in found)),
            recent[worst],
            float(std.column(facts.owner)[-1]) if facts.owner in std.columns else float("nan"),
            _is_output(history, worst),
            facts.owner in history.layers and history.layers[facts.owner].role in _WEIGHTED,
        )

    def _about(self, seen: _Saturated, history: History) -> Suspicion:
        low, _ = _range(seen.kind)
        cause = "At its limits the slope of the activation is almost 0, so almost no gradient passes."
        remedy = f"Scale what enters {seen.layer}: the healthy standard deviation is 1 to 2."
        if seen.weighted:
            remedy = (
                f"Use smaller weights in {seen.layer} (Xavier initial values), normalize before {seen.kind}, "
                "or lower the learning rate."
            )
        if seen.output:
            lowest, highest = _targets(history)
            cause = f"Targets reach from {lowest:.3g} to {highest:.3g}, and {seen.kind} cannot. {cause}"
            remedy = f"Remove {seen.kind} at the end, or scale the targets to its range of {low:g} to 1."
        spread = ""
        if seen.input_std == seen.input_std:
            spread = (
                f" The activation's input has a standard deviation of {seen.input_std:.3g} (healthy: 1 to 2)."
            )
        return self.suspect(
            seen.step,
            seen.where,
            f"{seen.share:.0%} of the units of {seen.layer} are saturated ({seen.kind} output near {low:g} "
            f"or 1) for more than 95 % of the samples.{spread}",
            cause,
            remedy,
            Severity.ERROR if stuck(history) else Severity.WARNING,
            share=seen.share,
            input_std=seen.input_std,
        )


_WEIGHTED = ("weighted", "recurrent")
"""Roles of layers with weights."""


def _range(kind: str) -> tuple[float, float]:
    """Return the range of the outputs of a bounded activation."""
    return LIMITS.get(kind.lower(), (-1.0, 1.0))


def _is_fault(history: History, name: str) -> bool:
    """Return whether saturation is a fault here. Confident outputs are saturated, and should be."""
    if not _is_output(history, name):
        return True
    low, high = _range(history.layers[name].module_class)
    lowest, highest = _targets(history)
    return lowest < low or highest > high


def _is_output(history: History, name: str) -> bool:
    """Return whether no layer with weights follows."""
    later = list(history.layers)[list(history.layers).index(name) :]
    return all(history.layers[n].role not in _WEIGHTED for n in later)


def _targets(history: History) -> tuple[float, float]:
    """Return the smallest and the largest target seen; NaN if they are unknown."""
    series = history["constant_loss"]
    if not len(series):
        return float("nan"), float("nan")
    return float(series.column("low")[-1]), float(series.column("high")[-1])
