"""The rule about samples of a batch that influence each other inside the network."""

import math
from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import UNLEARNED, Rule

__all__ = ["SamplesMixed"]


@dataclass(frozen=True)
class SamplesMixed(Rule):
    """In evaluation mode, the output for a sample depends on the other samples of its batch."""

    fault, family, needs = "samples-mixed", Family.WIRING, ("mixing",)
    explains = (
        *UNLEARNED,
        "no-learning",
        "learning-rate-too-low",
        "stopped-too-early",
        Family.GENERALIZATION,
    )
    exact = True
    moved: float = 0.02  # deviations over the samples; about 1e-6 where samples are apart; a judgement

    def judge(self, history: History) -> Suspicion | None:
        last = history["mixing"]
        step = int(last.steps[-1])
        turned, alone, axis = (float(last.column(name)[-1]) for name in ("reversed", "alone", "axis"))
        if alone < self.moved:
            return None
        layers = [event for event in history.events_of("mixing-layer") if event.step <= step]
        where = layers[-1].where if layers else ()
        place = where[0] if where else "the network"
        moves = f"moves by {alone:.2g} standard deviations" if alone < math.inf else "is NaN"
        evidence = (
            f"The output for a sample {moves} when the sample is alone in its batch (healthy: moves by less "
            "than 0.001)"
        )
        if turned >= self.moved:
            evidence += f", and by {turned:.2g} when the batch is reversed"
        if axis == 1:
            cause = f"{place} has batch_first=False, so it takes the samples for the steps of one sequence."
            remedy = (
                f"Set batch_first=True in {place}, or pass it inputs of shape (steps, samples, features)."
            )
        else:
            cause = f"In {place} or right before it, a reshape, a sum or a softmax runs over the batch axis."
            remedy = f"Keep axis 0 for the samples up to {place}: check each view, reshape, mean and dim=."
        surely = axis == 1 or turned >= self.moved  # attention between samples may be intended
        severity = Severity.ERROR if surely else Severity.INFO
        return self.suspect(
            step, where, f"{evidence}.", cause, remedy, severity, reversed=turned, alone=alone
        )
