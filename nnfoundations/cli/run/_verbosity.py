"""How much a command prints: quiet, normal or verbose, on a terminal or in a pipe."""

import logging
import os
import sys
import warnings
from enum import Enum
from importlib.util import find_spec
from typing import TextIO

__all__ = ["Verbosity", "can_redraw", "has_rich", "is_relevant"]


class Verbosity(Enum):
    """How much a command prints.

    QUIET: errors, warnings, the lines of diagnostics, and the folder of the run. VERBOSE: also all that
    libraries print.
    """

    QUIET = "--quiet"
    NORMAL = ""
    VERBOSE = "--verbose"

    @classmethod
    def from_arguments(cls, args: list[str]) -> tuple["Verbosity", list[str]]:
        """The verbosity that is asked for (the last option wins), and the other arguments."""
        verbosity = cls.NORMAL
        for arg in args:
            if arg in (cls.QUIET.value, cls.VERBOSE.value):
                verbosity = cls(arg)
        return verbosity, [arg for arg in args if arg not in (cls.QUIET.value, cls.VERBOSE.value)]

    def silence_parser(self) -> None:
        """Turn off jsonargparse's warnings to developers. Call this before Lightning is imported."""
        if self is not Verbosity.VERBOSE:
            os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

    def filter_messages(self, *, trains: bool) -> None:
        """Drop messages that do not concern the user, within the caller's `warnings.catch_warnings`.

        These are advertisements, devices that are not used, and deprecations that Lightning must fix.

        Args:
            trains: whether the command is `fit`, which needs the callbacks that a checkpoint was saved with.
        """
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        for logger in loggers:
            logger.removeFilter(is_relevant)
        if self is Verbosity.VERBOSE:
            return
        for logger in loggers:
            logger.addFilter(is_relevant)
        # ScheduleCheck prints this warning before training.
        warnings.filterwarnings("ignore", message="The learning-rate schedule ends")
        # Every run has its own folder, so a checkpoint always comes from another one.
        warnings.filterwarnings("ignore", message="The dirpath has changed")
        warnings.filterwarnings("ignore", message="You're using the WeightAveraging callback, but loading")
        # The folder of the run holds the files of another logger, and none of an earlier run.
        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
        if not trains:
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks")
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*is not supported by the model summary")
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
            warnings.filterwarnings("ignore", category=category)


_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)
_IRRELEVANT = (
    *("💡", "GPU available", "TPU available", "HPU available", "Seed set to", "`Trainer.fit` stopped"),
    *("Restoring states from", "Restored all states", "Loaded model weights", "Running in `fast_dev_run`"),
    "Loading `train_dataloader` to estimate",
)


def is_relevant(record: logging.LogRecord) -> bool:
    """Whether a message of Lightning concerns the user."""
    return not record.getMessage().lstrip().startswith(_IRRELEVANT)


def can_redraw(stream: TextIO | None = None) -> bool:
    """Whether a line can be redrawn in place: not in a pipe, a file, or on a dumb terminal."""
    stream = stream or sys.stdout
    return stream.isatty() and os.environ.get("TERM", "dumb" if os.name == "posix" else "") != "dumb"


def has_rich() -> bool:
    """Whether rich is installed."""
    return find_spec("rich") is not None
