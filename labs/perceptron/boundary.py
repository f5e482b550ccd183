"""The decision boundary of a perceptron as it moves from update to update, in TensorBoard."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from nnfoundations.labs._runner.figures import new_figure, style
from nnfoundations.labs.perceptron.drawing import chosen_updates, draw_boundary

__all__ = ["BoundaryFrames"]


class BoundaryFrames(Callback):
    """At the end of a run, log the boundary after updates 1, 3, 10, ... to TensorBoard's tab Images.

    Only two features can be drawn; with more it does nothing.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the frames."""
        net: Any = pl_module.net.net  # type: ignore[union-attr]  # the Perceptron in its NumPyModule
        x, y = (tensor.numpy() for tensor in trainer.datamodule.data.tensors)  # type: ignore[attr-defined]
        if x.shape[1] != 2:
            return
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):
                continue
            for number in chosen_updates(len(net.history.updates)):
                update = net.history.updates[number - 1]
                with style():
                    figure, axes = new_figure(height=5)
                    figure.set_layout_engine("none")  # several times faster; a single panel needs no layout
                    draw_boundary(axes[0, 0], x, y, update.weight, update.bias, f"after update {number}")
                    logger.experiment.add_figure("boundary", figure, global_step=number)
