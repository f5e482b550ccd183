"""Finds out where a logger stores a run, and where a person can see it."""

from pathlib import Path
from typing import Any

from nnfoundations.callbacks._pages import kind_of

__all__ = ["log_folder", "logger_place"]


def log_folder(trainer: Any) -> Path | None:
    """Tell where the logs of a run are. ``trainer.log_dir`` is not used because it waits for other processes.

    Args:
        trainer: a Trainer of ``lightning`` or ``pytorch_lightning``.

    Returns:
        The folder of the first logger, as for Lightning's checkpoints, or else ``default_root_dir``. Without
        a logger and without a ``default_root_dir`` chosen by the user it is None, so that nothing is written
        into the working directory.
    """
    root = Path(trainer.default_root_dir)
    if not trainer.loggers:
        return None if root == Path.cwd() else root
    return _folder(trainer.loggers[0], root)


def _folder(logger: Any, root: Path) -> Path:
    folder = getattr(logger, "log_dir", None)
    if isinstance(folder, str):
        return Path(folder)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or root) / str(logger.name) / version


def logger_place(logger: Any) -> tuple[str, str]:
    """Tell where a person can see what a logger has recorded.

    Loggers are recognized by what they offer, so those of ``pytorch_lightning`` work as well.

    Args:
        logger: a logger of a Trainer, after the run.

    Returns:
        The name of the logger, such as ``TensorBoard``, and a command, an address or a path.
    """
    name = kind_of(logger).removesuffix("Logger")
    if name == "TensorBoard":
        return name, f"tensorboard --logdir {logger.root_dir}"
    if name == "CSV":
        return name, str(Path(logger.log_dir) / "metrics.csv")
    if name == "MLFlow":
        return name, _mlflow_page(logger)
    if name == "Wandb" and "offline-run" in str(getattr(logger.experiment, "dir", "")):
        return name, f"wandb sync {Path(logger.experiment.dir).parent}"
    for holder in (logger, logger.experiment):
        address = getattr(holder, "url", None)
        if isinstance(address, str) and address:
            return name, address
    return name, str(_folder(logger, Path()))


def _mlflow_page(logger: Any) -> str:
    server: str = logger._tracking_uri
    if server.startswith("http"):
        return f"{server.rstrip('/')}/#/experiments/{logger.experiment_id}/runs/{logger.run_id}"
    return f"mlflow ui --backend-store-uri {server}"
