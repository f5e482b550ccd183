"""The short names of loggers, and the packages that they need."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Literal, get_args

from nnfoundations.cli.config._settings import CommandError

__all__ = ["LOGGERS", "LoggerName", "check_loggers"]

LoggerName = Literal["tensorboard", "csv", "wandb", "mlflow"]
LOGGERS: tuple[LoggerName, ...] = get_args(LoggerName)

_EXTRAS = ("wandb", "mlflow")


def check_loggers(names: Iterable[str]) -> None:
    """Refuse a logger whose package is missing.

    Args:
        names: of `LoggerName`.

    Raises:
        CommandError: it is not installed; the text has the command that installs it.
    """
    for package in names:
        if package in _EXTRAS and find_spec(package) is None:
            raise CommandError(
                f"`logger` cannot be `{package}`: this package is not installed.\n"
                f'pip install "nnfoundations[{package}]"'
            )
