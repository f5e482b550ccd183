"""The form of the loss."""

import math
from dataclasses import dataclass

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule


@dataclass(frozen=True)
class SoftmaxBeforeCrossEntropy(Rule):
    """Probabilities instead of logits: cross-entropy takes their softmax, or sigmoid, a second time."""

    fault, family, needs = "softmax-before-cross-entropy", "loss", ("loss",)
    at_once = True

    def judge(self, history: History) -> Suspicion | None:
        loss = history.loss
        if not loss.softmax_before:
            return None
        if loss.kind == "binary-cross-entropy":
            return self.suspect(
                history["loss"].steps[0],
                (),
                "A sigmoid feeds the binary cross-entropy with logits, whose loss then cannot fall below "
                f"{math.log(2):.3f} for a 0 and {math.log(1 + 1 / math.e):.3f} for a 1.",
                "This loss takes logits and computes the sigmoid itself; of probabilities it takes another "
                "one.",
                "Remove the sigmoid at the end of the model (keep it for prediction), or use BCELoss on "
                "probabilities.",
                Severity.ERROR,
                floor=math.log(1 + 1 / math.e),
            )
        # Probabilities differ by at most 1: the best that a second softmax can say is 1 against K - 1 zeros.
        floor = math.log(1 + (loss.classes - 1) / math.e)
        return self.suspect(
            history["loss"].steps[0],
            (),
            f"A softmax feeds the cross-entropy over {loss.classes} classes, whose loss then cannot fall "
            f"below {floor:.3f}.",
            "Cross-entropy takes logits and computes the softmax itself; of probabilities it takes another "
            "one.",
            "Remove the softmax at the end of the model (keep it for prediction), or use NLLLoss on "
            "log-probabilities.",
            Severity.ERROR,
            floor=floor,
        )
