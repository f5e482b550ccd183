"""How much a command says, and how: quiet, verbose, on a terminal, in a pipe."""

import logging
import os
import sys
import warnings
from enum import Enum
from importlib.util import find_spec
from typing import TextIO


class Voice(Enum):
    """QUIET: errors, warnings, findings, and where the run lies. VERBOSE: all that libraries say, too."""

    QUIET = "--quiet"
    NORMAL = ""
    VERBOSE = "--verbose"

    @classmethod
    def of(cls, args: list[str]) -> tuple["Voice", list[str]]:
        """The voice that is asked for, and the other arguments; of both flags the last one counts."""
        voice = cls.NORMAL
        for arg in args:
            if arg in (cls.QUIET.value, cls.VERBOSE.value):
                voice = cls(arg)
        return voice, [arg for arg in args if arg not in (cls.QUIET.value, cls.VERBOSE.value)]

    def prepare(self) -> None:
        """Before Lightning is imported: jsonargparse tells users what Lightning should change."""
        if self is not Voice.VERBOSE:
            os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

    def hush(self) -> None:
        """Drop what is no news here, within the caller's `warnings.catch_warnings`.

        Tips for other products, devices that are not used, what Lightning does with deprecated names.
        """
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        for logger in loggers:
            logger.removeFilter(is_news)
        if self is Voice.VERBOSE:
            return
        for logger in loggers:
            logger.addFilter(is_news)
        # Every command has a run folder of its own: that a checkpoint comes from another is no news either.
        warnings.filterwarnings("ignore", message="The dirpath has changed")
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*is not supported by the model summary")
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
            warnings.filterwarnings("ignore", category=category)


_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)
_NO_NEWS = (
    *("💡", "GPU available", "TPU available", "HPU available", "Seed set to", "`Trainer.fit` stopped"),
    *("Restoring states from", "Restored all states", "Loaded model weights", "Running in `fast_dev_run`"),
    "Loading `train_dataloader` to estimate",
)


def is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().lstrip().startswith(_NO_NEWS)


def draws(stream: TextIO | None = None) -> bool:
    """Can a bar be redrawn in place here? Not in a pipe, a file, or on a dumb terminal."""
    stream = stream or sys.stdout
    return stream.isatty() and os.environ.get("TERM", "dumb" if os.name == "posix" else "") != "dumb"


def has_rich() -> bool:
    return find_spec("rich") is not None
