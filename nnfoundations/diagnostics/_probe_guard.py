"""Keeps the exceptions of one kind of measurement away from the training, and from the other kinds."""

from types import TracebackType

from nnfoundations.diagnostics._error import FaultError, describe
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._quantities import Source, measured_by

__all__ = ["FAILED", "ProbeGuard"]

FAILED = "failed with"
"""These words mark the reason of a measurement that raised an exception."""

_LABELS: dict[Source, str] = {
    "activations": "measuring activations",
    "data": "measuring batches of data",
    "evaluation": "evaluating the network",
    "gradients": "measuring gradients",
    "loss": "reading the loss",
    "loss-graph": "reading the graph of the loss",
    "non-finite": "the search for NaN",
    "validation": "reading the validation",
    "wiring": "checking the wiring",
}


class ProbeGuard:
    """A context in which a measurement runs. Its first exception ends this kind of measurement only.

    The rules that need its quantities are then listed as not run, with the exception as the reason.

    Args:
        source: the kind of measurement.
        history: receives the reason.
    """

    def __init__(self, source: Source, history: History) -> None:
        self.source, self.history = source, history
        self.failed = False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, FaultError):
            return False
        self.fail(error)
        return True

    def fail(self, error: Exception) -> None:
        """End this kind of measurement. At every step, ``try`` with this costs less than ``with``.

        Args:
            error: the exception of a measurement.
        """
        if not self.failed:
            self.failed = True
            reason = f"{_LABELS[self.source]} {FAILED} {describe(error)}"
            for quantity in measured_by(self.source):
                self.history.unavailable.setdefault(quantity, reason)
