"""Warns before training about a learning-rate schedule that ends before the run does."""

import sys

from lightning.pytorch import Callback, LightningModule, Trainer

from nnfoundations.lightning_modules import early_schedule_end

__all__ = ["ScheduleCheck"]


class ScheduleCheck(Callback):
    """Print one line about a schedule that is shorter than the run, for any LightningModule."""

    def __init__(self) -> None:
        self._checked = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not in on_train_start: a module's own, which may change the schedule, comes after a callback's.
        if self._checked:
            return
        self._checked = True
        if trainer.is_global_zero and (text := early_schedule_end(trainer)) is not None:
            print(f"Warning: {text}", file=sys.stderr)
