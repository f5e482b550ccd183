"""Rules about gradients that vanish or explode in the backward pass."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, kept_norm, median, stuck, weight_matrices
from nnfoundations.diagnostics.rules._start import depth_ratio

__all__ = ["ExplodingGradients", "VanishingGradients"]


@dataclass(frozen=True)
class VanishingGradients(Rule):
    """Almost no gradient reaches the first layers, or the first steps of a sequence."""

    fault, family, needs = "vanishing-gradients", Family.GRADIENTS, ("gradient_norm", "loss")
    explains = ("learning-rate-too-low", Family.UNITS)
    confirmations = 3
    decades: float = -3.5  # first over last layer's gradient, in powers of 10; healthy digits reach -2.43
    through_time: float = -6.0  # the same over a sequence, first step over last step; a judgement
    begin: int = 12  # losses needed; a convolutional autoencoder gains 4 powers of 10 in its first 8 steps
    shrunk: float = 0.5  # share of their norm below which weights are erased by decay; digits, friedman
    soon: int = 30  # losses needed if a sequence loses twice as many powers of 10; a judgement
    wait: int = 100  # losses needed otherwise; a judgement
    behind: float = 0.1  # update / weight of the first layer over that of the others; a judgement
    single: float = 0.75  # share of the fall at one layer; scaled residual branches on digits fall at each

    def judge(self, history: History) -> Suspicion | None:
        return self._through_layers(history) or self._through_time(history)

    def _through_layers(self, history: History) -> Suspicion | None:
        series = history["gradient_norm"].last(10)
        chosen = _one_a_module(history, series.columns)
        if len(chosen) < 3 or len(series) < 3 or len(history["loss"]) < self.begin:
            return None
        if kept_norm(history) < self.shrunk:
            return None
        ends = series.rows[-1, [chosen[0], chosen[-1]]]
        if ends[0] > 10 ** (self.decades / 2) * ends[1]:  # clearly healthy: skip the rest
            return None
        size = np.array([np.prod(history.parameters[series.columns[i]].shape) for i in chosen]) ** 0.5
        with np.errstate(divide="ignore"):
            logs = np.log10(np.nanmedian(series.rows[:, chosen], 0) / size)
        names = [series.columns[i] for i in chosen]
        known = np.isfinite(logs)  # exact zeros mean dead units or a cut graph
        if known.sum() < 3:
            return None
        logs, names = logs[known], [n for n, k in zip(names, known, strict=True) if k]
        ratio = float(logs[0] - logs[-1])
        if not ratio < self.decades:
            return None
        falls = logs[:-1] - logs[1:]
        at = int(np.argmin(falls))
        # Residual branches that start near 0 (LayerScale, ReZero) grow with time, so wait.
        waits = falls[at] < self.single * ratio and len(history["loss"]) < self.wait
        if waits or not (stuck(history) or self._behind(history, names)):
            return None
        each = 10 ** (-ratio / (len(logs) - 1))
        acts = {facts.module_class for facts in history.layers.values() if facts.role == "activation"}
        kind = ", ".join(sorted(acts - {"functional"})) or "the activations"
        return self.suspect(
            history["gradient_norm"].steps[0],
            (history.parameters[names[0]].module, history.parameters[names[at]].module),
            f"Gradients shrink by a factor of {each:.2g} per layer in the backward pass: the gradient of "
            f"{names[0]} is {10**ratio:.1e} times that of {names[-1]}. The largest drop is between "
            f"{names[at + 1]} and {names[at]}.",
            f"There are {len(logs)} weight layers with {kind} in between, and each passes on only a fraction "
            "of the gradient.",
            "Use ReLU or GELU with He initial values, normalization between the layers, residual "
            "connections, or fewer layers.",
            Severity.ERROR if stuck(history) else Severity.WARNING,
            log10_ratio=ratio,
        )

    def _behind(self, history: History, names: list[str]) -> bool:
        updates = history["update_ratio"].last(10)
        if not len(updates) or names[0] not in updates.columns:
            return False
        peers = [updates.columns.index(name) for name in names[1:] if name in updates.columns]
        first, rest = median(updates.column(names[0])), median(updates.rows[:, peers])
        return first < self.behind * rest

    def _through_time(self, history: History) -> Suspicion | None:
        series = history["recurrent_gradient"]
        if not len(series) or not stuck(history, 0.9):
            return None
        losses = len(history["loss"])
        if len(series) < 3 or losses < self.soon:
            return None
        recent = [median(series.last(3).rows[:, i]) for i in range(len(series.columns))]
        worst = int(np.argmin(np.nan_to_num(recent, nan=0.0)))
        # A task may need only the end of its sequences. Then the loss falls with time, so wait.
        if not recent[worst] < (self.through_time if losses >= self.wait else 2 * self.through_time):
            return None
        name = series.columns[worst]
        gated = history.layers[name].module_class in ("LSTM", "GRU")
        remedy = "Set the forget-gate bias to 1" if gated else "Use an LSTM (forget-gate bias 1) or a GRU"
        return self.suspect(
            series.steps[0],
            (name,),
            f"In {name} the gradient at the first step of a sequence is {10 ** recent[worst]:.1e} times the "
            "gradient at the last step, and the loss does not fall.",
            "Each step back through time multiplies the gradient by the recurrent weights and the slope of "
            "the activation. Here this factor is below 1.",
            f"{remedy}, or use orthogonal recurrent weights, shorter sequences or attention over all steps.",
            Severity.ERROR,
            log10_ratio=recent[worst],
        )


def _one_a_module(history: History, columns: tuple[str, ...]) -> list[int]:
    """Return the first weight matrix of each module: several in one recurrent layer add no depth."""
    first: dict[str, int] = {}
    for i in weight_matrices(history, columns):
        first.setdefault(history.parameters[columns[i]].module, i)
    return list(first.values())


@dataclass(frozen=True)
class ExplodingGradients(Rule):
    """Activations and gradients grow from layer to layer, or a hidden state grows from step to step."""

    fault, family, needs = "exploding-gradients", Family.GRADIENTS, ("gradient_norm", "loss")
    explains = ("non-finite", "learning-rate-too-high", "bad-output-scale", "dead-units", "saturated-units")
    growth: float = 1.5  # growth over the layers in powers of 10, hidden states 1 more; healthy digits: 0.35

    def judge(self, history: History) -> Suspicion | None:
        return self._through_time(history) or self._through_layers(history)

    def _through_time(self, history: History) -> Suspicion | None:
        series = history["recurrent_growth"]
        if not len(series):
            return None
        first = series.rows[0]
        worst = int(np.argmax(np.where(np.isnan(first), np.inf, first)))
        if first[worst] <= self.growth + 1:
            return None
        name = series.columns[worst]
        return self.suspect(
            series.steps[0],
            (name,),
            f"The hidden state of {name} grows by a factor of {10 ** first[worst]:.1e} from the first to the "
            "last step of a sequence.",
            "The recurrent weights amplify the state at each step, and the gradient in the backward pass.",
            f"Initialize {name}.weight_hh orthogonally (gain 1), or use tanh, an LSTM or a GRU. "
            "gradient_clip_val=1.0 limits the remaining spikes.",
            Severity.ERROR,
            log10_growth=float(first[worst]),
        )

    def _through_layers(self, history: History) -> Suspicion | None:
        ratio, names, _ = depth_ratio(history)
        series = history["gradient_norm"]
        chosen = weight_matrices(history, series.columns)
        if ratio < self.growth or len(chosen) < 3:
            return None
        norms = np.nanmedian(series.rows[:5][:, chosen], 0)
        if not norms[0] > norms[len(norms) // 2] > 0:
            return None
        return self.suspect(
            series.steps[0],
            (history.parameters[series.columns[chosen[0]]].module,),
            f"Activations grow by a factor of {10**ratio:.1e} from {names[0]} to {names[-1]}, and gradients "
            "grow in the backward pass.",
            "The initial weights are too large for this depth.",
            "Use He initial values (torch.nn.init.kaiming_normal_), or add normalization between the layers.",
            Severity.ERROR,
            log10_ratio=ratio,
        )
