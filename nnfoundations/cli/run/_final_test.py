"""The test of a `fit`, at its end or later: the best checkpoint, else the last weights if they are finite."""

import os
import sys
from pathlib import Path

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from nnfoundations.cli.run._averaged_weights import averaged_weights_stay
from nnfoundations.cli.run._finite_weights import non_finite_weight

__all__ = ["final_test", "saved_checkpoint"]


def final_test(trainer: Trainer, model: LightningModule, datamodule: LightningDataModule | None) -> None:
    """Test the best checkpoint, and warn if the weights at the end are not finite.

    Args:
        trainer: after `fit`.
        model: with the weights at the end.
        datamodule: has the test data, unless the model has it.
    """
    checkpoint = trainer.checkpoint_callback
    callback = checkpoint if isinstance(checkpoint, ModelCheckpoint) else None
    best = callback.best_model_path if callback is not None else ""
    if (name := non_finite_weight(model)) is not None:
        what = f"the test uses {best}" if best else "no test, because no checkpoint of this run is finite"
        _warn(trainer, f"the weights at the end are not finite (`{name}` is the first): {what}.")
        if not best:
            return
    elif not best and (metric := _non_finite_metric(trainer, callback)) is not None:
        what = "the test uses the weights at the end"
        _warn(trainer, f"there is no best checkpoint, because `{metric}` was never finite: {what}.")
    with averaged_weights_stay(trainer):
        trainer.test(model, datamodule=datamodule, ckpt_path="best" if best else None, verbose=False)


def saved_checkpoint(trainer: Trainer) -> str | None:
    """Return the file that a later test uses: the best checkpoint, else the last one.

    Args:
        trainer: after `fit`.

    Returns:
        Its path, relative if it lies in the working folder; None if no checkpoint was saved.
    """
    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint):
        return None
    path = callback.best_model_path or callback.last_model_path
    return os.path.relpath(path) if path and Path(path).is_relative_to(Path.cwd()) else path or None


def _non_finite_metric(trainer: Trainer, callback: ModelCheckpoint | None) -> str | None:
    monitor = callback.monitor if callback is not None else None
    value = trainer.callback_metrics.get(monitor or "")
    return monitor if value is not None and not bool(value.isfinite().all()) else None


def _warn(trainer: Trainer, text: str) -> None:
    if trainer.is_global_zero:
        print(f"Warning: {text}", file=sys.stderr)
