"""Rules about the inputs of the network: their scale, and whether they vary at all."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import STEPS, Rule, smooth, stuck

__all__ = ["ConstantInputs", "UnscaledInputs"]


@dataclass(frozen=True)
class UnscaledInputs(Rule):
    """The inputs are far from unit scale, so the first layer's gradients are off by the same factor."""

    fault, family, needs = "unscaled-inputs", Family.DATA, ("input",)
    explains = ("bad-initialization", "bad-output-scale", *STEPS, Family.NON_FINITE)
    exact = True
    high: float = 50.0  # largest root mean square of the inputs; measured on digits
    low: float = 1e-3  # smallest root mean square of the inputs; a judgement
    learned: float = 0.9  # loss over that of random guessing up to which a run learns; wine
    wait: int = 100  # losses after which a loss that has not fallen is an error; a judgement

    def judge(self, history: History) -> Suspicion | None:
        series = history["input"]
        sizes = series.last(2).column("rms")
        far = (sizes > self.high).all() or ((sizes < self.low) & (sizes > 0)).all()
        if len(sizes) < 2 or not far or (sizes[-1] > self.high and _normalized_next(history)):
            return None
        size = float(sizes.mean())
        first = next(iter(history.layers), "")
        return self.suspect(
            series.steps[0],
            (first,) if first else (),
            f"The inputs have a root mean square of {size:.3g} (healthy: {self.low:g} to {self.high:g}).",
            "The gradient of the first layer is proportional to its input, so no single learning rate suits "
            "both this layer and the layers above it.",
            f"Divide the inputs by {size:.3g}, or subtract their mean and divide by their standard "
            "deviation.",
            Severity.ERROR if self._hurts(history) else Severity.WARNING,
            rms=size,
        )

    def _hurts(self, history: History) -> bool:
        """Return whether the run does not train: some inputs, such as images of 0 to 255, are only slower."""
        losses = history["loss"].rows[:, 0]
        if len(losses) < self.wait:
            return not np.isfinite(losses).all()
        guesses = smooth(losses) > self.learned * history.loss.baseline > 0
        return stuck(history) or guesses or not np.isfinite(losses).all()


def _normalized_next(history: History) -> bool:
    """Return whether a normalization, which removes any scale, follows the first layer with weights."""
    roles = [facts.role for facts in history.layers.values() if facts.role != "other"]
    return roles[:2] == ["weighted", "normalization"]


@dataclass(frozen=True)
class ConstantInputs(Rule):
    """All samples of a batch are equal, so the network has nothing to distinguish."""

    fault, family, needs = "constant-inputs", Family.DATA, ("input",)
    explains = ("bad-initialization", *STEPS, Family.GENERALIZATION)
    exact = True
    spread: float = 1e-6  # largest standard deviation over the batch of any feature; measured on digits

    def judge(self, history: History) -> Suspicion | None:
        series = history["input"]
        recent = series.last(2)
        several = recent.column("samples") > 1
        if several.sum() < 2 or not (recent.column("spread")[several] < self.spread).all():
            return None
        n = int(recent.column("samples").max())
        return self.suspect(
            series.steps[0],
            (),
            f"All {n} samples of a batch are equal in every feature.",
            "The data loader returns the same input again and again, so the network can only learn how often "
            "each target occurs.",
            "Print one batch of the training loader. Check its indexing, its transforms and the code that "
            "fills its buffer.",
            Severity.ERROR,
            spread=float(recent.column("spread").max()),
        )
