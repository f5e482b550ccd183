"""Finds what a finished run recorded: its history, a table of metrics, or event files of TensorBoard."""

from pathlib import Path

from nnfoundations.cli.config._settings import CommandError

__all__ = ["EVENTS", "find_record"]

HISTORY, TABLE, EVENTS = "history.npz", "metrics.csv", "*tfevents*"
PARTS = ("train", "validation")
"""Folders of event files into which Keras writes the two parts of a run."""

_KINDS = f"{HISTORY}, {TABLE} or event file of TensorBoard"


def find_record(run: Path) -> Path:
    """Find what to read.

    Args:
        run: the folder of a run, a folder that contains one run, or a file.

    Returns:
        A file ``.npz`` or ``.csv``, an event file, or a folder of event files.

    Raises:
        CommandError: there is nothing to read, or there are several runs.
    """
    if not run.exists():
        raise CommandError(f"`{run}` does not exist.\nGive the folder of a run, or a log.")
    if run.is_file():
        if run.suffix in (".npz", ".csv") or run.match(EVENTS):
            return run
        raise CommandError(f"`{run}` is not a {_KINDS}.\nGive the folder of a run, or one of these files.")
    found = (run / name for name in (HISTORY, TABLE) if (run / name).is_file())
    has_events = any(run.glob(EVENTS)) or all(any((run / part).glob(EVENTS)) for part in PARTS)
    record = next(found, run if has_events else None)
    return record or find_record(_only_run(run))


def _only_run(run: Path) -> Path:
    """Return the only folder below this one in which a run recorded something."""
    folders = {file.parent for name in (HISTORY, TABLE, EVENTS) for file in run.rglob(name)}
    runs = sorted(folder for folder in folders if not folders & set(folder.parents))
    if not runs:
        raise CommandError(f"`{run}` has no {_KINDS}.\nGive the folder of a run, or a log.")
    if len(runs) > 1:
        raise CommandError(f"`{run}` holds {len(runs)} runs.\nGive one of them, such as {runs[-1]}.")
    return runs[0]
