"""The rule about a run that ended as planned while it was still learning, or before it could learn."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, constant_loss, movement, t_of_slope

__all__ = ["ENDED", "StoppedTooEarly"]

ENDED = "ended"
"""Name of the event that a run reached its planned length: nothing stopped it before."""


@dataclass(frozen=True)
class StoppedTooEarly(Rule):
    """The run reached its planned length while the loss was high and fell fast, or had hardly begun."""

    fault, family, needs = "stopped-too-early", Family.LEARNING_RATE, ("loss",)
    wait: int = 300  # losses needed; a judgement
    level: float = 0.4  # loss over that of the best constant prediction; digits at 300 steps and more: 0.14
    fall: float = 0.1  # fall over the last fifth, over that same loss; a judgement
    slope: float = 6.0  # smallest |t| of that fall; healthy wine and digits at such a level: 4.6
    trial: int = 50  # losses from which a run that learned nothing is no mere trial; a judgement
    begun: float = 0.9  # loss over that of a constant prediction; above it nothing is learned; a judgement
    movement: float = 0.25  # updates of the whole run added up, over the weights; a judgement

    def judge(self, history: History) -> Suspicion | None:
        losses, reference = history["loss"].rows[:, 0], constant_loss(history)
        if not history.events_of(ENDED) or len(losses) < self.trial or not reference > 0:
            return None
        part = len(losses) // 10
        before, now = float(losses[-3 * part : -2 * part].mean()), float(losses[-part:].mean())
        if len(losses) < self.wait:
            return self._hardly_begun(history, float(losses[-2 * part :].mean()), reference)
        if not (now > self.level * reference and before - now > self.fall * reference):
            return None
        if not t_of_slope(losses[-2 * part :]) < -self.slope or self._best_was_before(history):
            return None
        evidence = (
            f"In the last fifth of the run the loss fell from {before:.3g} to {now:.3g}, and it is still "
            f"{now / reference:.0%} of that of a constant prediction ({reference:.3g})."
        )
        cause = "The run ended while the network was still learning."
        return self._about(history, evidence, cause, Severity.INFO, loss=now, constant_loss=reference)

    def _hardly_begun(self, history: History, now: float, reference: float) -> Suspicion | None:
        """Judge a short run: whether its updates were too few and too small to learn anything."""
        if not now > self.begun * reference or not 0 < (share := movement(history)) < self.movement:
            return None
        evidence = (
            f"All updates of the run together changed the weights by {share:.2g} times their size, and the "
            f"loss of {now:.3g} is that of a constant prediction ({reference:.3g}) or worse."
        )
        cause = "The run ended before the network could learn."
        numbers = {"loss": now, "constant_loss": reference, "movement": share}
        return self._about(history, evidence, cause, Severity.WARNING, **numbers)

    def _about(
        self, history: History, evidence: str, cause: str, severity: Severity, **numbers: float
    ) -> Suspicion:
        step = int(history["loss"].steps[-1])
        remedy = (
            f"Train longer than {step + 1} steps (max_epochs or max_steps), or with a higher learning rate."
        )
        return self.suspect(step, (), evidence, cause, remedy, severity, **numbers)

    @staticmethod
    def _best_was_before(history: History) -> bool:
        """Return whether the validation loss was best before the last fifth of the run."""
        validation = history["validation_loss"]
        if not len(validation):
            return False
        best = int(validation.steps[int(np.nanargmin(validation.column("loss")))])
        return best < 0.8 * int(history["loss"].steps[-1])
