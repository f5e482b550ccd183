"""The rule about gradients that are too small for half precision."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, stuck, weight_matrices

__all__ = ["GradientUnderflow"]

SMALLEST = 2.0**-14
"""Smallest normal number of float16, 6.1e-05. Below 2**-25 everything becomes 0."""


@dataclass(frozen=True)
class GradientUnderflow(Rule):
    """Gradients in float16 are smaller than its smallest number, so most of their entries are 0.

    Source: Micikevicius et al. 2018, Mixed Precision Training, section 3.2.
    """

    fault, family = "gradient-underflow", Family.GRADIENTS
    needs = ("zero_gradient", "gradient_norm", "loss")
    explains = (
        "no-gradient",
        "vanishing-gradients",
        "layers-without-gradient",
        "learning-rate-too-low",
        "stopped-too-early",
        "no-learning",
    )
    zeros: float = 0.8  # share of the entries of a matrix; 0.61 with the loss * 0.001, which does no harm
    matrices: float = 0.5  # share of the matrices with so many zeros; a judgement
    wait: int = 20  # losses needed; a judgement

    def judge(self, history: History) -> Suspicion | None:
        zeros, losses = history["zero_gradient"], history["loss"].rows[:, 0]
        if len(losses) < self.wait or not stuck(history, share=0.9):
            return None
        names = [zeros.columns[i] for i in weight_matrices(history, zeros.columns)]
        lost = {name: float(zeros.column(name)[-1]) for name in names}
        sizes = [self._size(history, name, share) for name, share in lost.items()]
        largest = max([float(abs(losses[0])) if not any(sizes) else 0.0, *sizes], default=0.0)
        many = np.mean([share > self.zeros for share in lost.values()]) if lost else 0.0
        if not many > self.matrices or not 0 < largest < SMALLEST:
            return None
        typical = float(np.median(list(lost.values())))
        others = f", and the others are about {max(sizes):.1g}" if any(sizes) else ""
        return self.suspect(
            int(zeros.steps[0]),
            (),
            f"In a typical weight matrix {typical:.0%} of the gradient, which is in float16, is exactly 0"
            f"{others} (float16 becomes 0 below 3e-08). The loss is {losses[-1]:.3g}.",
            "The gradients are too small for float16, which rounds them to 0 before the optimizer sees them.",
            'Train with precision="bf16-mixed" or "bf16-true", whose numbers reach down to 1e-38; or with '
            '"16-mixed", which scales the loss. Remove a small factor from the loss.',
            Severity.ERROR,
            zeros=typical,
            largest=largest,
        )

    @staticmethod
    def _size(history: History, name: str, zeros: float) -> float:
        """Return the root mean square of the entries that are not 0; 0 if there are none."""
        norms, shape = history["gradient_norm"], history.parameters[name].shape
        there = float(np.prod(shape)) * (1 - zeros)
        return float(norms.column(name)[-1]) / there**0.5 if there > 0 else 0.0
