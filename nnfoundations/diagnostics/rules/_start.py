"""Bad starts: initial values that no learning rate suits."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion, listed
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, median


def depth_ratio(history: History) -> tuple[float, list[str], np.ndarray]:
    """log10 of the last hidden layer's standard deviation over the first's, at the first look.

    The output layer is left out: a small or a zero one is common and harmless.
    """
    series = history["activation_std"]
    if not len(series) or len(series.columns) < 4:
        return 0.0, [], np.empty(0)
    hidden = [n for n in series.columns if history.layers[n].role == "weighted"][:-1]
    if len(hidden) < 3:
        return 0.0, [], np.empty(0)
    std = np.array([series.column(name)[0] for name in hidden])
    with np.errstate(divide="ignore"):
        logs = np.log10(np.maximum(std, 1e-38))
    return float(logs[-1] - logs[0]), hidden, std


@dataclass(frozen=True)
class BadInitialization(Rule):
    """Activations grow or shrink layer by layer at the very first step."""

    fault, family, needs = "bad-initialization", "initialization", ("activation_std",)
    at_once = True
    decades: float = 1.5  # diagnostics.md e.1: healthy runs lie within -0.88 and 0.35

    def judge(self, history: History) -> Suspicion | None:
        ratio, names, std = depth_ratio(history)
        if abs(ratio) < self.decades:
            return None
        gain = 10 ** (ratio / (len(names) - 1))
        gains = std[1:] / np.maximum(std[:-1], 1e-38)
        off = [i + 1 for i, g in enumerate(gains) if not 0.5 <= g <= 2]
        worst = names[off[0]] if off else names[0]
        facts = history.parameters.get(f"{worst}.weight")
        fix = "Use torch.nn.init.kaiming_normal_ (ReLU) or xavier_uniform_ (tanh, sigmoid)"
        if facts is not None:
            now = history["weight_norm"]
            if len(now) and f"{worst}.weight" in now.columns:
                size = now.column(f"{worst}.weight")[0] / float(np.prod(facts.shape)) ** 0.5
                good = (2 / facts.fan_in) ** 0.5
                fix = f"{worst}: weights of standard deviation {size:.3g}, use {good:.3g} = sqrt(2 / fan_in)"
        verb = "grow" if ratio > 0 else "shrink"
        return self.suspect(
            history["activation_std"].steps[0],
            tuple(names[i] for i in off) or (worst,),
            f"Activations {verb} by a factor of {gain:.3g} a layer, {10 ** abs(ratio):.3g} in all, from "
            f"{names[0]} to {names[-1]} at the first step.",
            "The initial weights are too " + ("large." if ratio > 0 else "small."),
            f"{fix}; or put a normalization between the layers.",
            Severity.ERROR,
            log10_ratio=ratio,
            gain=float(gain),
        )


@dataclass(frozen=True)
class BadOutputScale(Rule):
    """The first loss is far above that of a network that knows nothing."""

    fault, family, needs = "bad-output-scale", "initialization", ("loss",)
    at_once = True
    factor: float = 3.0  # diagnostics.md e.1: healthy runs reach 2.08 ln K

    def not_run(self, history: History) -> str:
        if history.loss.baseline != history.loss.baseline:
            return "the loss is not one whose starting value is known"
        return super().not_run(history)

    def judge(self, history: History) -> Suspicion | None:
        losses = history["loss"]
        baseline = history.loss.baseline
        if not len(losses) or losses.steps[0] > 5 or not baseline > 0:
            return None
        first = float(losses.rows[0, 0])
        if not first > self.factor * baseline:
            return None
        std = history["activation_std"]
        layer = std.columns[-1] if len(std) else ""
        spread = float(std.rows[0, -1]) if len(std) else float("nan")
        return self.suspect(
            losses.steps[0],
            (layer,) if layer else (),
            f"The first loss is {first:.3g}, {first / baseline:.1f} times the {baseline:.3g} of a network that "
            f"knows nothing; its outputs have a standard deviation of {spread:.3g}.",
            "The network starts out sure of answers it cannot know, and first has to unlearn them.",
            f"Scale the initial weights of {layer or 'the last layer'} down by {max(spread, first / baseline):.2g}"
            ", or set them to zero.",
            Severity.WARNING,
            loss=first,
            baseline=baseline,
            output_std=spread,
        )


@dataclass(frozen=True)
class SymmetricWeights(Rule):
    """All units of a layer have the same weights and the same gradient: they stay one unit for ever."""

    fault, family = "symmetric-weights", "initialization"
    at_once = True

    def judge(self, history: History) -> Suspicion | None:
        events = history.events_of(self.fault)
        if len({event.step for event in events}) < 2 or not events[-1].where:
            return None
        where = events[-1].where
        units = max((history.parameters[name].shape[0] for name in where), default=0)
        return self.suspect(
            events[0].step,
            where,
            f"All rows of {listed(where)} are equal, and so are all rows of the gradient.",
            f"{units} units that start equal and get equal gradients stay equal: the layer is one unit wide.",
            "Initialise the weights at random (torch.nn.init.kaiming_normal_); zeros and constants are for "
            "biases.",
            Severity.ERROR,
            layers=len(where),
            median=median(np.array([1.0])),
        )
