"""The option `--logger`: Lightning's own loggers by a short name, in the folder of the run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from nnfoundations.cli.config._logger_names import WANDB_PROJECT, mlflow_address
from nnfoundations.cli.config._settings import CommandError

__all__ = ["end_loggers", "run_loggers"]


class RunWandbLogger(WandbLogger):
    """Weights & Biases, with its files in the folder of the run."""

    def __init__(self, folder: Path, **options: Any) -> None:
        # Absolute: W&B's service keeps the working folder in which it was started.
        super().__init__(save_dir=str(folder.resolve()), **options)
        self._folder = folder

    @property
    def log_dir(self) -> str | None:
        return str(self._folder)


class RunMLFlowLogger(MLFlowLogger):
    """MLflow, for a run whose other files are in its own folder."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(**options)
        self._folder = folder

    @property
    def log_dir(self) -> str | None:
        return str(self._folder)


def run_loggers(names: Sequence[str], folder: Path, name: str) -> list[Logger]:
    """Build the loggers of a run.

    Args:
        names: of `LoggerName`.
        folder: of the run.
        name: of the run.

    Raises:
        CommandError: a service refuses; the text says what to do.
    """
    return [_BUILD[one](folder, name) for one in dict.fromkeys(names)]


def _wandb(folder: Path, name: str) -> Logger:
    import wandb

    logger = RunWandbLogger(
        folder,
        name=f"{name} {folder.name}",
        group=name,
        project=os.environ.get("WANDB_PROJECT", WANDB_PROJECT),
        settings=wandb.Settings(quiet=True),  # the summary says where to look
    )
    try:
        logger.experiment  # noqa: B018  # starts the run: without an account it must fail here
    except wandb.errors.Error as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise CommandError(
            f"wandb: {first}.\nRun `wandb login`, or set WANDB_MODE=offline, which needs no account."
        ) from None
    return logger


def _mlflow(folder: Path, name: str) -> Logger:
    options = {"tags": {"folder": str(folder)}, "experiment_name": name, "run_name": folder.name}
    root = folder.parents[len(Path(name).parts)]  # all runs lie below it
    return RunMLFlowLogger(folder, tracking_uri=mlflow_address(root), **options)


_BUILD = {
    "tensorboard": lambda folder, name: TensorBoardLogger(
        folder.parent, name="", version=folder.name, default_hp_metric=False
    ),
    "csv": lambda folder, name: CSVLogger(folder.parent, name="", version=folder.name),
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def end_loggers(trainer: Trainer, failed: bool) -> None:
    """Finish the runs of W&B: the next run of this process would be logged into the same one.

    Args:
        trainer: has ended its command.
        failed: whether an error or a signal ended it.
    """
    for logger in trainer.loggers:
        if isinstance(logger, RunWandbLogger) and trainer.is_global_zero:
            logger.experiment.finish(exit_code=int(failed))
