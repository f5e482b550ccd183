"""The rule about dropout that leaves the network too little to learn with."""

from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, constant_loss, smooth

__all__ = ["OverRegularized"]


@dataclass(frozen=True)
class OverRegularized(Rule):
    """Dropout removes nearly everything, so the network learns little in training mode."""

    fault, family = "over-regularized", Family.LEARNING_RATE
    needs = ("constant_loss", "validation_loss", "loss")
    explains = (
        "learning-rate-too-high",
        "learning-rate-too-low",
        "stopped-too-early",
        Family.GRADIENTS,
        Family.UNITS,
        Family.GENERALIZATION,
    )
    wait: int = 150  # losses needed; a judgement
    level: float = 0.6  # training loss over that of a constant; digits with dropout of 0.5 have 0.1
    gap: float = 0.05  # by which the validation loss is lower, as a share of that of a constant; a judgement

    def judge(self, history: History) -> Suspicion | None:
        event = next(iter(history.events_of("strong-dropout")), None)
        losses, validation = history["loss"].rows[:, 0], history["validation_loss"].column("loss")
        if event is None or len(losses) < self.wait or len(validation) < 2:
            return None
        constant, now, other = constant_loss(history), smooth(losses, 50), validation[-1]
        if not now > self.level * constant > 0 or not other < now - self.gap * constant:
            return None
        places = ", ".join(event.where)
        return self.suspect(
            history["loss"].steps[0],
            event.where,
            f"Dropout with p={event['p']:g} ({places}) removes {event['p']:.0%} of the activations. The "
            f"training loss is {now:.3g} (a constant prediction: {constant:.3g}), and the validation loss, "
            f"without dropout, is {other:.3g}.",
            "So few activations are left in each step that they hardly carry the input, and the gradient is "
            "mostly noise.",
            f"Set p=0.5 or less in {places} (usual values: 0.1 to 0.5).",
            Severity.WARNING,
            p=float(event["p"]),
            loss=now,
            validation=float(other),
            constant=constant,
        )
