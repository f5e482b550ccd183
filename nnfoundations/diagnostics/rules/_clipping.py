"""The rule about gradients that are clipped to almost nothing."""

import math
from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, median, stuck, update_ratios

__all__ = ["ClippingTooTight"]


@dataclass(frozen=True)
class ClippingTooTight(Rule):
    """Clipping makes every gradient so small that plain gradient descent hardly moves the weights."""

    fault, family, needs = (
        "clipping-too-tight",
        Family.LEARNING_RATE,
        ("gradient_norm", "update_ratio", "loss"),
    )
    explains = ("learning-rate-too-low", "no-learning", "vanishing-gradients", "stopped-too-early")
    factor: float = 0.1  # factor of a typical clipping; healthy clipped LSTMs have more; a judgement
    clipped: float = 0.9  # share of clipped steps; a judgement
    largest_update: float = 1e-4  # update / weight, a tenth of the healthy ones; digits
    wait: int = 40  # losses needed; a judgement
    fallen: float = 0.9  # the loss is above this share of the first one; a judgement

    def judge(self, history: History) -> Suspicion | None:
        limit = history.settings.get("gradient_clip_norm", math.inf)  # of the Trainer; others are not known
        if not math.isfinite(limit) or len(history["loss"]) < self.wait or not stuck(history, self.fallen):
            return None
        if len(history.groups) == 0 or any(group.adaptive for group in history.groups):
            return None  # the size of the updates does not follow from that of the gradient
        series = history["gradient_norm"]
        totals = np.sqrt(np.nansum(series.rows**2, axis=1))
        norm, share = median(totals), float((totals > limit).mean())
        ratio = median(update_ratios(history, history["update_ratio"].last(10).rows)[0])
        if not (share > self.clipped and limit < self.factor * norm and ratio < self.largest_update):
            return None
        return self.suspect(
            int(series.steps[0]),
            (),
            f"Clipping to a norm of {limit:.3g} shrinks {share:.0%} of the gradients, typically from "
            f"{norm:.3g}. Each update changes the weights by {ratio:.1e} times their size (healthy: 0.001 to "
            "0.02), and the loss does not fall.",
            "The updates of this optimizer are as small as the clipped gradients.",
            f"Set gradient_clip_val={norm:.2g} (now {limit:.3g}), which clips only gradients above a typical "
            "one.",
            Severity.WARNING,
            clip=limit,
            gradient_norm=norm,
            update_ratio=ratio,
        )
