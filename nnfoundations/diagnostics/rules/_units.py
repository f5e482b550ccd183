"""Rules about units that no longer respond: dead or saturated."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, learning_rate, stuck

__all__ = ["DeadUnits", "SaturatedUnits"]


@dataclass(frozen=True)
class DeadUnits(Rule):
    """Units are zero on every sample of at least five measurements, so they receive no gradient."""

    fault, family, needs = "dead-units", "units", ("dead_share", "loss")
    at_once = True  # the evidence itself spans five measurements
    most: float = 0.8  # share of dead units that is a fault whatever the loss does
    share: float = 0.5  # the same if the loss has not fallen in 100 steps; healthy digits reach 0.39
    rise: float = 0.25  # increase over an earlier measurement, if the loss has not fallen
    units: int = 8  # layers with fewer units are skipped

    def judge(self, history: History) -> Suspicion | None:
        series = history["dead_share"]
        now = series.rows[-1]
        found: list[tuple[float, str, int]] = []
        for i, name in enumerate(series.columns):
            facts = history.layers[name]
            if facts.units < self.units or not now[i] > 0:
                continue
            earlier = float(np.nanmin([now[i], *series.rows[4:-1, i]])) if len(series) > 6 else now[i]
            hurt = stuck(history) and len(history["loss"]) >= 100
            risen = now[i] - earlier >= self.rise and stuck(history)
            if now[i] >= self.most or (now[i] >= self.share and hurt) or risen:
                found.append((float(now[i]), name, i))
        if not found:
            return None
        found.sort(key=lambda item: item[2])  # the first such layer in forward order is the cause
        share, name, column = found[0]
        facts = history.layers[name]
        since = series.steps[max(0, int(np.argmax(series.rows[:, column] >= min(share, self.share))) - 4)]
        n = round(share * facts.units)
        rate = learning_rate(history, since)
        return self.suspect(
            since,
            tuple(dict.fromkeys(history.layers[item[1]].owner for item in found)),
            f"{n} of {facts.units} units of {facts.owner} were 0 on every sample of at least five "
            "measurements.",
            "The inputs of their activation are negative for all data, so they receive no gradient. Usual "
            "reasons: "
            + (f"a large update (lr {rate:.3g})" if since > 0 else "the initial weights, a negative bias")
            + " or inputs that are not normalized.",
            f"Initialize {facts.owner} again with bias 0, "
            + (f"lower lr={rate:.3g} or add a warm-up, " if since > 0 else "")
            + "or use LeakyReLU or GELU.",
            Severity.ERROR if stuck(history) else Severity.WARNING,
            share=share,
            units=facts.units,
        )


def _is_output(history: History, name: str) -> bool:
    """Return whether no layer with weights follows. Confident outputs are saturated, and should be."""
    later = list(history.layers)[list(history.layers).index(name) :]
    return all(history.layers[n].role not in ("weighted", "recurrent") for n in later)


@dataclass(frozen=True)
class SaturatedUnits(Rule):
    """Units of a bounded activation inside the network are at its limits for almost every sample."""

    fault, family, needs = "saturated-units", "units", ("saturated_share", "loss")
    at_once = True  # the evidence itself spans three measurements
    share: float = 0.3  # share of saturated units; healthy digits reach 0.016

    def judge(self, history: History) -> Suspicion | None:
        series = history["saturated_share"]
        recent = series.last(3).rows.min(0)
        found = [
            (i, name)
            for i, name in enumerate(series.columns)
            if recent[i] >= self.share and not _is_output(history, name)
        ]
        if not found or len(series) < 3:
            return None
        worst = max(found, key=lambda item: recent[item[0]])[1]
        facts = history.layers[worst]
        share = float(recent[series.columns.index(worst)])
        std = history["activation_std"]
        before = float(std.column(facts.owner)[-1]) if facts.owner in std.columns else float("nan")
        since = series.steps[int(np.argmax((series.rows >= self.share).any(1)))]
        return self.suspect(
            since,
            tuple(dict.fromkeys(history.layers[name].owner for _, name in found)),
            f"{share:.0%} of the units of {facts.owner} are saturated ({facts.module_class} output near "
            f"{'0' if 'igmoid' in facts.module_class else '-1'} or 1) for more than 95 % of the samples. The "
            f"activation's input has a standard deviation of {before:.3g} (healthy: 1 to 2).",
            "At its limits the slope of the activation is almost 0, so almost no gradient passes.",
            f"Use smaller weights in {facts.owner} (Xavier initial values), normalize before "
            f"{facts.module_class}, or lower the learning rate.",
            Severity.ERROR if stuck(history) else Severity.WARNING,
            share=share,
            input_std=before,
        )
