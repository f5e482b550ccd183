"""Regression for Lightning: under any loss, and a comparison of curve fits by width and by loss."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from nnfoundations import nn
from nnfoundations.errors import OptionError, ShapeError
from nnfoundations.lightning_modules._arguments import check_net, check_optimizers, make_loss
from nnfoundations.lightning_modules._schedule import configured, restore_schedule
from nnfoundations.lightning_modules._schedule_end import early_schedule_end
from nnfoundations.models import MLP
from nnfoundations.optim import Adam

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LOSSES", "Curve", "CurveRegressor", "Loss", "Regressor"]

Batch = tuple[Tensor, Tensor]
Loss = Callable[[], torch.nn.Module]


def _default_optimizer(params: Any) -> Adam:
    return Adam(params, lr=1e-2)


class Regressor(LightningModule):
    r"""Train a network to predict numbers, by the mean of loss(f(x), y).

    Logs ``train/loss`` (the mean over the epoch) and ``lr``; for ``val/`` and ``test/``: ``loss``, ``mae``,
    ``rmse``. The last two have the unit of y under every loss, so that runs can be compared.

    Shape: batches ``(x, y)`` with y of the shape that the net returns for x.

    Args:
        net: maps x to predictions.
        loss: called without arguments, returns a module that maps predictions and y to the mean loss:
            MSELoss (finds the mean), L1Loss (the median), HuberLoss (between them), or one of your own.
        optimizer: called with the parameters.
        lr_scheduler: called with the optimizer, as in Classifier.

    Raises:
        OptionError: net, loss, optimizer or lr_scheduler is not of the form above.
        ShapeError: at a batch, the net returns another shape than y's, which broadcasting would hide.

    Example:
        >>> model = Regressor(MLP([3, 16, 1]), loss=nn.HuberLoss)
        >>> model(torch.zeros(5, 3)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        net: torch.nn.Module,
        *,
        loss: Loss = nn.MSELoss,
        optimizer: OptimizerCallable = _default_optimizer,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        check_net(type(self).__name__, net)
        check_optimizers(type(self).__name__, optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["net", "loss", "optimizer", "lr_scheduler"])
        if "_class_path" in self.hparams:
            self.save_hyperparameters()
        self.net, self.loss = net, make_loss(type(self).__name__, loss)
        self._make_optimizer, self._make_scheduler = optimizer, lr_scheduler
        metrics = MetricCollection({"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)})
        self.val_metrics, self.test_metrics = metrics.clone(prefix="val/"), metrics.clone(prefix="test/")

    def on_train_start(self) -> None:
        restore_schedule(self, self._make_scheduler)
        if (text := early_schedule_end(self.trainer)) is not None:
            rank_zero_warn(text)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self._predicted(batch), batch[1])
        self._log_step(loss, len(batch[1]))
        return loss

    def _log_step(self, loss: Tensor, rows: int) -> None:
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=rows)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "test", self.test_metrics)

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        x = batch if isinstance(batch, Tensor) else batch[0]
        return self(x)  # type: ignore[no-any-return]  # Module.__call__ returns Any

    def configure_optimizers(self) -> Any:
        return configured(self, self._make_optimizer, self._make_scheduler)

    def _predicted(self, batch: Batch) -> Tensor:
        x, y = batch
        prediction: Tensor = self(x)
        self._check_shape(prediction, y)
        return prediction

    @staticmethod
    def _check_shape(prediction: Tensor, y: Tensor) -> None:
        if prediction.shape != y.shape:
            raise ShapeError(
                f"Regressor needs predictions of y's shape, {tuple(y.shape)}; the net returned "
                f"{tuple(prediction.shape)}. Give y as (N, 1) for a net with one output."
            )

    def _evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> None:
        prediction, y = self._predicted(batch), batch[1]
        loss = self.loss(prediction, y)
        self.log(f"{stage}/loss", loss, batch_size=len(y), prog_bar=True, sync_dist=True)
        metrics.update(prediction, y)
        self.log_dict(metrics, batch_size=len(y))


@runtime_checkable
class Curve(Protocol):
    """A DataModule whose points and function can be plotted, such as NoisyCurveDataModule."""

    def points_of(self, part: str) -> Batch: ...

    def function(self, x: Tensor) -> Tensor: ...


LOSSES: dict[str, Loss] = {"MSE": nn.MSELoss, "L1": nn.L1Loss, "Huber": nn.HuberLoss}


