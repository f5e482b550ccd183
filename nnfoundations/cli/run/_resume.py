"""Make a resumed run equal to one that was never interrupted: checkpoints and random states."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._finite_weights import non_finite_weight

__all__ = ["RandomState", "RunCheckpoint", "beyond_the_end", "nothing_trained"]


def nothing_trained(trainer: Trainer) -> str:
    """Say why a resumed run trained nothing, and which option continues it.

    Args:
        trainer: has restored the checkpoint, and ended at once.
    """
    epochs, steps = trainer.current_epoch, trainer.global_step
    if 0 < trainer.max_steps <= steps:
        done, option = f"{steps:,} of {trainer.max_steps:,} steps", "max_steps"
    else:
        done, option = f"{epochs:,} of {trainer.max_epochs:,} epochs", "max_epochs"
    return (
        f"nothing was trained: the checkpoint has finished {done}.\nTo continue, increase --trainer.{option}."
    )


def beyond_the_end(trainer: Trainer, error: BaseException) -> CommandError | None:
    """The error for a checkpoint with more epochs than the run: Lightning's counts from 0, without advice.

    Args:
        trainer: has restored the checkpoint.
        error: what Lightning raised.

    Returns:
        The error in our words; None if it is another one.
    """
    if not isinstance(error, MisconfigurationException) or "restored a checkpoint" not in str(error):
        return None
    done = trainer.fit_loop.epoch_progress.state_dict()["current"]["processed"]
    return CommandError(
        f"nothing was trained: the checkpoint has finished {done} epochs, more than the {trainer.max_epochs} "
        "of this run.\nTo continue, increase --trainer.max_epochs."
    )


class RunCheckpoint(ModelCheckpoint):
    """Lightning's checkpoints, with `last.ckpt` saved every epoch and epochs counted from 1.

    A resumed run has its own folder; the best checkpoints are copied to it. A checkpoint is never the
    best if its weights or its monitored metric are NaN or infinite.
    """

    _fits = True
    best_epoch = 0
    """The epoch of the best checkpoint, from 1; 0 if there is none, or nothing is monitored."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._fits = stage == "fit"
        super().setup(trainer, pl_module, stage)

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, torch.Tensor]) -> None:
        metric = monitor_candidates.get(self.monitor or "")
        finite = metric is None or bool(metric.isfinite().all())
        finite = finite and non_finite_weight(trainer.lightning_module) is None
        if trainer.strategy.reduce_boolean_decision(finite):  # all processes save, or none
            before = self.best_model_score
            super()._save_topk_checkpoint(trainer, monitor_candidates)
            if self.best_model_score is not before:
                self.best_epoch = trainer.current_epoch + 1

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best_epoch": self.best_epoch}

    def _monitor_candidates(self, trainer: Trainer) -> dict[str, torch.Tensor]:
        """File names and messages take the epoch from here; Lightning's own counts from 0."""
        candidates = super()._monitor_candidates(trainer)
        logged_by_the_model = "epoch" in trainer.callback_metrics
        return candidates if logged_by_the_model else {**candidates, "epoch": candidates["epoch"] + 1}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        # Lightning's `last` is the last one saved: it saves none in an epoch that is not among the best.
        if self.save_last is True and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self._fits:  # test and predict save no checkpoint
            return
        before, here = Path(state_dict["dirpath"] or "."), Path(self.dirpath or ".")
        if before != here:
            moved = {path: self._copy(Path(path), here) for path in _paths(state_dict)}
            if all(moved.values()):
                state_dict = {
                    **state_dict,
                    "dirpath": str(here),
                    "best_model_path": moved.get(state_dict["best_model_path"], ""),
                    "kth_best_model_path": moved.get(state_dict["kth_best_model_path"], ""),
                    "best_k_models": {
                        moved[path]: score for path, score in state_dict["best_k_models"].items()
                    },
                    "last_model_path": "",
                }
            self.best_epoch = state_dict.get("best_epoch", 0)
        super().load_state_dict(state_dict)

    @staticmethod
    def _copy(path: Path, folder: Path) -> str:
        if not path.is_file():
            return ""
        folder.mkdir(parents=True, exist_ok=True)
        return str(shutil.copy2(path, folder / path.name))


def _paths(state: dict[str, Any]) -> Iterator[str]:
    yield from {path for path in (state["best_model_path"], *state["best_k_models"]) if path}


class RandomState(Callback):
    """Give training random numbers of its own, and save the states of the generators in every checkpoint.

    Dropout masks then depend on the seed of the run, but not on how many numbers the initial weights took:
    runs with one seed can be paired although their networks begin differently. With the saved states, which
    Lightning leaves out, masks continue the same in a resumed run. Covers the default generators of torch
    (CPU and CUDA), NumPy and Python.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(name), np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)],
            "python": _plain(random.getstate()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict
        # Now: a DataLoader draws the order of an epoch when its iterator is created, before any hook.
        self._restore(state_dict)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._loaded is None and (seed := os.environ.get("PL_GLOBAL_SEED")) is not None:
            own = int(np.random.SeedSequence((int(seed), 1)).generate_state(1)[0])
            random.seed(own)
            np.random.seed(own)
            torch.manual_seed(own)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Within an epoch, that order was drawn before the state was saved: undo the second draw.
        if self._loaded is not None and trainer.fit_loop.restarted_mid_epoch:
            self._restore(self._loaded)
        self._loaded = None

    @staticmethod
    def _restore(state: dict[str, Any]) -> None:
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
            torch.cuda.set_rng_state_all([cuda_state.cpu() for cuda_state in state["cuda"]])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        version, numbers, gauss = state["python"]
        random.setstate((version, tuple(numbers), gauss))


def _plain(state: tuple[Any, ...]) -> list[Any]:
    version, numbers, gauss = state
    return [version, list(numbers), gauss]
