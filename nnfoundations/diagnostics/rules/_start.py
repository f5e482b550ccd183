"""Rules about initial weights that no learning rate suits."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion, listed
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import STEPS, Rule, gain, median, stuck, trend, weight_matrices

__all__ = [
    "BadInitialization",
    "BadOutputScale",
    "SymmetricWeights",
    "depth_ratio",
    "first_loss",
    "guess",
    "initial_gains",
]


def depth_ratio(history: History) -> tuple[float, list[str], np.ndarray]:
    """Compute log10 of the last hidden layer's standard deviation over the first's, at the first measurement.

    The smallest of several estimates: from the two ends, and from a straight line through all layers, because
    in residual networks the layers that write into the sum are small and the next one reads the sum; and both
    again without the growth from one layer to the next where a normalization between them removes the scale.
    The output layer is left out, because a small or zero one is common and harmless.

    Returns:
        The ratio in decades, the names of the hidden layers, and their standard deviations. The ratio is 0
        if there are fewer than three hidden layers or an output is exactly 0.
    """
    series = history["activation_std"]
    if not len(series) or len(series.columns) < 4:
        return 0.0, [], np.empty(0)
    hidden = [n for n in series.columns if history.layers[n].role == "weighted"][:-1]
    if len(hidden) < 3:
        return 0.0, [], np.empty(0)
    std = np.array([series.column(name)[0] for name in hidden])
    if not (std > 1e-30).all():  # exact zeros mean dead or symmetric units, not a wrong scale
        return 0.0, [], np.empty(0)
    growth = np.diff(np.log10(std))
    estimates = []
    for steps in (growth, np.where(_normalized(history, hidden), 0.0, growth)):
        logs = np.concatenate([[0.0], np.cumsum(steps)])
        estimates += [float(logs[-1]), trend(logs)]
    same_sign = min(estimates) > 0 or max(estimates) < 0
    return (min(estimates, key=abs) if same_sign else 0.0), hidden, std


def _normalized(history: History, hidden: list[str]) -> list[bool]:
    """Return for each layer but the first whether a normalization stands between it and the one before."""
    order = list(history.layers)
    between = (order[order.index(a) : order.index(b)] for a, b in pairwise(hidden))
    return [any(history.layers[name].role == "normalization" for name in names) for names in between]


def initial_gains(history: History) -> dict[str, float]:
    """Return the `gain` of every weight matrix in forward order; the last is that of the output layer."""
    columns = history["weight_norm"].columns
    return {columns[i]: gain(history, columns[i]) for i in weight_matrices(history, columns)}


def first_loss(history: History) -> float:
    """Divide the first loss by the loss of random guessing; NaN if that is unknown."""
    losses, baseline = history["loss"], history.loss.baseline
    if not len(losses) or losses.steps[0] > 5 or history.settings.get("resumed") or not baseline > 0:
        return float("nan")
    return float(losses.rows[0, 0]) / baseline


def guess(history: History) -> str:
    """Name the loss that the first loss is compared with."""
    return "the variance of the targets" if history.loss.kind == "squared" else "the loss of random guessing"


@dataclass(frozen=True)
class BadInitialization(Rule):
    """Activations grow or shrink from layer to layer at the first step, or most weights start too large.

    Weights that are only a little too small shrink the activations of a deep network as much. That is a fault
    if no single layer causes most of it and the loss does not fall.
    """

    fault, family, needs = "bad-initialization", Family.INITIALIZATION, ("weight_norm", "loss")
    explains = ("bad-output-scale", "attention-saturation", *STEPS, Family.NON_FINITE)
    decades: float = 1.5  # most growth over all layers, in powers of 10; healthy digits: -0.88 to 0.35
    factor: float = 3.0  # first loss over that of random guessing; healthy digits reach 2.08
    max_gain: float = 2.5  # gain of the median layer; He initial values have 1.41
    small_gain: float = 0.5  # largest such gain if activations shrink; the default of torch has 0.58
    stuck_decades: float = 2.5  # least shrinkage, in powers of 10, if gains are larger; a judgement
    stuck_wait: int = 40  # losses needed for that; a judgement
    largest_step: float = 0.25  # most of the shrinkage that one layer causes, for that; a judgement

    def judge(self, history: History) -> Suspicion | None:
        if history.settings.get("resumed"):
            return None
        return self._by_depth(history) or self._by_size(history)

    def _by_depth(self, history: History) -> Suspicion | None:
        ratio, names, std = depth_ratio(history)
        if abs(ratio) < self.decades:
            return None
        typical = median(np.array(list(initial_gains(history).values())[:-1]))
        # The weights must be the cause: a layer switched off by its bias also shrinks the layers after it.
        if ratio < 0 and not typical < self.small_gain and not self._kills(history, ratio, std):
            return None
        each = 10 ** (ratio / (len(names) - 1))
        gains = std[1:] / std[:-1]
        off = [name for name, g in zip(names[1:], gains, strict=True) if not 0.5 <= g <= 2] or names[1:2]
        verb = "grow" if ratio > 0 else "shrink"
        return self.suspect(
            history["activation_std"].steps[0],
            tuple(off),
            f"At the first step activations {verb} by a factor of {max(each, 1 / each):.3g} per layer, "
            f"{10 ** abs(ratio):.3g} in total from {names[0]} to {names[-1]}.",
            "The initial weights are too " + ("large." if ratio > 0 else "small."),
            _better(history, f"{off[0]}.weight"),
            Severity.ERROR,
            log10_ratio=ratio,
            gain=float(each),
        )

    def _kills(self, history: History, ratio: float, std: np.ndarray) -> bool:
        """Return whether all layers together shrink the activations so much that nothing is learned."""
        if ratio > -self.stuck_decades or len(history["loss"]) < self.stuck_wait or not stuck(history):
            return False
        return float(np.diff(np.log10(std)).min()) > self.largest_step * ratio

    def _by_size(self, history: History) -> Suspicion | None:
        first = first_loss(history)
        if not first > self.factor:
            return None
        gains = initial_gains(history)
        hidden = list(gains.values())[:-1]
        if not hidden or not median(np.array(hidden)) > self.max_gain:
            return None
        worst = max(gains, key=gains.__getitem__)
        return self.suspect(
            history["loss"].steps[0],
            tuple(history.parameters[name].module for name, g in gains.items() if g > self.max_gain),
            f"The first loss is {first:.1f} times {guess(history)}, and a typical layer amplifies its input "
            f"{median(np.array(hidden)):.2g} times (usual: 1 to 1.4).",
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
    size = now / facts.fan_in**0.5
    if "weight_hh" in name:
        return (
            f"The standard deviation of {name} is {size:.3g}. Use reset_parameters() of {facts.module}, then "
            "torch.nn.init.orthogonal_ for weight_hh."
        )
    bounded = any(layer.module_class in ("Tanh", "Sigmoid") for layer in history.layers.values())
    gain_of, init = (1, "xavier_normal_") if bounded else (2, "kaiming_normal_")
    good = (gain_of / facts.fan_in) ** 0.5
    return (
        f"The standard deviation of {name} is {size:.3g}. Use sqrt({gain_of} / fan_in) = {good:.3g} "
        f"(torch.nn.init.{init}), or add normalization between the layers."
    )


@dataclass(frozen=True)
class BadOutputScale(Rule):
    """The first loss is far above that of random guessing, because the last layer's weights are too large."""

    fault, family, needs = "bad-output-scale", Family.INITIALIZATION, ("weight_norm", "loss")
    explains = ("unstable-loss-function", *STEPS, Family.NON_FINITE)
    factor: float = 3.0  # first loss over that of random guessing; healthy digits reach 2.08
    max_gain: float = 3.0  # gain of the last layer, alone and over the median of the others; a judgement

    def not_run(self, history: History) -> str:
        if len(history["loss"]) and history.loss.baseline != history.loss.baseline:
            return "the expected initial value of this loss is unknown"
        return super().not_run(history)

    def judge(self, history: History) -> Suspicion | None:
        first = first_loss(history)
        if not first > self.factor or not (gains := initial_gains(history)):
            return None
        *hidden, last = gains.values()
        typical = median(np.array(hidden)) if hidden else 1.0
        if not (last > self.max_gain and last > self.max_gain * typical):
            return None
        layer = history.parameters[list(gains)[-1]].module
        loss, baseline = float(history["loss"].rows[0, 0]), history.loss.baseline
        return self.suspect(
            history["loss"].steps[0],
            (layer,),
            f"The first loss is {loss:.3g}, {first:.1f} times {guess(history)} ({baseline:.3g}). {layer} "
            f"amplifies its input {last:.3g} times (usual: 1 to 1.4).",
            "The network starts with confident predictions that are wrong, and must unlearn them first.",
            f"Divide the initial weights of {layer} by {last:.2g}, or set them to zero.",
            Severity.WARNING,
            loss=loss,
            baseline=baseline,
            gain=last,
        )


@dataclass(frozen=True)
class SymmetricWeights(Rule):
    """All units of a layer have equal weights and equal gradients, so they stay equal."""

    fault, family, needs = "symmetric-weights", Family.INITIALIZATION, ("wiring",)
    explains = ("bad-initialization", "bad-output-scale", *STEPS)
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        events = history.events_of(self.fault)
        if len({event.step for event in events}) < 2 or not events[-1].where:
            return None
        where = events[-1].where
        units = max((history.parameters[name].shape[0] for name in where), default=0)
        return self.suspect(
            0 if events[0].step <= 2 else events[0].step,  # step 0 has no gradient to compare
            where,
            f"All rows of {listed(where)} are equal, and so are all rows of the gradient.",
            f"Units that start equal and receive equal gradients stay equal: {units} units act as one.",
            "Draw the weights at random (torch.nn.init): kaiming_normal_ before a ReLU, else xavier_normal_. "
            "Constants, such as zeros, are only for biases.",
            Severity.ERROR,
            layers=len(where),
        )
