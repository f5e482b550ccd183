"""Going on: what a resumed run needs to be the same run."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class RunCheckpoint(ModelCheckpoint):
    """Lightning's, with a `last.ckpt` of each epoch; a run that goes on elsewhere brings the best ones."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        # Lightning's `last` is the last one saved: of an epoch that is not among the best there is none.
        if self.save_last is True and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, here = Path(state_dict["dirpath"] or "."), Path(self.dirpath or ".")
        if before != here:
            moved = {path: self._bring(Path(path), here) for path in _paths(state_dict)}
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
        super().load_state_dict(state_dict)

    @staticmethod
    def _bring(path: Path, folder: Path) -> str:
        if not path.is_file():
            return ""
        folder.mkdir(parents=True, exist_ok=True)
        return str(shutil.copy2(path, folder / path.name))


def _paths(state: dict[str, Any]) -> Iterator[str]:
    yield from {path for path in (state["best_model_path"], *state["best_k_models"]) if path}


class RandomState(Callback):
    """Keep the generators' states in every checkpoint: dropout goes on where it was.

    Lightning keeps none of them. Drawn from: torch's default generators (CPU and CUDA), NumPy's, Python's.
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
        # Now, since a DataLoader draws the order of an epoch when its iterator is made, before any hook.
        self._restore(state_dict)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Within an epoch that order was drawn before the state was kept: it is not to count twice.
        if self._loaded is not None and trainer.fit_loop.restarted_mid_epoch:
            self._restore(self._loaded)
        self._loaded = None

    @staticmethod
    def _restore(state: dict[str, Any]) -> None:
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
            torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        version, numbers, gauss = state["python"]
        random.setstate((version, tuple(numbers), gauss))


def _plain(state: tuple[Any, ...]) -> list[Any]:
    version, numbers, gauss = state
    return [version, list(numbers), gauss]
