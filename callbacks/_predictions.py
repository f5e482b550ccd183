"""Predictions as a table that any program reads."""

import csv
import os
from pathlib import Path
from typing import IO, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class PredictionTable(Callback):
    """Write what ``predict`` gives to a CSV file, a row a sample.

    Columns: ``index``; ``label`` where the batch holds one; ``prediction``; the probability of each class,
    named ``p_NAME``. Classes are named by the datamodule's ``class_names`` where it has them, else numbered.
    The file appears whole, when the last batch is done. A ``fast_dev_run`` writes none.

    Args:
        path: the file; None means ``predictions.csv`` in the Trainer's ``default_root_dir``.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._stream: IO[str] | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if getattr(trainer, "fast_dev_run", False):
            return
        self.file = Path(self.path or Path(trainer.default_root_dir) / "predictions.csv")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._part = self.file.with_name(f".{self.file.name}.part")
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
        labels = None if isinstance(batch, Tensor) or len(batch) < 2 else batch[1].tolist()
        probabilities = outputs.tolist()
        if not self._names:
            named = getattr(getattr(trainer, "datamodule", None), "class_names", None)
            self._names = [str(name) for name in named or range(len(probabilities[0]))]
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
            os.replace(self._part, self.file)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self._part.unlink(missing_ok=True)
