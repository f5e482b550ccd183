"""Finds weights that are NaN or infinite: such a checkpoint is never the best, and no command uses it."""

from collections.abc import Collection, Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from nnfoundations.cli.config._settings import CommandError

__all__ = ["FiniteWeights", "first_non_finite", "non_finite_weight"]


def first_non_finite(tensors: Iterable[tuple[str, Any]], parameters: Collection[str] = ()) -> str | None:
    """Return the name of the first tensor that holds NaN, or of the first parameter that holds infinity.

    An infinity in a buffer can be intended: attention masks and observers of ranges hold them.

    Args:
        tensors: names and values, as `state_dict().items()` gives them.
        parameters: the names that belong to parameters.
    """
    for name, tensor in tensors:
        if not isinstance(tensor, Tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        try:
            bad = not bool(tensor.isfinite().all()) if name in parameters else bool(tensor.isnan().any())
        except (RuntimeError, ValueError):  # number formats without this test, parameters without a shape yet
            continue
        if bad:
            return name
    return None


def non_finite_weight(module: torch.nn.Module) -> str | None:
    """Return the name of the first parameter or buffer of a module that is not finite."""
    parameters = dict(module.named_parameters())
    return first_non_finite([*parameters.items(), *module.named_buffers()], parameters)


class FiniteWeights(Callback):
    """Refuse a checkpoint whose weights are not finite, before a batch is computed with it."""

    def __init__(self) -> None:
        self._checked = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Once: later in the run the weights are those of the training, not those of the file.
        if self._checked or not trainer.ckpt_path:
            return
        self._checked = True
        if (name := non_finite_weight(pl_module)) is not None:
            raise CommandError(
                f"the weights in `{trainer.ckpt_path}` are not finite: `{name}` is the first.\n"
                "Give an earlier checkpoint, or train again with a lower learning rate."
            )
