"""Reports findings under Lightning: to the terminal, to files in the log folder, and to every logger."""

from time import monotonic
from typing import Any, Protocol

from nnfoundations.callbacks._diagnostics_charts import Charts
from nnfoundations.callbacks._loggers import log_folder, logger_place
from nnfoundations.diagnostics import Console, Engine, Finding, FindingsFile

__all__ = ["SAVE_EVERY", "Files", "Reporter", "Terminal", "reporters"]

SAVE_EVERY = 30.0
"""Smallest number of seconds between two saves of the history, which happen at most once per epoch."""


class Reporter(Protocol):
    """Receives the findings of a run, in the first process only."""

    def found(self, finding: Finding) -> None:
        """A finding is new."""

    def measured(self, engine: Engine, step: int) -> None:
        """The rules ran on the measurements of this step."""

    def closed(self, engine: Engine) -> None:
        """The run is over, whether it succeeded or failed."""


def reporters(trainer: Any, verbose: bool, names_files: bool = True) -> list[Reporter]:
    """Make the reporters of a run.

    A ``fast_dev_run`` reports to the terminal only, because it leaves no files.

    Args:
        trainer: a Trainer of ``lightning`` or ``pytorch_lightning``.
        verbose: whether to report to the terminal.
        names_files: whether the summary in the terminal names the files.
    """
    if not trainer.is_global_zero:
        return []
    console = Console()
    folder = None if trainer.fast_dev_run else log_folder(trainer)
    file = FindingsFile(folder, console.tell) if folder else None
    chosen: list[Reporter] = [Terminal(trainer, console, file, names_files)] if verbose else []
    if file is not None:
        chosen.append(Files(trainer, file))
    if trainer.loggers and not trainer.fast_dev_run:
        chosen.append(Charts(trainer))
    return chosen


class Terminal:
    """Print each new finding, and a summary at the end that says where to find more."""

    def __init__(self, trainer: Any, console: Console, file: FindingsFile | None, names_files: bool) -> None:
        self._trainer, self._console, self._file = trainer, console, file
        self._names_files = names_files

    def found(self, finding: Finding) -> None:
        self._console.report(finding)

    def measured(self, engine: Engine, step: int) -> None:
        pass

    def closed(self, engine: Engine) -> None:
        self._console.summary(engine, self._saved() if self._names_files else ())

    def _saved(self) -> list[str]:
        path = None if self._file is None else self._file.path
        lines = [] if path is None else [f"Findings: {path}"]
        if not self._trainer.fast_dev_run:
            lines += [": ".join(logger_place(logger)) for logger in self._trainer.loggers]
        return lines


class Files:
    """Keep ``findings.jsonl`` up to date, and save ``history.npz`` from time to time and at the end."""

    def __init__(self, trainer: Any, file: FindingsFile) -> None:
        self._trainer, self._file = trainer, file
        self._epoch, self._saved = trainer.current_epoch, monotonic()

    def found(self, finding: Finding) -> None:
        pass  # `measured` follows and writes it

    def measured(self, engine: Engine, step: int) -> None:
        self._file.update(engine.findings, step)
        if self._trainer.current_epoch != self._epoch and monotonic() - self._saved > SAVE_EVERY:
            self._file.save(engine.history)
            self._epoch, self._saved = self._trainer.current_epoch, monotonic()

    def closed(self, engine: Engine) -> None:
        self._file.close(engine.findings, engine.step)
        if engine.history.series:
            self._file.save(engine.history)
