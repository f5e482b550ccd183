"""Histograms of weights and gradients, layer by layer."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from nnfoundations.callbacks._tensorboard import tensorboard_writers


class ParameterHistograms(Callback):
    """Write ``weights/NAME`` and ``gradients/NAME`` to TensorBoard: first epoch, every k-th, last.

    Taken at the last step of the epoch, before the optimizer's step: gradients are whole (accumulated),
    unscaled under mixed precision, and not yet clipped.

    Args:
        every_n_epochs: k; 0 writes none.
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        if every_n_epochs < 0:
            raise ValueError(f"every_n_epochs must be at least 0; got {every_n_epochs}. 0 writes none.")
        self.every_n_epochs = every_n_epochs

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        epoch, n = trainer.current_epoch + 1, self.every_n_epochs
        if not n or not trainer.is_last_batch or (epoch % n and epoch not in (1, trainer.max_epochs)):
            return
        # With several optimizers the hook comes once for each: every parameter is written with its own.
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for writer in tensorboard_writers(trainer):
            for name, parameter in pl_module.named_parameters():
                if id(parameter) not in mine:
                    continue
                for tag, values in (("weights", parameter), ("gradients", parameter.grad)):
                    # TensorBoard raises on a histogram of nothing, and counts no NaN.
                    if values is not None and (finite := finite_values(values)).numel():
                        writer.add_histogram(f"{tag}/{name}", finite, trainer.global_step)


def finite_values(values: torch.Tensor) -> torch.Tensor:
    values = values.detach().float()
    return values[values.isfinite()]
