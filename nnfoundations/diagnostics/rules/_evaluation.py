"""Rules about evaluation mode: it computes something else than training mode, or something random."""

from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule

__all__ = ["DropoutInEvaluation", "EvaluationDiffers"]


@dataclass(frozen=True)
class DropoutInEvaluation(Rule):
    """Dropout is applied in evaluation mode, so each evaluation gives other results."""

    fault, family, needs = "dropout-in-evaluation", Family.WIRING, ("evaluation",)
    explains = ("overfitting",)
    exact = True

    def judge(self, history: History) -> Suspicion | None:
        seen = history.events_of("dropout-in-evaluation")
        if not seen:
            return None
        places = tuple(name for name in seen[-1].where if name)
        repeated = float(history["evaluation"].column("repeated")[-1])
        where = f"in {', '.join(places)}" if places else "in the model itself"
        return self.suspect(
            seen[0].step,
            places,
            f"Two evaluations of the same batch differ by up to {repeated:.2g} standard deviations (healthy: "
            f"0), and dropout is applied {where} in evaluation mode.",
            "A function does not know the mode of its module: F.dropout has training=True by default.",
            "Pass training=self.training to F.dropout, and dropout_p=p if self.training else 0.0 to "
            "scaled_dot_product_attention; or use nn.Dropout. Monte Carlo dropout draws on purpose: pass "
            'mute="dropout-in-evaluation".',
            repeated=repeated,
        )


@dataclass(frozen=True)
class EvaluationDiffers(Rule):
    """Evaluation mode raises the loss of a batch, and neither dropout nor normalization explains it."""

    fault, family, needs = "evaluation-differs", Family.WIRING, ("evaluation",)
    explains = ("overfitting",)
    moved: float = 0.1  # move of the outputs, in standard deviations; equal in healthy runs
    rise: float = 0.1  # relative rise of the loss; a judgement
    measurements: int = 2  # evaluations in a row whose outputs differ; averaged weights are close later

    def judge(self, history: History) -> Suspicion | None:
        last = history["evaluation"].last(self.measurements)
        gap, plain, evaluation = (last.column(name) for name in ("gap", "plain", "evaluation"))
        if len(last) < self.measurements or not (gap > self.moved).all():
            return None
        if not evaluation[-1] - plain[-1] > self.rise * abs(plain[-1]):
            return None
        return self.suspect(
            int(last.steps[0]),
            (),
            f"The same training batch has a loss of {evaluation[-1]:.3g} in evaluation mode and "
            f"{plain[-1]:.3g} in training mode, both without dropout and with the same statistics of "
            "normalizations (healthy: equal).",
            "The network takes another way in evaluation mode: a branch on self.training, or a module that "
            "changes its result there.",
            "Compare the outputs of model.train() and model.eval() module by module, and look for "
            "`if self.training`.",
            evaluation=float(evaluation[-1]),
            plain=float(plain[-1]),
            gap=float(gap[-1]),
        )
