"""The exception with which ``action="raise"`` ends a run."""

from nnfoundations.diagnostics._finding import Finding

__all__ = ["FaultError", "describe"]


class FaultError(RuntimeError):
    """A finding ended the run. The attribute `finding` holds it."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding

    def __str__(self) -> str:
        return str(self.finding)


def describe(error: Exception) -> str:
    """Describe an exception in one line.

    Args:
        error: the exception.

    Returns:
        Its type and the first line of its message.
    """
    return f"{type(error).__name__}: {error}".splitlines()[0]
