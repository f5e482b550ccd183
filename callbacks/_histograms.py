"""Writes histograms of weights and gradients of every parameter."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from nnfoundations.callbacks._tensorboard import tensorboard_writers

__all__ = ["ParameterHistograms", "finite_values"]


class ParameterHistograms(Callback):
    """Write ``weights/NAME`` and ``gradients/NAME`` to TensorBoard: in the first epoch, every k-th, the last.

    The values are those of the last step of the epoch, before the optimizer's step. Gradients are complete
    (accumulated), unscaled under mixed precision, and not yet clipped.

    Args:
        every_n_epochs: k; 0 writes no histogram.

    Raises:
        ValueError: every_n_epochs is negative.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[ParameterHistograms(every_n_epochs=1)])  # doctest: +SKIP
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        if every_n_epochs < 0:
            raise ValueError(
                f"every_n_epochs must be at least 0; got {every_n_epochs}. 0 writes no histogram."
            )
        self.every_n_epochs = every_n_epochs

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Write the parameters of this optimizer."""
        epoch, n = trainer.current_epoch + 1, self.every_n_epochs
        if not n or not trainer.is_last_batch or (epoch % n and epoch not in (1, trainer.max_epochs)):
            return
        # With several optimizers the hook is called once for each. Every parameter is written with its own.
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for writer in tensorboard_writers(trainer):
            for name, parameter in pl_module.named_parameters():
                if id(parameter) not in mine:
                    continue
                for tag, values in (("weights", parameter), ("gradients", parameter.grad)):
                    # TensorBoard raises on an empty histogram; it counts neither NaN nor values beyond 1e20.
                    if values is not None and (finite := finite_values(values)).numel():
                        writer.add_histogram(f"{tag}/{name}", finite, trainer.global_step)


def finite_values(values: torch.Tensor) -> torch.Tensor:
    """Select the values that TensorBoard can count, as float32."""
    values = values.detach().float()
    return values[values.abs() < 1e20]  # TensorBoard's outermost bins; NaN and infinity compare false