class CurveRegressor(Regressor):
    r"""Fit a curve y = f(x), and train MLPs of other widths and losses beside it for comparison.

    The other MLPs see the same batches: one for each of `widths`, with the module's loss, and one for each of
    the losses MSE, L1 and Huber, with the largest width. They share no weights, so that the sum of all losses
    trains each as if it were alone; only the module's net is logged, validated and tested. The figure
    ``val/curves`` in TensorBoard shows each fit: how width approximates the function, and what outliers do to
    each loss. Points and function come from the DataModule, `points_of("train")` and `function`; without
    these, or without TensorBoard, there is no figure.

    Args:
        net: maps x ``(N, 1)`` to predictions ``(N, 1)``.
        loss: called without arguments, as in Regressor.
        optimizer: called with the parameters.
        lr_scheduler: called with the optimizer, as in Classifier.
        widths: hidden units of the other MLPs, each with one hidden layer.
        every_n_epochs: how often the figure is drawn; it is always drawn at the end of training.

    Raises:
        OptionError: widths is empty, or one of them is below 1.

    Source: Cybenko 1989 (width); Huber 1964 (outliers).
    """

    def __init__(
        self,
        net: torch.nn.Module,
        *,
        loss: Loss = nn.HuberLoss,
        optimizer: OptimizerCallable = _default_optimizer,
        lr_scheduler: LRSchedulerCallable | None = None,
        widths: Sequence[int] = (1, 3, 32),
        every_n_epochs: int = 20,
    ) -> None:
        super().__init__(net, loss=loss, optimizer=optimizer, lr_scheduler=lr_scheduler)
        if not widths or min(widths) < 1:
            raise OptionError(
                f"CurveRegressor needs widths of at least 1; got {list(widths)}. [1, 3, 32] is usual."
            )
        self.every_n_epochs, self._last_drawn = every_n_epochs, -1
        self.by_width = torch.nn.ModuleDict({f"width {w}": _curve_net(w) for w in widths})
        self.by_loss = torch.nn.ModuleDict({name: _curve_net(max(widths)) for name in LOSSES})
        self.losses = {name: make() for name, make in LOSSES.items()}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        total = super().training_step(batch, batch_idx)
        for net in self.by_width.values():
            total = total + self.loss(net(x), y)
        for name, net in self.by_loss.items():
            total = total + self.losses[name](net(x), y)
        return total

    def on_train_epoch_end(self) -> None:
        if (self.current_epoch + 1) % self.every_n_epochs == 0:
            self._add_figure()

    def on_train_end(self) -> None:
        self._add_figure()

    def _add_figure(self) -> None:
        """Write the figure to TensorBoard, at most once per step."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # set by fit
        if self._last_drawn == self.global_step or not isinstance(data, Curve):
            return
        self._last_drawn = self.global_step
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and self.trainer.is_global_zero:
                logger.experiment.add_figure("val/curves", self.figure(data), self.global_step)

    def figure(self, data: Curve) -> "Figure":
        """Plot points, function and fits: by width on the left, by loss on the right, with the rms errors.

        Args:
            data: has the points and the function.

        Returns:
            A figure of two axes.
        """
        from matplotlib.figure import Figure  # imported here, because it takes a second

        x, y = data.points_of("train")
        grid = torch.linspace(float(x.min()), float(x.max()), 400).unsqueeze(1)
        truth = data.function(grid)
        figure = Figure(figsize=(12, 4.5), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        name = type(self.loss).__name__.removesuffix("Loss")
        for axes, title, nets in (
            (left, f"Width, under {name}", self.by_width),
            (right, "Loss, with the same outliers", self.by_loss),
        ):
            axes.plot(x.flatten(), y.flatten(), ".", color="0.75", label="training points")
            axes.plot(grid.flatten(), truth.flatten(), "k--", lw=1, label="the function")
            self._draw(axes, nets, grid, truth)
            axes.set(title=title, xlabel="x")
            axes.legend(fontsize=8, loc="upper left")
        left.set_ylabel("y")
        return figure

    @torch.no_grad()
    def _draw(self, axes: "Axes", nets: torch.nn.ModuleDict, grid: Tensor, truth: Tensor) -> None:
        for name, net in nets.items():
            curve = net(grid.to(self.device)).cpu()
            error = (curve - truth).square().mean().sqrt()
            axes.plot(grid.flatten(), curve.flatten(), label=f"{name}: rms error {error:.3f}")


def _curve_net(width: int) -> MLP:
    return MLP([1, width, 1], activation="Tanh")
