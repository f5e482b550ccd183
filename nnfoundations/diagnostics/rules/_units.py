"""Units that no longer answer: dead, or saturated."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, learning_rate, stuck


@dataclass(frozen=True)
class DeadUnits(Rule):
    """Units that were zero on every sample of five looks: no gradient will wake them."""

    fault, family, needs = "dead-units", "units", ("dead_share", "loss")
    at_once = True  # five looks are in the measurement itself
    most: float = 0.8  # so many are a fault whatever the loss does
    share: float = 0.5  # so many, where the loss stands still for 100 steps; healthy digits reach 0.39
    rise: float = 0.25  # above what the layer had before
    units: int = 8  # fewer are too few to speak of a share

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
        found.sort(key=lambda item: item[2])  # the first layer of the forward pass is the cause
        share, name, column = found[0]
        facts = history.layers[name]
        since = series.steps[max(0, int(np.argmax(series.rows[:, column] >= min(share, self.share))) - 4)]
        n = round(share * facts.units)
        rate = learning_rate(history, since)
        return self.suspect(
            since,
            tuple(dict.fromkeys(history.layers[item[1]].owner for item in found)),
            f"{n} of {facts.units} units of {facts.owner} gave 0 on every sample of five looks or more.",
            "Their inputs to the activation are negative for all data: "
            + (f"a large step (lr {rate:.3g})" if since > 0 else "the initial weights, a negative bias")
            + " or inputs without scale took them there, and no gradient leads back.",
            f"Initialise {facts.owner} anew (bias 0), "
            + (f"lower lr={rate:.3g} or warm it up, " if since > 0 else "")
            + "or use LeakyReLU or GELU.",
            Severity.ERROR if stuck(history) else Severity.WARNING,
            share=share,
            units=facts.units,
        )


def _is_output(history: History, name: str) -> bool:
    """Does no layer with weights come after it? Answers that are sure stand at the ends, and are to."""
    later = list(history.layers)[list(history.layers).index(name) :]
    return all(history.layers[n].role not in ("weighted", "recurrent") for n in later)


@dataclass(frozen=True)
class SaturatedUnits(Rule):
    """Units of a bounded activation within the net that stand at its ends for nearly every sample."""

    fault, family, needs = "saturated-units", "units", ("saturated_share", "loss")
    at_once = True  # three looks are in the measurement itself
    share: float = 0.3  # measured on digits: healthy runs reach 0.016

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
            f"{share:.0%} of the units of {facts.owner} stand at an end of {facts.module_class} for more "
            f"than 95 % of the samples; what goes in has a standard deviation of {before:.3g} (1 to 2 is "
            "healthy).",
            "There the slope is almost 0, so that hardly any gradient passes.",
            f"Make the weights of {facts.owner} smaller ({facts.module_class}: Xavier initial values), "
            "normalise before the activation, or lower the learning rate.",
            Severity.ERROR if stuck(history) else Severity.WARNING,
            share=share,
            input_std=before,
        )
