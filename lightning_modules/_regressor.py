"""Regression for Lightning: numbers predicted under any loss, and a curve fitted in many ways."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from nnfoundations import nn
from nnfoundations._errors import OptionError, ShapeError
from nnfoundations.lightning_modules._schedule import check_resumed, configured
from nnfoundations.models import MLP
from nnfoundations.optim import Adam

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Batch = tuple[Tensor, Tensor]
Loss = Callable[[], torch.nn.Module]


def _default_optimizer(params: Any) -> Adam:
    return Adam(params, lr=1e-2)


class Regressor(LightningModule):
    r"""Train a network to predict numbers: the mean of loss(f(x), y).

    Logged: ``train/loss``, the epoch's mean, ``lr``; for ``val/`` and ``test/``: ``loss``, ``mae`` and
    ``rmse``, in y's unit, whatever the loss, so that runs can be compared.

    Shape: batches ``(x, y)`` with y of the shape that the net gives for x.

    Args:
        net: maps x to predictions.
        loss: called without arguments, returns a module that maps predictions and y to the mean loss:
            MSELoss (finds the mean), L1Loss (the median), HuberLoss (between them), or one of your own.
        optimizer, lr_scheduler: as in Classifier.

    Raises: ShapeError: the net gives other shapes than y's, which broadcasting would hide.
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
        self.save_hyperparameters(ignore=["net", "loss", "optimizer", "lr_scheduler"])
        if "_class_path" in self.hparams:
            self.save_hyperparameters()
        self.net, self.loss = net, loss()
        self._make_optimizer, self._make_scheduler = optimizer, lr_scheduler
        metrics = MetricCollection({"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)})
        self.val_metrics, self.test_metrics = metrics.clone(prefix="val/"), metrics.clone(prefix="test/")

    def on_train_start(self) -> None:
        check_resumed(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self._predicted(batch), batch[1])
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch[1]))
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

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
        if prediction.shape != y.shape:
            raise ShapeError(
                f"Regressor needs predictions of y's shape; the net gave {tuple(prediction.shape)} for y of "
                f"{tuple(y.shape)}. Give y as (N, 1) for a net with one output."
            )
        return prediction

    def _evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> None:
        prediction, y = self._predicted(batch), batch[1]
        loss = self.loss(prediction, y)
        self.log(f"{stage}/loss", loss, batch_size=len(y), prog_bar=True, sync_dist=True)
        metrics.update(prediction, y)
        self.log_dict(metrics, batch_size=len(y))


@runtime_checkable
class Curve(Protocol):
    """A DataModule whose points can be drawn, as NoisyCurveDataModule: them, and the truth behind."""

    def points_of(self, part: str) -> Batch: ...

    def function(self, x: Tensor) -> Tensor: ...


LOSSES: dict[str, Loss] = {"MSE": nn.MSELoss, "L1": nn.L1Loss, "Huber": nn.HuberLoss}


class CurveRegressor(Regressor):
    r"""A Regressor of one number by one other, with rivals beside it, and a figure of them all.

    The rivals are MLPs that see the same batches: one for each of `widths`, under the module's own loss, and
    one for each of the losses MSE, L1 and Huber, of the widest. They share no weight, so that the sum of all
    losses trains each as if it were alone; only the module's own net is logged, validated and tested. In
    TensorBoard ``val/curves`` shows what each makes of the points: how width approximates the function, and
    what outliers do to each loss. The points are the DataModule's, `points_of("train")`, and so is the
    `function` behind them; without these, or without TensorBoard, there is no figure.

    Args:
        net, loss, optimizer, lr_scheduler: as in Regressor.
        widths: hidden units of the rivals, in one layer.
        every_n_epochs: how often the figure is drawn; at the end of training always.

    Raises: OptionError: no widths, or one below 1.
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
        self.every_n_epochs, self._shown_at = every_n_epochs, -1
        self.by_width = torch.nn.ModuleDict({f"width {w}": _curve_net(w) for w in widths})
        self.by_loss = torch.nn.ModuleDict({name: _curve_net(max(widths)) for name in LOSSES})
        self.rival_losses = {name: make() for name, make in LOSSES.items()}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        total = super().training_step(batch, batch_idx)
        for rival in self.by_width.values():
            total = total + self.loss(rival(x), y)
        for name, rival in self.by_loss.items():
            total = total + self.rival_losses[name](rival(x), y)
        return total

    def on_train_epoch_end(self) -> None:
        if (self.current_epoch + 1) % self.every_n_epochs == 0:
            self._show()

    def on_train_end(self) -> None:
        self._show()

    def _show(self) -> None:
        """The figure into TensorBoard, once a step."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # set by fit
        if self._shown_at == self.global_step or not isinstance(data, Curve):
            return
        self._shown_at = self.global_step
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and self.trainer.is_global_zero:
                logger.experiment.add_figure("val/curves", self.figure(data), self.global_step)

    def figure(self, data: Curve) -> "Figure":
        """Points, function and fits: by width on the left, by loss on the right, each with its rms error."""
        from matplotlib.figure import Figure  # costs a second that a run without figures should not pay

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
