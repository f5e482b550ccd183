"""Bad starts: initial values that no learning rate suits."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion, listed
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, gain, matrices, median, trend


def depth_ratio(history: History) -> tuple[float, list[str], np.ndarray]:
    """log10 of the last hidden layer's standard deviation over the first's, at the first look.

    Of both ends, or of the straight line through all layers, whichever is less: in residual networks the
    layers that write into the sum are small, and the next one reads the sum. The output layer is left out: a
    small or a zero one is common and harmless.
    """
    series = history["activation_std"]
    if not len(series) or len(series.columns) < 4:
        return 0.0, [], np.empty(0)
    hidden = [n for n in series.columns if history.layers[n].role == "weighted"][:-1]
    if len(hidden) < 3:
        return 0.0, [], np.empty(0)
    std = np.array([series.column(name)[0] for name in hidden])
    if not (std > 1e-30).all():  # exact zeros are dead or symmetric units, whatever the scale
        return 0.0, [], np.empty(0)
    logs = np.log10(std)
    ends, line = float(logs[-1] - logs[0]), trend(logs)
    return (min(ends, line, key=abs) if ends * line > 0 else 0.0), hidden, std


def initial_gains(history: History) -> dict[str, float]:
    """`gain` of every weight matrix, in the order of the forward pass; the last is the output layer's."""
    columns = history["weight_norm"].columns
    return {columns[i]: gain(history, columns[i]) for i in matrices(history, columns)}


def first_loss(history: History) -> float:
    """The first loss over that of a network that knows nothing; NaN where that is not known."""
    losses, baseline = history["loss"], history.loss.baseline
    if not len(losses) or losses.steps[0] > 5 or history.settings.get("resumed") or not baseline > 0:
        return float("nan")
    return float(losses.rows[0, 0]) / baseline


@dataclass(frozen=True)
class BadInitialization(Rule):
    """Activations grow or shrink layer by layer at the very first step, or all layers start too large."""

    fault, family, needs = "bad-initialization", "initialization", ("weight_norm", "loss")
    at_once = True
    decades: float = 1.5  # measured on digits: healthy runs lie within -0.88 and 0.35
    factor: float = 3.0  # of the first loss; healthy runs reach 2.08 ln K
    stretch: float = 2.5  # the median layer's gain; He has 1.41
    large: float = 1.8  # the same, where activations are seen to grow
    small: float = 0.7  # and where they shrink; torch's default has 0.58

    def judge(self, history: History) -> Suspicion | None:
        if history.settings.get("resumed"):
            return None
        return self._by_depth(history) or self._by_size(history)

    def _by_depth(self, history: History) -> Suspicion | None:
        ratio, names, std = depth_ratio(history)
        if abs(ratio) < self.decades:
            return None
        usual = median(np.array(list(initial_gains(history).values())[:-1]))
        # The weights must be at fault: a layer that a bias has shut off shrinks what follows it too.
        if not (usual > self.large if ratio > 0 else usual < self.small):
            return None
        each = 10 ** (ratio / (len(names) - 1))
        gains = std[1:] / std[:-1]
        off = [name for name, g in zip(names[1:], gains, strict=True) if not 0.5 <= g <= 2] or names[1:2]
        verb = "grow" if ratio > 0 else "shrink"
        return self.suspect(
            history["activation_std"].steps[0],
            tuple(off),
            f"Activations {verb} by a factor of {max(each, 1 / each):.3g} a layer, {10 ** abs(ratio):.3g} "
            f"in all, from {names[0]} to {names[-1]} at the first step.",
            "The initial weights are too " + ("large." if ratio > 0 else "small."),
            _better(history, f"{off[0]}.weight"),
            Severity.ERROR,
            log10_ratio=ratio,
            gain=float(each),
        )

    def _by_size(self, history: History) -> Suspicion | None:
        first = first_loss(history)
        if not first > self.factor:
            return None
        gains = initial_gains(history)
        hidden = list(gains.values())[:-1]
        if not hidden or not median(np.array(hidden)) > self.stretch:
            return None
        worst = max(gains, key=gains.__getitem__)
        return self.suspect(
            history["loss"].steps[0],
            tuple(history.parameters[name].module for name, g in gains.items() if g > self.stretch),
            f"The first loss is {first:.1f} times that of a network that knows nothing, and the layers "
            f"stretch what goes in by {median(np.array(hidden)):.2g} (1 to 1.4 is usual).",
            "The initial weights are too large.",
            _better(history, worst),
            Severity.ERROR,
            first_loss=first,
            gain=median(np.array(hidden)),
        )


def _better(history: History, name: str) -> str:
    facts, now = history.parameters.get(name), gain(history, name)
    if facts is None or now != now:
        return "Use torch.nn.init.kaiming_normal_ (ReLU) or xavier_uniform_ (tanh, sigmoid)."
    size, good = now / facts.fan_in**0.5, (2 / facts.fan_in) ** 0.5
    return (
        f"{name} has a standard deviation of {size:.3g}: use {good:.3g} = sqrt(2 / fan_in) "
        "(torch.nn.init.kaiming_normal_), or put a normalization between the layers."
    )


@dataclass(frozen=True)
class BadOutputScale(Rule):
    """The first loss is far above that of a network that knows nothing, and the last layer makes it so."""

    fault, family, needs = "bad-output-scale", "initialization", ("weight_norm", "loss")
    at_once = True
    factor: float = 3.0  # measured on digits: healthy runs reach 2.08 ln K
    stretch: float = 3.0  # gain of the last layer, and that over the median of the others

    def not_run(self, history: History) -> str:
        if len(history["loss"]) and history.loss.baseline != history.loss.baseline:
            return "the loss is not one whose starting value is known"
        return super().not_run(history)

    def judge(self, history: History) -> Suspicion | None:
        first = first_loss(history)
        if not first > self.factor or not (gains := initial_gains(history)):
            return None
        *hidden, last = gains.values()
        usual = median(np.array(hidden)) if hidden else 1.0
        if not (last > self.stretch and last > self.stretch * usual):
            return None
        layer = history.parameters[list(gains)[-1]].module
        loss, baseline = float(history["loss"].rows[0, 0]), history.loss.baseline
        return self.suspect(
            history["loss"].steps[0],
            (layer,),
            f"The first loss is {loss:.3g}, {first:.1f} times the {baseline:.3g} of a network that knows "
            f"nothing; {layer} stretches what goes in by {last:.3g} (1 to 1.4 is usual).",
            "The network starts out sure of answers it cannot know, and first has to unlearn them.",
            f"Divide the initial weights of {layer} by {last:.2g}, or set them to zero.",
            Severity.WARNING,
            loss=loss,
            baseline=baseline,
            gain=last,
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
            0 if events[0].step <= 2 else events[0].step,  # the first step has no gradient to compare
            where,
            f"All rows of {listed(where)} are equal, and so are all rows of the gradient.",
            f"{units} units that start equal and get equal gradients stay equal: the layer is one unit wide.",
            "Initialise the weights at random (torch.nn.init.kaiming_normal_); zeros and constants are for "
            "biases.",
            Severity.ERROR,
            layers=len(where),
        )
