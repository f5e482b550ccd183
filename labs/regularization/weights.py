"""Logs what the training curves leave out: the size of the weights, and the clean training loss."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["WeightsAndFit"]


class WeightsAndFit(Callback):
    """Log `weights/norm`, `weights/near_zero`, `fit/loss` and `fit/accuracy` after each epoch.

    The norm is that of all weight matrices together; near zero are weights below 0.001. The fit is measured
    on the training images without dropout and augmentation. `train/loss` has both, so it cannot be compared
    with `val/loss`.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log."""
        module, data = pl_module, trainer.datamodule  # type: ignore[attr-defined]  # set by fit
        weights = torch.cat([w.detach().flatten() for w in module.parameters() if w.ndim > 1])
        x, y = data.clean_train_part()
        module.eval()
        with torch.no_grad():
            logits: Any = module(x)
        module.train()
        module.log_dict({
            "weights/norm": weights.norm(),
            "weights/near_zero": (weights.abs() < 1e-3).float().mean(),
            "fit/loss": torch.nn.functional.cross_entropy(logits, y),
            "fit/accuracy": (logits.argmax(1) == y).float().mean(),
        })  # fmt: skip
