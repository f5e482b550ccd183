"""The rule about the form of the loss: softmax or sigmoid applied twice."""

import math
from dataclasses import dataclass

from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule

__all__ = ["SoftmaxBeforeCrossEntropy"]


@dataclass(frozen=True)
class SoftmaxBeforeCrossEntropy(Rule):
    """A loss that expects logits gets probabilities, so softmax (or sigmoid) is applied twice."""

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
                "The output of a sigmoid goes into binary cross-entropy with logits, so the loss cannot fall "
                f"below {math.log(2):.3f} for target 0 and {math.log(1 + 1 / math.e):.3f} for target 1.",
                "This loss already applies sigmoid, so a sigmoid in the model is applied twice.",
                "Remove the sigmoid at the end of the model (apply it only to predict), or use BCELoss on "
                "the probabilities.",
                Severity.ERROR,
                floor=math.log(1 + 1 / math.e),
            )
        # Probabilities differ by at most 1, so the best input of the second softmax is 1 and K - 1 zeros.
        floor = math.log(1 + (loss.classes - 1) / math.e)
        return self.suspect(
            history["loss"].steps[0],
            (),
            f"The output of a softmax goes into cross-entropy over {loss.classes} classes, so the loss "
            f"cannot fall below {floor:.3f}.",
            "Cross-entropy already applies softmax, so a softmax in the model is applied twice.",
            "Remove the softmax at the end of the model (apply it only to predict), or use NLLLoss on "
            "log-probabilities.",
            Severity.ERROR,
            floor=floor,
        )
