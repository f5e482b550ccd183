"""Make the folder of a run, ROOT/NAME/TIMESTAMP, and list the earlier runs of the same name."""

import json
from datetime import datetime
from pathlib import Path, PurePath

from lightning.pytorch.utilities import rank_zero_only

from nnfoundations.cli.config._settings import CommandError

__all__ = ["check_name", "earlier_runs", "new_run_folder", "no_name"]


def new_run_folder(parent: Path) -> Path:
    """A folder that no other run has; only the first process creates it.

    Raises:
        CommandError: it cannot be created.
    """
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    candidate, n = parent / stamp, 1
    while candidate.exists():
        n += 1
        candidate = parent / f"{stamp}_{n}"
    if getattr(rank_zero_only, "rank", 0) == 0:
        try:
            candidate.mkdir(parents=True)
        except OSError as error:
            raise CommandError(
                f"no run folder can be created in `{parent}`: {error.strerror}.\n"
                "Change to another folder, or give another --trainer.default_root_dir."
            ) from None
    return candidate


def check_name(name: str) -> None:
    """Check a name that becomes a folder under the root of all runs.

    Args:
        name: the value of `--name`.

    Raises:
        CommandError: it is empty or too long, leads out of that root, or holds control characters.
    """
    path = PurePath(name)
    is_path = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    fits = all(part == part.strip() and len(part.encode()) <= 255 for part in path.parts)
    if not (is_path and fits and name.isprintable()):
        raise CommandError(
            f"`name` cannot be `{name}`: it becomes a folder under the root of all runs.\n"
            "Give a word, or words with `/` between them, such as `lr/0.1`."
        )


def no_name(typed: str) -> CommandError:
    """The error for a value of `--name` that YAML reads as null: the run would silently get its default name.

    Args:
        typed: the value.
    """
    return CommandError(
        f"`name` cannot be `{typed}`: YAML, the language of the options, reads it as null.\n"
        "Give a word, or leave the option out to use the default."
    )


def earlier_runs(folder: Path) -> list[str]:
    """List the folders of earlier `fit` runs of the same name, the newest first; empty for other commands.

    Args:
        folder: of this run.
    """
    if not _is_fit(folder):
        return []
    beside = [path for path in folder.parent.iterdir() if path.name < folder.name and _is_fit(path)]
    return [path.name for path in sorted(beside, reverse=True)]


def _is_fit(folder: Path) -> bool:
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return str(record["command"]).split()[1] == "fit"
    except (OSError, ValueError, KeyError, IndexError):
        return False
