"""The rule about layers that run but never get a gradient other than 0."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, weight_matrices

__all__ = ["LayersWithoutGradient"]


@dataclass(frozen=True)
class LayersWithoutGradient(Rule):
    """Weight matrices whose gradient is exactly 0 at every measurement, while other layers learn."""

    fault, family = "layers-without-gradient", Family.GRADIENTS
    needs = ("gradient_norm", "activation_std")
    explains = ("vanishing-gradients", "learning-rate-too-low", "stopped-too-early", "no-learning")
    fewest: int = 2  # matrices; one alone may be cut by chance, as a bottleneck of few units
    measurements: int = 21  # since the start; a branch that starts at 0 wakes after one step
    wait: int = 40  # steps of the run; a gate may open in the first ones

    def judge(self, history: History) -> Suspicion | None:
        norms = history["gradient_norm"]
        if len(norms) < self.measurements or norms.steps[-1] < self.wait:
            return None
        chosen = weight_matrices(history, norms.columns)
        rows = norms.rows[:, chosen]
        zero = (rows == 0).all(0)
        silent = [norms.columns[i] for i, cut in zip(chosen, zero, strict=True) if cut]
        silent = [name for name in silent if self._runs(history, history.parameters[name].module)]
        if len(silent) < self.fewest or not (rows[:, ~zero] > 0).any():
            return None
        return self.suspect(
            int(norms.between(self.wait).steps[0]),  # dead units, if there are any, are known before
            tuple(dict.fromkeys(history.parameters[name].module for name in silent)),
            f"The gradient of {len(silent)} of {len(chosen)} weight matrices was exactly 0 at all "
            f"{len(norms)} measurements: {', '.join(silent[:4])}{', ...' if len(silent) > 4 else ''} "
            "(healthy: none after the first step).",
            "These layers run, but nothing that they compute changes the loss: a factor of 0, a rounding, "
            "dead units or weights of 0 stand between them and the loss.",
            f"Look at what happens to the output of {history.parameters[silent[-1]].module}: remove a gain "
            "of 0, a round() or a comparison, and initialize weights of 0 with random numbers.",
            matrices=len(silent),
        )

    def _runs(self, history: History, module: str) -> bool:
        """Return whether a module with this weight has put out numbers at every measurement."""
        series = history["activation_std"]
        return module not in series.columns or bool(np.isfinite(series.column(module)).all())
