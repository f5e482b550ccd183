"""Makes a run readable in TensorBoard at a glance: paired curves, hyperparameters, the model as text."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_summary.model_summary import ModelSummary

from nnfoundations.callbacks._epoch_metrics import EpochMetrics
from nnfoundations.callbacks._hyperparameters import run_hyperparameters, session_end, session_start
from nnfoundations.callbacks._tensorboard import tensorboard_writers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoardOverview"]


class TensorBoardOverview(EpochMetrics):
    """Add to TensorBoard what single scalars do not show.

    - Each metric logged as both ``train/NAME`` and ``val/NAME`` (or ``train_NAME`` and ``val_NAME``) as
      ``curves/NAME``, in the sub-runs ``train`` and ``validation``. TensorBoard gives each run its own
      colour, so the two curves differ in colour, in the tab Custom Scalars and in every other.
    - The hyperparameters of module and data (tab HParams). First come ``lr``, ``optimizer``, ``batch_size``
      and ``net``, then what differs from its default, then the rest. Every ``val/`` metric and the same
      ``test/`` metric are columns to sort runs by. The columns fill as scalars are logged.
    - The model summary (tab Text).

    Charts and columns are written after the first epoch, because only then are the names known.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.loggers import TensorBoardLogger
        >>> logger = TensorBoardLogger("runs", default_hp_metric=False)
        >>> trainer = Trainer(logger=logger, callbacks=[TensorBoardOverview()])  # doctest: +SKIP
    """

    def _forget(self) -> None:
        super()._forget()
        self._columns_written = False
        self._charts: set[str] = set()
        self._written: dict[tuple[str, str], int] = {}  # points of each split and metric
        self._sub_runs: dict[str, list[SummaryWriter]] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the model summary."""
        for writer in tensorboard_writers(trainer):
            writer.add_text("model", f"```\n{ModelSummary(pl_module, max_depth=-1)}\n```")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch that is over."""
        super().on_train_epoch_start(trainer, pl_module)
        if trainer.callback_metrics:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last epoch."""
        super().on_train_end(trainer, pl_module)
        self._write(trainer, pl_module)
        self._end(trainer, failed=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Mark the run as failed, if it was training."""
        if trainer.state.fn == "fit":
            self._end(trainer, failed=True)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writers = tensorboard_writers(trainer)
        if not writers:
            return
        self._write_curves(writers)
        if not self._columns_written:
            self._columns_written = True
            columns = metric_columns(trainer.callback_metrics)
            for writer in writers:
                # Not through logger.log_hyperparams: it also writes a point at step 0 for every metric.
                for summary in session_start(run_hyperparameters(trainer, pl_module), columns):
                    writer._get_file_writer().add_summary(summary)

    def _write_curves(self, writers: "list[SummaryWriter]") -> None:
        curves = {split: self.curves(split) for split in ("train", "validation")}
        paired = set(curves["train"]) & set(curves["validation"])
        for split, of_split in curves.items():
            for metric in sorted(paired):
                start = self._written.get((split, metric), 0)
                for writer in self._sub_run(writers, split):
                    for step, value in of_split[metric][start:]:
                        writer.add_scalar(f"curves/{metric}", value, step - 1)  # as Lightning counts
                self._written[split, metric] = len(of_split[metric])
        if paired - self._charts:
            self._charts |= paired
            charts = {
                metric: ["Multiline", [f"curves/{re.escape(metric)}$"]] for metric in sorted(self._charts)
            }
            for writer in writers:
                writer.add_custom_scalars({"train and validation": charts})

    def _sub_run(self, writers: "list[SummaryWriter]", split: str) -> "list[SummaryWriter]":
        from torch.utils.tensorboard import SummaryWriter

        if split not in self._sub_runs:
            folders = [Path(writer.get_logdir()) / split for writer in writers]
            self._sub_runs[split] = [SummaryWriter(str(folder)) for folder in folders]
        return self._sub_runs[split]

    def _end(self, trainer: Trainer, failed: bool) -> None:
        if self._columns_written:
            for writer in tensorboard_writers(trainer):
                writer._get_file_writer().add_summary(session_end(failed))
        for writers in self._sub_runs.values():
            for writer in writers:
                writer.close()
        self._sub_runs = {}


def metric_columns(names: Iterable[str]) -> list[str]:
    """The validation metrics, loss and accuracy first, each followed by the same metric of the test data.

    Args:
        names: of all metrics that are logged.
    """
    validated = [name for name in names if name.startswith(("val/", "val_"))]
    first = ("loss", "accuracy")
    place = {name: first.index(name[4:]) if name[4:] in first else len(first) for name in validated}
    ordered = sorted(validated, key=lambda name: (place[name], name))
    return [column for name in ordered for column in (name, f"test{name[3:]}")]
