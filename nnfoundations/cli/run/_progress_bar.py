"""The progress bar: rich's or tqdm's if a line can be redrawn, else one line per epoch.

Epochs are counted from 1, and the bar of an epoch fits into one line of 80 columns.
"""

from datetime import timedelta
from time import monotonic
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme

from nnfoundations.cli.run._verbosity import can_redraw, has_rich

__all__ = ["BAR_WIDTH", "Bar", "EpochLines", "Metrics", "PlainBar", "epoch_of", "progress_bar"]

Metrics = dict[str, int | str | float | dict[str, float]]
BAR_WIDTH = 12
"""Columns of the bar itself: with `Epoch 10/10`, `938/938` and a time it leaves 38 of 80 for metrics."""


def progress_bar() -> ProgressBar:
    """The progress bar that this terminal can show."""
    if not can_redraw():
        return EpochLines()
    return Bar() if has_rich() else PlainBar()


def epoch_of(trainer: Trainer) -> str:
    """The current epoch, counted from 1, and how many there are: `3/10`, or `3` without a limit."""
    limit = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
    return f"{trainer.current_epoch + 1}/{limit}" if limit else f"{trainer.current_epoch + 1}"


class Bar(RichProgressBar):
    """Lightning's bar with rich, in one line: no speed, and only as many metrics as fit."""

    def __init__(self) -> None:
        super().__init__(theme=RichProgressBarTheme(metrics_format=".4f"))

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Description, bar, batches and remaining time; Lightning appends the metrics."""
        from rich.progress import TimeRemainingColumn

        description, bar, batches, _, _ = super().configure_columns(trainer)
        bar.bar_width = BAR_WIDTH
        return [description, bar, batches, TimeRemainingColumn(compact=True, elapsed_when_finished=True)]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Metrics:
        """The metrics of the bar, as long as they fit into its line."""
        width = self._console.width if self._console is not None else 80
        total = self.total_train_batches
        before = len(f"Epoch {epoch_of(trainer)} {total}/{total} 00:00 ") + BAR_WIDTH + 1
        room = width - before + 1  # nothing follows the space after the last metric
        shown: Metrics = {}
        for name, value in _without_version(super().get_metrics(trainer, pl_module)).items():
            room -= len(f"{name}: {_short(value)} ")
            if room < 0:
                break
            shown[name] = value
        return shown

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {epoch_of(self.trainer)}"


class PlainBar(TQDMProgressBar):
    """Lightning's bar for terminals without rich; tqdm cuts it to the width of the terminal."""

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(f"Epoch {epoch_of(trainer)}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Metrics:
        return _without_version(super().get_metrics(trainer, pl_module))


def _without_version(metrics: Metrics) -> Metrics:
    """Remove the version of the logger: it is the name of the run's folder."""
    metrics.pop("v_num", None)
    return metrics


class EpochLines(ProgressBar):
    """One line per epoch, for pipes, files and terminals that cannot move the cursor."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shown = "  ".join(f"{name} {_short(value)}" for name, value in trainer.progress_bar_metrics.items())
        taken = timedelta(seconds=round(monotonic() - self._start))
        print(f"Epoch {epoch_of(trainer)}  {shown}  {taken}", flush=True)

    def disable(self) -> None:
        """Nothing to do: no line is ever redrawn."""

    def enable(self) -> None: ...


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
