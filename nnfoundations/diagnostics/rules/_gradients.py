"""Rules about gradients that vanish, and about a hidden state that explodes."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, kept_norm, median, stuck, weight_matrices

__all__ = ["ExplodingGradients", "VanishingGradients"]


@dataclass(frozen=True)
class VanishingGradients(Rule):
    """Almost no gradient reaches the first layers, or the first steps of a sequence."""

    fault, family, needs = "vanishing-gradients", Family.GRADIENTS, ("gradient_norm", "loss")
    explains = ("learning-rate-too-low", "stopped-too-early", Family.UNITS)
    confirmations = 3
    decades: float = -3.5  # first over last layer's gradient, in powers of 10; healthy digits reach -2.43
    time_decades: float = -6.0  # the same over a sequence, first step over last step; a judgement
    wait: int = 12  # losses needed; a convolutional autoencoder gains 4 powers of 10 in its first 8 steps
    time_wait: int = 40  # losses needed for a sequence; healthy padded text falls by a tenth in 40 steps
    kept_norm: float = 0.5  # weights that keep less of their norm are erased by decay; digits, friedman

    def judge(self, history: History) -> Suspicion | None:
        return self._through_layers(history) or self._through_time(history)

    def _through_layers(self, history: History) -> Suspicion | None:
        series = history["gradient_norm"].last(10)
        if len(series) < 3 or len(history["loss"]) < self.wait or not stuck(history):
            return None
        chosen = _one_a_module(history, series.columns)
        if len(chosen) < 3 or kept_norm(history) < self.kept_norm:
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
            Severity.ERROR,
            log10_ratio=ratio,
        )

    def _through_time(self, history: History) -> Suspicion | None:
        series = history["recurrent_gradient"]
        if not len(series) or not stuck(history, 0.9):
            return None
        if len(series) < 3 or len(history["loss"]) < self.time_wait:
            return None
        recent = [median(series.last(3).rows[:, i]) for i in range(len(series.columns))]
        worst = int(np.argmin(np.nan_to_num(recent, nan=0.0)))
        if not recent[worst] < self.time_decades:
            return None
        name = series.columns[worst]
        gated = history.layers[name].module_class in ("LSTM", "GRU")
        remedy = "Set the forget-gate bias to 1" if gated else "Use an LSTM (forget-gate bias 1) or a GRU"
        return self.suspect(
            series.steps[int(np.argmax(series.rows[:, worst] < self.time_decades))],
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
    """The hidden state of a recurrent layer grows from step to step of a sequence.

    Growth from layer to layer is called bad-initialization.
    """

    fault, family, needs = "exploding-gradients", Family.GRADIENTS, ("recurrent_growth", "loss")
    explains = (
        "non-finite",
        "learning-rate-too-high",
        "bad-output-scale",
        "dead-units",
        "saturated-units",
        "stopped-too-early",
    )
    decades: float = 2.5  # growth over a sequence in powers of 10; healthy digits reach 1.65

    def judge(self, history: History) -> Suspicion | None:
        series = history["recurrent_growth"]
        first = np.array([column[~np.isnan(column)][:1].sum() for column in series.rows.T])
        worst = int(np.argmax(first))  # a layer that did not run yet counts as 0
        if first[worst] <= self.decades:
            return None
        name = series.columns[worst]
        by = f"by a factor of {10 ** first[worst]:.1e}" if first[worst] < 300 else "beyond all bounds"
        return self.suspect(
            series.steps[0],
            (name,),
            f"The hidden state of {name} grows {by} from the first to the last step of a sequence.",
            "The recurrent weights amplify the state at each step, and the gradient in the backward pass.",
            f"Initialize the recurrent weights of {name} (weight_hh) orthogonally (gain 1), or use tanh, an "
            "LSTM or a GRU. Clipping gradients at norm 1 limits the remaining spikes.",
            Severity.ERROR,
            log10_growth=float(first[worst]),
        )
