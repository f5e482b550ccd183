"""fit, validate, test, predict: from arguments to an exit code."""

import sys
import traceback
import warnings

from nnfoundations._errors import DtypeError, LabelError, OptionError, ShapeError
from nnfoundations.cli._configs import resolve_configs, run_name
from nnfoundations.cli._environment import TorchvisionMismatchError, import_lightning
from nnfoundations.cli._settings import CommandError, read_settings
from nnfoundations.cli._voice import Voice

FAILED = 1
_SAID = (OptionError, ShapeError, DtypeError, LabelError)
"""Errors of ours, whose message says what to do; a traceback would bury it."""


def train(command: str, args: list[str]) -> int:
    """Run one of Lightning's commands.

    Raises:
        CommandError: nothing has been run.
    """
    voice, args = Voice.of(args)
    args, configs = resolve_configs(args)
    settings = read_settings(args)
    voice.prepare()
    try:
        import_lightning()
    except TorchvisionMismatchError as error:
        print(f"nnfoundations: {error}", file=sys.stderr)
        return FAILED

    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from nnfoundations.cli._command import FoundationsCLI  # needs Lightning, as does the next
    from nnfoundations.datamodules import DataFilesError

    try:
        with warnings.catch_warnings():
            FoundationsCLI(command, args, settings, run_name(configs), voice)
    except (CommandError, BrokenPipeError):
        raise
    except Exception as error:  # whatever a user's run raises
        if (
            isinstance(error, (*_SAID, DataFilesError, MisconfigurationException))
            and voice is not Voice.VERBOSE
        ):
            where = "\n--verbose shows where it was raised." if isinstance(error, _SAID) else ""
            print(f"nnfoundations: {error}{where}", file=sys.stderr)
            return FAILED
        traceback.print_exc()  # whatever fails in a user's run
        return FAILED
    return 0
