"""Rules about runs that get no signal: no gradient at all, or outputs that do not depend on the input."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History, Series
from nnfoundations.diagnostics.rules._rule import (
    TENDENCY,
    Rule,
    constant_loss,
    kept_norm,
    smooth,
    without_gradient,
)

__all__ = ["NoGradient", "NoLearning"]


class _Stop(NamedTuple):
    """Where the gradient ends: in a module, or between the module and the one after it (or the loss)."""

    name: str
    inside: bool
    after: str
    size: float


class _Silence(NamedTuple):
    """Gradients that are exactly 0."""

    step: int
    measurements: int
    loss: float
    stop: _Stop | None


@dataclass(frozen=True)
class NoGradient(Rule):
    """Every gradient is exactly 0 although the loss is not at its minimum, so no step changes anything."""

    fault, family, needs = "no-gradient", Family.GRADIENTS, ("gradient_norm", "loss")
    explains = ("vanishing-gradients", "learning-rate-too-low", "stopped-too-early", Family.UNITS)
    exact = True
    measurements: int = 5  # in a row; one batch may have no gradient by chance, as under a hinge loss

    def judge(self, history: History) -> Suspicion | None:
        seen = self._measure(history)
        return None if seen is None else self._about(seen, history)

    def _measure(self, history: History) -> _Silence | None:
        times = without_gradient(history)
        if times < self.measurements:
            return None
        steps, losses = history["gradient_norm"].steps[-times:], history["loss"]
        there = losses.rows[np.isin(losses.steps, steps), 0]
        one_class = history.loss.classes == 1  # this loss is 0 whatever the weights are
        if not len(there) or not (one_class or (there != 0).all()):
            return None
        return _Silence(int(steps[0]), times, smooth(losses.rows[:, 0]), _stop(history))

    def _about(self, seen: _Silence, history: History) -> Suspicion:
        where, found, cause, remedy = _words(seen.stop, history)
        return self.suspect(
            seen.step,
            where,
            f"All gradients were exactly 0 at the last {seen.measurements} measurements (since step "
            f"{seen.step}), and the loss is {seen.loss:.3g}.{found}",
            cause,
            remedy,
            Severity.ERROR,
            measurements=seen.measurements,
            loss=seen.loss,
        )


def _stop(history: History) -> _Stop | None:
    """Find where the gradient ends, from the loss backwards; None if that was not measured."""
    outgoing, incoming = history["output_gradient"], history["input_gradient"]
    if not len(outgoing):
        return None
    names = [name for name in history.layers if name in outgoing.columns]
    after = ""
    for name in reversed(names):
        size = float(outgoing.column(name)[-1])
        if size != size:
            continue  # did not run in this step
        if size == 0:
            return _Stop(name, inside=False, after=after, size=0.0)
        entering = float(incoming.column(name)[-1]) if name in incoming.columns else float("nan")
        if entering == 0:
            return _Stop(name, inside=True, after=after, size=size)
        after = name
    return None


_REASONS = {
    "Softmax": (
        "Softmax over a single unit is always 1, so its output does not depend on its input.",
        "Use a sigmoid for one output unit, with a loss for probabilities, or two units with softmax.",
    ),
    "ReLU": (
        "All inputs of this ReLU are negative, so its output is 0 and its slope too.",
        "Remove the ReLU after the last layer, or use Softplus if outputs must be positive.",
    ),
}
"""The reason and the remedy by class of the module that stops the gradient."""


def _words(stop: _Stop | None, history: History) -> tuple[tuple[str, ...], str, str, str]:
    """Return the place, the evidence, the cause and the remedy."""
    general = "Look for a multiplication by 0, a clamp or rounding, a dead ReLU, or a softmax over one unit"
    if history.loss.classes == 1:
        return (
            () if stop is None else (stop.name,),
            " The loss is a cross-entropy of one output.",
            "The softmax of one output is always 1, so this loss is the same for all weights.",
            "Use BCEWithLogitsLoss for one output and two classes, or one output for each class.",
        )
    if stop is None:
        return (), "", "Some operation passes no gradient.", f"{general}."
    if not stop.inside:
        end = stop.after or "the loss"
        return (
            (stop.name,),
            f" No gradient reaches the output of {stop.name}.",
            f"The loss, or an operation between {stop.name} and {end}, passes no gradient.",
            f"{general}, between {stop.name} and {end}.",
        )
    kind = history.layers[stop.name].module_class
    found = f" The gradient is {stop.size:.3g} at the output of {stop.name} ({kind}) and 0 at its input."
    alone = kind != "Softmax" or history.layers[stop.name].units == 1
    cause, remedy = _REASONS.get(kind, ("", "")) if alone else ("", "")
    if kind == "ReLU" and stop.after:
        remedy = "Initialize the layer before it again with bias 0, lower lr, or use LeakyReLU or GELU."
    return (
        (stop.name,),
        found,
        cause or f"{stop.name} ({kind}) passes no gradient for these inputs.",
        remedy or f"Remove {stop.name}, or change what enters it.",
    )


class _Equal(NamedTuple):
    """Outputs that are equal for all samples. `kept_norm`: share of their norm that the weights have kept."""

    step: int
    where: str
    before: str
    spread: float
    loss: float
    constant: float
    kept_norm: float


@dataclass(frozen=True)
class NoLearning(Rule):
    """The output is the same for every input, and the loss is that of the best constant prediction."""

    fault, family, needs = "no-learning", Family.UNITS, ("sample_spread", "constant_loss", "loss")
    spread: float = 2e-3  # output over the samples, relative to its size; a judgement
    level: float = 0.9  # loss over that of the best constant, known from some of the targets; a judgement
    wait: int = 200  # losses needed; sigmoid nets on digits may take some hundred steps to learn
    spread_growth: float = 1.5  # most growth of the spread over three measurements; more on a plateau
    kept_norm: float = 0.1  # share of their norm that weights keep unless decay erases them; a judgement

    def not_run(self, history: History) -> str:
        for quantity in (TENDENCY, *self.needs):
            if quantity in history.unavailable:
                return history.unavailable[quantity]
        if len(history["loss"]) and not len(history["constant_loss"]):
            return "the loss does not show its targets"
        return ""  # a run that learns has no measurement of the spread

    def judge(self, history: History) -> Suspicion | None:
        seen = self._measure(history)
        return None if seen is None else self._about(seen)

    def _measure(self, history: History) -> _Equal | None:
        series, losses = history["sample_spread"], history["loss"].rows[:, 0]
        if len(series) < 3 or len(losses) < self.wait or not len(history["constant_loss"]):
            return None
        names = [name for name in history.layers if name in series.columns]
        output = series.column(names[-1])[-3:]
        if not (output < self.spread).all() or output[-1] > self.spread_growth * output[0] + 1e-6:
            return None
        loss, constant = float(losses[-self.wait // 2 :].mean()), constant_loss(history)
        if not loss > self.level * constant:
            return None
        at = _first_equal(series, names, self.spread)
        before = names[at - 1] if at else ""
        step = int(history["loss"].steps[-1]) if len(losses) == self.wait else int(series.steps[-3])
        return _Equal(step, names[at], before, float(output[-1]), loss, constant, kept_norm(history))

    def _about(self, seen: _Equal) -> Suspicion:
        evidence = (
            f"For different inputs the outputs differ by only {seen.spread:.1e} of their size, and the loss "
            f"of {seen.loss:.3g} is that of a constant prediction ({seen.constant:.3g})."
        )
        numbers = {"spread": seen.spread, "loss": seen.loss, "constant_loss": seen.constant}
        if seen.kept_norm < self.kept_norm:
            return self.suspect(
                seen.step,
                (seen.where,),
                f"{evidence} The weights have shrunk to {seen.kept_norm:.2g} of their initial norm.",
                "A weight decay, or a penalty on the weights in the loss, is too strong: it erases the "
                "weights faster than the gradient builds them.",
                "Divide it by 100 (usual values of weight_decay: 1e-5 to 1e-2).",
                Severity.ERROR,
                **numbers,
            )
        place = f"From {seen.where} on" if seen.before else f"Already after {seen.where}"
        return self.suspect(
            seen.step,
            (seen.where,),
            evidence,
            f"{place} the activations are the same for all samples"
            + (f", although those of {seen.before} differ." if seen.before else "."),
            f"Check {seen.where} and what enters it: a scale of 0, a normalization over one feature or with "
            "a large eps, a mean over the batch, or a mask that hides everything.",
            Severity.ERROR,
            **numbers,
        )


def _first_equal(series: Series, names: list[str], limit: float) -> int:
    """Return the position of the first layer from which on all outputs are equal for all samples."""
    equal = np.array([bool(series.column(name)[-1] < limit) for name in names])
    return len(names) - int(np.argmin(equal[::-1])) if not equal.all() else 0
