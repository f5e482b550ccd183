"""Protects a run from exceptions in the user's ``on_finding``."""

from collections.abc import Callable

from nnfoundations.diagnostics._console import Console
from nnfoundations.diagnostics._error import FaultError, describe
from nnfoundations.diagnostics._finding import Finding

__all__ = ["FindingCallback"]


class FindingCallback:
    """Call a user's function with each finding; print its first exception and continue.

    A `FaultError` is passed on, because it is meant to end the run.

    Args:
        function: the user's ``on_finding``, or None.
    """

    def __init__(self, function: Callable[[Finding], None] | None) -> None:
        self.function = function
        self._failed = False

    def __call__(self, finding: Finding) -> None:
        if self.function is None:
            return
        try:
            self.function(finding)
        except FaultError:
            raise
        except Exception as error:
            if not self._failed:
                self._failed = True
                Console().tell(self._message(error))

    def _message(self, error: Exception) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return (
            f"on_finding ({name}) raised {describe(error)}. Diagnostics continues and "
            "calls it for further findings; their exceptions are not printed."
        )
