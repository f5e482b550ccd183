"""The rule about attention that sees a single key from the start."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, gain

__all__ = ["AttentionSaturation"]


@dataclass(frozen=True)
class AttentionSaturation(Rule):
    """At the start, each query attends to a single key, because the scores are too large."""

    fault, family, needs = "attention-saturation", Family.INITIALIZATION, ("attention_entropy", "weight_norm")
    explains = ("vanishing-gradients", "saturated-units", "overfitting", "learning-rate-too-high")
    entropy: float = 0.25  # of attention, 1 for equal weights; text and digits: 0.92 or more, faulty 0.11
    gain: float = 2.5  # of the projections; pretrained attention may be as sharp, with usual weights

    def judge(self, history: History) -> Suspicion | None:
        series = history["attention_entropy"]
        sharp = [
            (float(value), name, large)
            for name, value in zip(series.columns, series.rows[0], strict=True)
            if value < self.entropy and (large := self._gain(history, name)) > self.gain
        ]
        if not sharp:
            return None
        value, name, large = min(sharp)
        return self.suspect(
            int(series.steps[0]),
            tuple(name for _, name, _ in sorted(sharp)),
            f"In {name} the entropy of the attention is {value:.2g} of its largest value (healthy at the "
            f"start: above 0.8), and its weights amplify their inputs {large:.3g} times (healthy: about 1).",
            "The scores are so large that the softmax selects one key, which leaves almost no gradient for "
            "queries and keys.",
            "Initialize the projections of queries and keys with Xavier's values, and divide the scores by "
            "the square root of the size of a head.",
            entropy=value,
            gain=large,
        )

    def _gain(self, history: History, name: str) -> float:
        """Return the largest gain of the weights in a module; tables of positions are none."""
        inside = f"{name}." if name else ""
        gains = [
            gain(history, p)
            for p, f in history.parameters.items()
            if (f.module == name or p.startswith(inside)) and f.kind == "matrix" and "weight" in p
        ]
        return float(np.nanmax(gains)) if np.isfinite(gains).any() else float("nan")
