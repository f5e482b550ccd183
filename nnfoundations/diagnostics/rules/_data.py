"""Rules about the inputs of the network: their scale, and whether they vary at all."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion, listed
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import STEPS, Rule, smooth, stuck

__all__ = ["ConstantInputs", "UnscaledInputs"]


class _Columns(NamedTuple):
    """The columns of a table that are far larger than the others, out of how many, and both sizes."""

    numbers: list[int]
    of: int
    size: float
    usual: float


@dataclass(frozen=True)
class UnscaledInputs(Rule):
    """The inputs are far from unit scale, so the first layer's gradients are off by the same factor."""

    fault, family, needs = "unscaled-inputs", Family.DATA, ("input",)
    explains = ("bad-initialization", "bad-output-scale", *STEPS, Family.NON_FINITE)
    exact = True
    high: float = 50.0  # largest root mean square of the inputs; measured on digits
    low: float = 1e-3  # smallest root mean square of the inputs; a judgement
    apart: float = 20.0  # size of a column over the usual one to be named; a judgement
    learned: float = 0.9  # loss over that of random guessing up to which a run learns; wine
    wait: int = 100  # losses after which a loss that has not fallen is an error; a judgement

    def judge(self, history: History) -> Suspicion | None:
        series = history["input"]
        sizes = series.last(2).column("rms")
        if len(sizes) < 2:
            return None
        far = (sizes > self.high).all() or ((sizes < self.low) & (sizes > 0)).all()
        columns = self._columns(history)
        if not far and (columns is None or not self._waited(history) or not self._hurts(history)):
            return None  # a few large columns of many may do no harm
        if sizes[-1] > self.low and _normalized_next(history):
            return None
        size = float(sizes.mean())
        first = next(iter(history.layers), "")
        found = f"The inputs have a root mean square of {size:.3g} (healthy: {self.low:g} to {self.high:g})."
        remedy = (
            f"Divide the inputs by {size:.3g}, or subtract their mean and divide by their standard deviation."
        )
        if columns is not None:
            named = listed(tuple(map(str, columns.numbers)), 10)
            found = (
                f"{len(columns.numbers)} of {columns.of} columns of the inputs ({named}, counted from 0) "
                f"have a root mean square of {columns.size:.3g}, the others of {columns.usual:.3g} (healthy: "
                f"{self.low:g} to {self.high:g}, and alike)."
            )
            remedy = (
                "Subtract the mean of each column and divide by its standard deviation, both from the "
                f"training data; or divide these columns by {columns.size / columns.usual:.3g}."
            )
        return self.suspect(
            series.steps[0],
            (first,) if first else (),
            found,
            "The gradient of the first layer is proportional to its input, so no single learning rate suits "
            + ("the weights of all columns." if columns else "both this layer and the layers above it."),
            remedy,
            Severity.ERROR if self._hurts(history) else Severity.WARNING,
            rms=size,
        )

    def _columns(self, history: History) -> "_Columns | None":
        """Return the columns that are far larger than the others; None if there are none or too many."""
        series = history["feature_rms"]
        if not len(series):
            return None
        sizes = np.median(series.rows, axis=0)
        usual = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0
        odd = np.flatnonzero((sizes > self.high) & (sizes > self.apart * usual))
        if not 0 < len(odd) <= len(sizes) / 2 or not usual > 0:
            return None
        size = float(np.sqrt(np.mean(sizes[odd] ** 2)))
        return _Columns(odd.tolist(), len(sizes), size, usual)

    def _waited(self, history: History) -> bool:
        return len(history["loss"]) >= self.wait

    def _hurts(self, history: History) -> bool:
        """Return whether the run does not train: some inputs, such as images of 0 to 255, are only slower."""
        losses = history["loss"].rows[:, 0]
        if not self._waited(history):
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
