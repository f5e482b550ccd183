"""What goes into the network: its scale, and whether it varies at all."""

from dataclasses import dataclass

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule


@dataclass(frozen=True)
class UnscaledInputs(Rule):
    """Inputs far from unit size: the first layer's gradients are as many times too large or too small."""

    fault, family, needs = "unscaled-inputs", "data", ("input",)
    at_once = True  # two batches in a row are evidence enough
    high: float = 50.0  # measured on digits: input RMS > 50 or < 1e-3
    low: float = 1e-3

    def judge(self, history: History) -> Suspicion | None:
        series = history["input"]
        sizes = series.last(2).column("rms")
        far = (sizes > self.high).all() or ((sizes < self.low) & (sizes > 0)).all()
        if len(sizes) < 2 or not far or (sizes[-1] > self.high and _normalised_next(history)):
            return None
        size = float(sizes.mean())
        first = next(iter(history.layers), "")
        said = f"{size:.3g}, beyond {self.high:g}" if size > self.high else f"{size:.3g}, below {self.low:g}"
        return self.suspect(
            series.steps[0],
            (first,) if first else (),
            f"The inputs have a root mean square of {said}.",
            "The gradient of the first layer is proportional to its input, so one learning rate cannot suit "
            "it and the layers above.",
            f"Divide the inputs by {size:.3g}, or subtract their mean and divide by their standard "
            "deviation.",
            Severity.ERROR,
            rms=size,
        )


def _normalised_next(history: History) -> bool:
    """Is the first layer with weights followed by a normalization, which undoes any scale?"""
    roles = [facts.role for facts in history.layers.values() if facts.role != "other"]
    return roles[:2] == ["weighted", "normalization"]


@dataclass(frozen=True)
class ConstantInputs(Rule):
    """Every sample of a batch is the same: there is nothing to tell apart."""

    fault, family, needs = "constant-inputs", "data", ("input",)
    at_once = True
    spread: float = 1e-6  # measured on digits: batch deviation below 1e-6 in every feature

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
            "The loader gives the same input again and again, so the network can only learn how often each "
            "answer occurs.",
            "Look at one batch of the training loader: its indexing, its transforms, and what fills its "
            "buffer.",
            Severity.ERROR,
            spread=float(recent.column("spread").max()),
        )
