"""Finds the TensorBoard writers of a run: none, one or several."""

from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["tensorboard_writers"]


def tensorboard_writers(trainer: Trainer) -> "list[SummaryWriter]":
    """List the writers, on the first process only: on the others a logger has a writer that does nothing."""
    if not trainer.is_global_zero:
        return []
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
