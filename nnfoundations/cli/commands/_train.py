"""`nnfoundations fit`, `validate`, `test` and `predict`: from arguments to an exit code."""

import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnfoundations.cli.config._arguments import read_settings
from nnfoundations.cli.config._packaged import resolve_configs, run_name
from nnfoundations.cli.config._settings import CommandError, model_class
from nnfoundations.cli.run._environment import import_lightning
from nnfoundations.cli.run._verbosity import Verbosity
from nnfoundations.cli.run._working_folder import working_folder_importable
from nnfoundations.errors import DtypeError, LabelError, OptionError, ShapeError

if TYPE_CHECKING:
    from lightning.pytorch import Callback

__all__ = ["FAILED", "report_error", "train"]

FAILED = 1
_EXPLAINED = (OptionError, ShapeError, DtypeError, LabelError)
"""Our errors, whose text says what to do; a traceback would hide it."""


def train(command: str, args: list[str], further: Sequence["Callback"] = ()) -> int:
    """Run one of Lightning's commands.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
        args: its arguments.
        further: callbacks of the program that runs it; the config of the run does not name them.

    Returns:
        The exit code: 0 success, 1 the run failed.

    Raises:
        CommandError: the command is wrong; nothing has run.
    """
    verbosity, args = Verbosity.from_arguments(args)
    args, configs = resolve_configs(args)
    settings = read_settings(args)
    verbosity.silence_parser()
    import_lightning()

    from nnfoundations.cli.run._lightning_cli import FoundationsCLI  # imports Lightning

    try:
        with warnings.catch_warnings(), working_folder_importable():
            FoundationsCLI(
                command, args, settings, run_name(configs, model_class(settings)), verbosity, further
            )
    except (CommandError, BrokenPipeError):
        raise
    except Exception as error:  # anything that the user's model or data raises
        report_error(error, verbosity)
        return FAILED
    return 0


def report_error(error: Exception, verbosity: Verbosity) -> None:
    """Print an error that explains itself in two lines, another one with its traceback.

    Args:
        error: of a run.
        verbosity: verbose prints every traceback.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from nnfoundations.datamodules import DataFilesError
    from nnfoundations.diagnostics import FaultError

    short = isinstance(error, (*_EXPLAINED, DataFilesError, FaultError, MisconfigurationException))
    if verbosity is Verbosity.VERBOSE or not short:
        traceback.print_exception(error)
        return
    where = "\n--verbose shows where it was raised." if isinstance(error, _EXPLAINED) else ""
    print(f"nnfoundations: {error}{where}", file=sys.stderr)
