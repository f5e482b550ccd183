"""Protects a run from exceptions in the user's ``on_finding``."""

from collections.abc import Callable

from nnfoundations.diagnostics._console import Console
from nnfoundations.diagnostics._error import FaultError, describe
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.errors import OptionError

__all__ = ["FindingCallback"]


class FindingCallback:
    """Call a user's function with each finding; print its first exception and continue.

    A `FaultError` is passed on, because it is meant to end the run.

    Args:
        function: the user's ``on_finding``, or None.

    Raises:
        OptionError: it cannot be called.
    """

    def __init__(self, function: Callable[[Finding], None] | None) -> None:
        given: object = function
        if given is not None and not callable(given):
            raise OptionError(
                f"on_finding needs a function that takes a Finding; got {given!r}. Pass print, for example."
            )
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
