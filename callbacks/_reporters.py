"""Where findings are shown."""

from typing import Any, Protocol

from nnfoundations.diagnostics import Engine, Finding
from nnfoundations.diagnostics._console import Console


class Reporter(Protocol):
    """What `Diagnostics` calls: at each new finding, after each look, and at the end of the run."""

    def found(self, finding: Finding) -> None: ...

    def looked(self, engine: Engine, step: int) -> None: ...

    def closed(self, engine: Engine) -> None: ...


class Terminal:
    """Findings at once, and a table at the end."""

    def __init__(self) -> None:
        self._console = Console()

    def found(self, finding: Finding) -> None:
        self._console.report(finding)

    def looked(self, engine: Engine, step: int) -> None:
        pass

    def closed(self, engine: Engine) -> None:
        self._console.summary(engine)


def reporters(trainer: Any, verbose: bool) -> list[Reporter]:
    """Those for a run of this Trainer."""
    return [Terminal()] if verbose else []
