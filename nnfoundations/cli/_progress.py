"""One progress bar: rich's or tqdm's where a line can be redrawn, else a line an epoch."""

from datetime import timedelta
from time import monotonic
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme

from nnfoundations.cli._voice import draws, has_rich

Metrics = dict[str, int | str | float | dict[str, float]]


def progress_bar() -> ProgressBar:
    """The one that this terminal can show."""
    if not draws():
        return Lines()
    return Bar() if has_rich() else PlainBar()


class Bar(RichProgressBar):
    """Lightning's, with four decimals and without the logger's version: it is the run's folder."""

    def __init__(self) -> None:
        super().__init__(theme=RichProgressBarTheme(metrics_format=".4f"))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Metrics:
        return _without_version(super().get_metrics(trainer, pl_module))


class PlainBar(TQDMProgressBar):
    """Lightning's for terminals without rich."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Metrics:
        return _without_version(super().get_metrics(trainer, pl_module))


def _without_version(metrics: Metrics) -> Metrics:
    metrics.pop("v_num", None)
    return metrics


class Lines(ProgressBar):
    """A line an epoch, for pipes, files and terminals that cannot move the cursor."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        shown = "  ".join(f"{name} {_short(value)}" for name, value in trainer.progress_bar_metrics.items())
        taken = timedelta(seconds=round(monotonic() - self._start))
        print(f"Epoch {trainer.current_epoch + 1}/{epochs}  {shown}  {taken}", flush=True)

    def disable(self) -> None:
        """Nothing is drawn that could stand in the way."""

    def enable(self) -> None: ...


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
