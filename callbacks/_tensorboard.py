"""The TensorBoard writers of a run: none, one or several."""

from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def tensorboard_writers(trainer: Trainer) -> "list[SummaryWriter]":
    """On the first process only: a logger gives every other one a writer that does nothing."""
    if not trainer.is_global_zero:
        return []
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
