"""Gradients on their way back: they vanish, or they explode."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._learning_rate import total_norm
from nnfoundations.diagnostics.rules._rule import (
    Rule,
    clearly_above,
    learning_rate,
    matrices,
    median,
    smooth,
    stuck,
)
from nnfoundations.diagnostics.rules._start import depth_ratio


@dataclass(frozen=True)
class VanishingGradients(Rule):
    """Hardly any gradient reaches the first layers, or the first steps of a sequence."""

    fault, family, needs = "vanishing-gradients", "gradients", ("gradient_norm", "loss")
    decades: float = -3.5  # measured on digits: a sigmoid net that trains has -2.43
    through_time: float = -6.0  # of the gradient at the first over that at the last step of a sequence
    soon: int = 30  # losses to be seen before a word on time, where it is twice as many decades
    wait: int = 100  # and otherwise
    behind: float = 0.1  # update ratio of the first layer over that of its peers
    single: float = 0.75  # of all decades in one fall: not of each layer, as the scale of a residual branch

    def judge(self, history: History) -> Suspicion | None:
        return self._through_layers(history) or self._through_time(history)

    def _through_layers(self, history: History) -> Suspicion | None:
        series = history["gradient_norm"].last(10)
        chosen = _one_a_module(history, series.columns)
        if len(chosen) < 3 or len(series) < 3:
            return None
        ends = series.rows[-1, [chosen[0], chosen[-1]]]
        if ends[0] > 10 ** (self.decades / 2) * ends[1]:  # far from it: nothing more to compute
            return None
        size = np.array([np.prod(history.parameters[series.columns[i]].shape) for i in chosen]) ** 0.5
        with np.errstate(divide="ignore"):
            logs = np.log10(np.nanmedian(series.rows[:, chosen], 0) / size)
        names = [series.columns[i] for i in chosen]
        known = np.isfinite(logs)  # exact zeros are dead units or a cut graph, not this
        if known.sum() < 3:
            return None
        logs, names = logs[known], [n for n, k in zip(names, known, strict=True) if k]
        ratio = float(logs[0] - logs[-1])
        if not ratio < self.decades:
            return None
        falls = logs[:-1] - logs[1:]
        at = int(np.argmin(falls))
        # Branches that begin at next to nothing (LayerScale, ReZero) grow, if one waits.
        waits = falls[at] < self.single * ratio and len(history["loss"]) < self.wait
        if waits or not (stuck(history) or self._behind(history, names)):
            return None
        each = 10 ** (-ratio / (len(logs) - 1))
        acts = {facts.module_class for facts in history.layers.values() if facts.role == "activation"}
        kind = ", ".join(sorted(acts - {"functional"})) or "the activations"
        return self.suspect(
            history["gradient_norm"].steps[0],
            (history.parameters[names[0]].module, history.parameters[names[at]].module),
            f"Gradients shrink by a factor of {each:.2g} a layer on the way back: {names[0]} gets "
            f"{10**ratio:.1e} of what {names[-1]} gets; the largest fall is between {names[at + 1]} and "
            f"{names[at]}.",
            f"{len(logs)} layers of weights with {kind} in between, each of which passes on a fraction only.",
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
        # What a task needs may lie at the end of its sequences: then it learns, if one waits.
        if not recent[worst] < (self.through_time if losses >= self.wait else 2 * self.through_time):
            return None
        name = series.columns[worst]
        gated = history.layers[name].module_class in ("LSTM", "GRU")
        remedy = "Start the forget gates open (bias 1)" if gated else "Use an LSTM or GRU (forget bias 1)"
        return self.suspect(
            series.steps[0],
            (name,),
            f"In {name} the loss's gradient at the first step of a sequence is {10 ** recent[worst]:.1e} "
            "of that at the last, and the loss stands still.",
            "Each step back through time multiplies by the recurrent weights and the activation's slope, "
            "both below 1 here.",
            f"{remedy}, orthogonal recurrent weights, shorter sequences, or attention over all steps.",
            Severity.ERROR,
            log10_ratio=recent[worst],
        )


def _one_a_module(history: History, columns: tuple[str, ...]) -> list[int]:
    """The first weight matrix of each module: those of one recurrent layer are no depth."""
    first: dict[str, int] = {}
    for i in matrices(history, columns):
        first.setdefault(history.parameters[columns[i]].module, i)
    return list(first.values())


@dataclass(frozen=True)
class ExplodingGradients(Rule):
    """Gradients far above what they were, and a loss that shows it; or a state that grows without bound."""

    fault, family, needs = "exploding-gradients", "gradients", ("gradient_norm", "loss")
    spike: float = 20.0  # measured on digits, only with a loss above twice its best
    times: int = 3
    growth: float = 1.5  # decades of activations over the layers, or of a hidden state over a sequence
    at_once = True

    def judge(self, history: History) -> Suspicion | None:
        return self._through_time(history) or self._through_layers(history) or self._spike(history)

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
            "The recurrent weights stretch the state at each step, and the gradient on its way back as much.",
            f"Initialise {name}.weight_hh orthogonally (gain 1), use tanh, an LSTM or a GRU; "
            "gradient_clip_val=1.0 guards what is left.",
            Severity.ERROR,
            log10_growth=float(first[worst]),
        )

    def _through_layers(self, history: History) -> Suspicion | None:
        ratio, names, _ = depth_ratio(history)
        series = history["gradient_norm"]
        chosen = matrices(history, series.columns)
        if ratio < self.growth or len(chosen) < 3:
            return None
        norms = np.nanmedian(series.rows[:5][:, chosen], 0)
        if not norms[0] > norms[len(norms) // 2] > 0:
            return None
        return self.suspect(
            series.steps[0],
            (history.parameters[series.columns[chosen[0]]].module,),
            f"Activations grow by {10**ratio:.1e} from {names[0]} to {names[-1]}, and gradients grow on "
            "the way back.",
            "The initial weights are too large for this depth.",
            "Use He initial values (torch.nn.init.kaiming_normal_), or a normalization between the layers.",
            Severity.ERROR,
            log10_ratio=ratio,
        )

    def _spike(self, history: History) -> Suspicion | None:
        """Again and again: one spike heals, and a spike that does not is the learning rate's."""
        losses = history["loss"].rows[:, 0]
        if len(history["gradient_norm"]) < 60 or len(losses) < 60:
            return None
        level, first = smooth(losses, 5), float(losses[0])
        if not level > clearly_above(float(losses.min()), first):
            return None  # a lower bound of the level below, and quick to have
        steps, norms = total_norm(history)
        usual = median(norms[-101:])
        high = steps[-50:][norms[-50:] > self.spike * usual]
        apart = 1 + int((np.diff(high) > 5).sum()) if len(high) else 0
        best = float(np.min(np.convolve(losses, np.ones(5) / 5, mode="valid")))
        if not (apart >= self.times and level > clearly_above(best, first)):
            return None
        series = history["gradient_norm"]
        last = int(np.searchsorted(steps, high[-1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            rise = np.nan_to_num(series.rows[last] / np.nanmedian(series.rows[-101:], 0))
        worst = series.columns[int(np.argmax(rise))]
        return self.suspect(
            high[0],
            (history.parameters[worst].module,),
            f"{apart} times in the last 50 looks the gradient norm was over "
            f"{self.spike:g} times its usual {usual:.3g}, and the loss is {level:.3g} where it has been "
            f"{best:.3g}.",
            f"Single steps at lr={learning_rate(history):.3g} throw the network far from where it had come.",
            f"Set gradient_clip_val={2 * usual:.2g} in Trainer (twice the usual norm), or lower the rate.",
            Severity.WARNING,
            times=apart,
            usual=usual,
            suggested_clip=2 * usual,
        )
