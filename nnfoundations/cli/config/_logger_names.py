"""The short names of loggers, and the packages that they need."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from nnfoundations.cli.config._settings import CommandError

__all__ = ["LOGGERS", "WANDB_PROJECT", "LoggerName", "check_loggers", "mlflow_address", "where_to_look"]

LoggerName = Literal["tensorboard", "csv", "wandb", "mlflow"]
LOGGERS: tuple[LoggerName, ...] = get_args(LoggerName)

WANDB_PROJECT = "nnfoundations"
"""The project of W&B, unless the environment names one."""

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


def mlflow_address(root: Path) -> str:
    """Where MLflow keeps the runs: as the environment says, else in a database beside them.

    Args:
        root: the folder of all runs.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def where_to_look(name: str, runs: Path) -> tuple[str, str]:
    """Where a person sees many runs side by side.

    Args:
        name: of `LoggerName`.
        runs: the folder of these runs, which lie in `NAME/seed_N/TIME` below it.

    Returns:
        The name of the program, and a command or a place.
    """
    if name == "wandb":
        if os.environ.get("WANDB_MODE") == "offline":
            return "Wandb", f"wandb sync {runs}/*/*/*/wandb/offline-run-*"
        return "Wandb", f"project {os.environ.get('WANDB_PROJECT', WANDB_PROJECT)} of your account"
    return {
        "tensorboard": ("TensorBoard", f"tensorboard --logdir {runs}"),
        "csv": ("CSV", f"{runs}/*/*/*/metrics.csv"),
        "mlflow": ("MLFlow", f"mlflow ui --backend-store-uri {mlflow_address(runs)}"),
    }[name]
