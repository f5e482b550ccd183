"""Records the metrics of training and validation, for callbacks that show them as curves."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

__all__ = ["Curve", "EpochMetrics"]

Curve = list[tuple[int, float]]
"""Points of (optimizer steps done, value)."""

_NAMED = re.compile(
    r"(?:(?P<train>train|training)|val|valid|validation)[/_](?P<metric>.+?)(?:_epoch)?(?:/dataloader_idx_0)?"
)


class EpochMetrics(Callback):
    """Base of callbacks that show metrics of training and validation.

    Reads what the module logs as ``train/NAME`` and ``val/NAME`` (or ``train_NAME`` and ``val_NAME``), once
    per epoch and per validation. A metric that is logged only at steps has no value per epoch. In place of
    such a training loss, the mean of what ``training_step`` returns is recorded every ``log_every_n_steps``
    steps. The means stay on the device until they are read, so no step waits for the device.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._curves: dict[str, dict[str, Curve]] = {"train": {}, "validation": {}}
        self._means: list[tuple[int, Tensor]] = []  # means of the returned loss
        self._read_means: Curve = []
        self._sum: Tensor | None = None
        self._count = 0
        self._logged_at_steps: frozenset[str] | None = None

    def curves(self, split: str) -> dict[str, Curve]:
        """The curve of each metric of a split, by its name without the split.

        Args:
            split: ``train`` or ``validation``.
        """
        found = self._curves[split]
        if split == "validation" or "loss" in found:
            return found
        if self._means:
            steps, means = zip(*self._means, strict=True)
            self._read_means += zip(steps, torch.stack(means).tolist(), strict=True)
            self._means = []
        return {**found, "loss": self._read_means} if self._read_means else found

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._forget()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not on_train_epoch_end: what the module logs in its own on_train_epoch_end is known only after it.
        self._epoch_is_over(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._logged_at_steps is None and trainer.is_last_batch:
            self._logged_at_steps = frozenset(trainer.callback_metrics)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            return
        loss = loss.detach().float()
        if trainer.accumulate_grad_batches > 1:
            loss = loss * trainer.accumulate_grad_batches  # Lightning has divided it
        self._sum = loss if self._sum is None else self._sum + loss
        self._count += 1
        every_n: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by its connector
        if self._count >= max(every_n, 1) * trainer.accumulate_grad_batches:
            self._close_mean(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._read("validation", trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_is_over(trainer)

    def _epoch_is_over(self, trainer: Trainer) -> None:
        self._close_mean(trainer)
        if self._logged_at_steps is not None:
            self._read("train", trainer)

    def _close_mean(self, trainer: Trainer) -> None:
        if self._sum is not None:
            self._means.append((trainer.global_step, self._sum / self._count))
            self._sum, self._count = None, 0

    def _read(self, split: str, trainer: Trainer) -> None:
        values: dict[str, float] = {}
        for name, value in trainer.callback_metrics.items():
            match = _NAMED.fullmatch(name)
            if match is None or bool(match["train"]) != (split == "train"):
                continue
            if name not in (self._logged_at_steps or ()) and not name.endswith("_step"):
                values[match["metric"]] = float(torch.as_tensor(value))
        for metric, number in values.items():
            curve = self._curves[split].setdefault(metric, [])
            if not curve or curve[-1][0] < trainer.global_step:
                curve.append((trainer.global_step, number))
