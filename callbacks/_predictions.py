"""Writes predictions as a CSV table."""

import csv
from pathlib import Path
from typing import IO, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

__all__ = ["PredictionTable", "class_indices"]


class PredictionTable(Callback):
    """Write what ``predict`` returns to a CSV file, one row per sample.

    - Probabilities ``(N, C)`` give the columns ``index``; ``label``, if the batch is a pair ``(x, y)`` with
      class indices y; ``prediction``; and one probability per class, ``p_NAME``. Names of classes are the
      datamodule's ``class_names``, else numbers.
    - Numbers ``(N,)`` or ``(N, 1)`` give ``index`` and ``prediction``.
    - Anything else is not a table, and no file is written.

    The file appears when the last batch is done, so it is always complete. A ``fast_dev_run`` writes no file.

    Args:
        path: the file; None means ``predictions.csv`` in the Trainer's ``default_root_dir``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[PredictionTable("predictions.csv")])  # doctest: +SKIP
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self.file: Path | None = None  # the file that was written
        self._stream: IO[str] | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if getattr(trainer, "fast_dev_run", False):
            return
        self.file = None
        self._whole = Path(self.path or Path(trainer.default_root_dir) / "predictions.csv")
        self._whole.parent.mkdir(parents=True, exist_ok=True)
        self._part = self._whole.with_name(f".{self._whole.name}.part")
        self._names: list[str] = []
        self._rows = 0
        self._stream = self._part.open("w", newline="", encoding="utf-8")
        self._csv = csv.writer(self._stream)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._stream is None:
            return
        if not isinstance(outputs, Tensor) or outputs.ndim not in (1, 2) or not outputs.is_floating_point():
            self._abandon()
            return
        if outputs.ndim == 1 or outputs.shape[1] == 1:
            if not self._rows:
                self._csv.writerow(["index", "prediction"])
            for value in outputs.flatten().tolist():
                self._csv.writerow([self._rows, f"{value:.6g}"])
                self._rows += 1
            return
        labels = class_indices(batch)
        probabilities = outputs.tolist()
        if not self._rows:
            named = getattr(getattr(trainer, "datamodule", None), "class_names", None)
            self._names = [str(name) for name in named or range(outputs.shape[1])]
            head = ["index", *(["label"] if labels else []), "prediction"]
            self._csv.writerow(head + [f"p_{name}" for name in self._names])
        for i, row in enumerate(probabilities):
            label = [self._names[labels[i]]] if labels else []
            best = max(range(len(row)), key=row.__getitem__)
            self._csv.writerow([self._rows, *label, self._names[best], *(f"{p:.6f}" for p in row)])
            self._rows += 1

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self.file = self._part.replace(self._whole)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._abandon()

    def _abandon(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self._part.unlink(missing_ok=True)


def class_indices(batch: Any) -> list[int] | None:
    """Return the labels of a batch that is a pair (x, y) with class indices y, else None."""
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not isinstance(batch[1], Tensor):
        return None
    y = batch[1]
    return y.tolist() if y.ndim == 1 and not y.is_floating_point() else None
