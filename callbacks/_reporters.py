"""Where findings go under Lightning: the terminal, files beside the logs, and every logger."""

from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from nnfoundations.callbacks._diagnostics_charts import Charts
from nnfoundations.diagnostics import Engine, Finding
from nnfoundations.diagnostics._console import Console
from nnfoundations.diagnostics._findings_file import FindingsFile

SAVE_EVERY = 30.0
"""Seconds at least between two writings of the history; it is written once an epoch at most."""


class Reporter(Protocol):
    """Told of a run's findings, on the first process only."""

    def found(self, finding: Finding) -> None:
        """A cause is new."""

    def looked(self, engine: Engine, step: int) -> None:
        """The rules were asked about this step."""

    def closed(self, engine: Engine) -> None:
        """The run is over, well or not."""


def reporters(trainer: Any, verbose: bool) -> list[Reporter]:
    """Those of a run that begins.

    The terminal unless told not to; files and loggers unless it is a ``fast_dev_run``, which leaves nothing.

    Args: trainer: of ``lightning`` or of ``pytorch_lightning``.
    """
    if not trainer.is_global_zero:
        return []
    console = Console()
    chosen: list[Reporter] = [Terminal(console)] if verbose else []
    if trainer.fast_dev_run:
        return chosen
    if folder := log_folder(trainer):
        chosen.append(Files(trainer, FindingsFile(folder, console.tell)))
    if trainer.loggers:
        chosen.append(Charts(trainer))
    return chosen


def log_folder(trainer: Any) -> Path | None:
    """The folder of the first logger, as Lightning's checkpoints take it; else ``default_root_dir``.

    None where there is no logger and no such folder was chosen: the working directory is not littered. Not
    ``trainer.log_dir``, which waits for the other processes.
    """
    root = Path(trainer.default_root_dir)
    if not trainer.loggers:
        return None if root == Path.cwd() else root
    logger = trainer.loggers[0]
    folder = getattr(logger, "log_dir", None)
    if isinstance(folder, str):
        return Path(folder)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or root) / str(logger.name) / version


class Terminal:
    """Print at once, and a table at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def found(self, finding: Finding) -> None:
        self._console.report(finding)

    def looked(self, engine: Engine, step: int) -> None:
        pass

    def closed(self, engine: Engine) -> None:
        self._console.summary(engine)


class Files:
    """Keep ``findings.jsonl`` up to date, and write ``history.npz`` now and then and at the end."""

    def __init__(self, trainer: Any, file: FindingsFile) -> None:
        self._trainer, self._file = trainer, file
        self._epoch, self._saved = trainer.current_epoch, monotonic()

    def found(self, finding: Finding) -> None:
        pass  # it is among the engine's at the look that follows

    def looked(self, engine: Engine, step: int) -> None:
        self._file.update(engine.findings, step)
        if self._trainer.current_epoch != self._epoch and monotonic() - self._saved > SAVE_EVERY:
            self._file.save(engine.history)
            self._epoch, self._saved = self._trainer.current_epoch, monotonic()

    def closed(self, engine: Engine) -> None:
        self._file.close(engine.findings, engine.step)
        if engine.history.series:
            self._file.save(engine.history)
