"""A folder a run, named for the second it begins in."""

from datetime import datetime
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from nnfoundations.cli._settings import CommandError


def new_run_folder(parent: Path) -> Path:
    """A folder that no run has; made by the first process only.

    Raises:
        CommandError: none can be made there.
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
                f"no run folder can be made in `{parent}`: {error.strerror}.\n"
                "Go to another folder, or give another --trainer.default_root_dir."
            ) from None
    return candidate
