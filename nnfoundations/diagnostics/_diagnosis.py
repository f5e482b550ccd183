"""The history of a run and what the rules make of it, as it grows."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._judge import JUDGED, Judge
from nnfoundations.diagnostics._probe_guard import FAILED

__all__ = ["Diagnosis"]


class Diagnosis:
    """Runs the rules on the history at each measurement, and reports what is new.

    Args:
        judge: the rules, and what is muted.
        on_finding: called with each new finding.
        on_measured: called with the step of each measurement, after the rules ran.
    """

    def __init__(
        self,
        judge: Judge,
        on_finding: Callable[[Finding], None] | None,
        on_measured: Callable[[int], None] | None,
    ) -> None:
        self.judge, self.on_finding, self.on_measured = judge, on_finding, on_measured
        self.history = History()
        self.outside = 0.0
        """Seconds that `on_finding` and `on_measured` took: they are not part of the cost of measurements."""

    def update(self, step: int, *facts: Event) -> None:
        """Run the rules after a measurement, or after facts were seen.

        Args:
            step: the current optimizer step.
            facts: what was seen.
        """
        for fact in facts:
            self.history.note(fact)
        self.history.record(JUDGED, step, ("step",), [step])
        new = self.judge.update(self.history, step)
        start = perf_counter()
        try:
            for finding in new:
                if self.on_finding is not None:
                    self.on_finding(finding)
            if self.on_measured is not None:
                self.on_measured(step)
        finally:
            self.outside += perf_counter() - start

    def validated(
        self, step: int, loss: float | None, accuracy: float | None, error: float, samples: int
    ) -> None:
        """Record the results of a validation and run the rules.

        Args:
            step: the current optimizer step.
            loss: mean validation loss, None if unknown.
            accuracy: validation accuracy from 0 to 1, None if unknown.
            error: standard error of the loss over the batches, NaN if unknown.
            samples: number of validation samples, 0 if unknown.
        """
        if loss is not None and loss - loss == 0:  # rules use the smallest one, which NaN would hide
            self.history.record("validation_loss", step, ("loss", "error"), [loss, error])
        if accuracy is not None:
            self.history.record("validation_accuracy", step, ("accuracy",), [accuracy])
        if samples:
            self.history.settings["validation_samples"] = samples
        self.update(step)

    def reset(self) -> None:
        """Begin with an empty history, because another run of the same model begins."""
        settings = self.history.settings
        unavailable = {q: why for q, why in self.history.unavailable.items() if FAILED not in why}
        self.judge, self.history = Judge(self.judge.rules, self.judge.mute), History()
        self.history.settings, self.history.unavailable = settings, unavailable

    def state_dict(self) -> dict[str, Any]:
        """Return the history and the results of the rules for a checkpoint.

        Returns:
            Plain Python objects, by name.
        """
        return {"history": self.history.state_dict(), "judge": self.judge.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the history and the results of the rules.

        Args:
            state: what `state_dict` returned.
        """
        self.history.load_state_dict(state["history"])
        self.judge.load_state_dict(state["judge"])
