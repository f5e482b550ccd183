"""A classifier for Lightning: any network, loss, optimizer and schedule, with its metrics."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import SGD
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from nnfoundations import nn
from nnfoundations.errors import ShapeError
from nnfoundations.lightning_modules._arguments import check_net, check_optimizers, make_class_loss
from nnfoundations.lightning_modules._max_norm import with_max_norm
from nnfoundations.lightning_modules._penalty import weight_penalty
from nnfoundations.lightning_modules._schedule import configured, restore_schedule
from nnfoundations.lightning_modules._schedule_end import early_schedule_end

__all__ = ["Batch", "Classifier"]

Batch = tuple[Tensor, Tensor]


def _with_smoothing(loss: Callable[..., torch.nn.Module], label_smoothing: float) -> torch.nn.Module:
    try:
        return loss(label_smoothing=label_smoothing)
    except TypeError as error:
        raise ValueError(
            f"label_smoothing={label_smoothing} needs a loss that takes it; this one raises: {error}. "
            "Set label_smoothing to 0."
        ) from None


def _default_optimizer(params: Any) -> SGD:
    return SGD(params, lr=0.1, momentum=0.9)


class Classifier(LightningModule):
    r"""Train a network to predict one of C classes.

    .. math:: \text{loss}(f(x), y) + \lambda_1 \sum |w| + \tfrac{\lambda_2}{2} \sum w^2

    Logs ``train/loss`` and ``train/accuracy`` (means over the epoch, measured during training),
    ``train/loss_step``, ``train/penalty`` if there is one, ``lr``; for ``val/`` and ``test/``: ``loss``,
    ``accuracy``, ``accuracy_top3``, ``f1`` (macro), ``calibration_error`` (15 bins). All but the losses and
    ``lr`` are fractions between 0 and 1. The logged loss contains neither the penalty nor label smoothing, so
    that training and validation, and runs with and without them, can be compared.

    Shape: batches ``(x, y)`` with x ``(N, *)`` as the network takes it and y ``(N,)`` class indices; in
        training also ``(N, C)`` probabilities.

    Args:
        net: maps x to logits ``(N, C)``.
        num_classes: C.
        loss: called without arguments (with ``label_smoothing=`` if that is not 0), returns a module
            that maps logits and class indices to the mean loss.
        optimizer: called with the parameters.
        lr_scheduler: called with the optimizer; stepped once per epoch, OneCycleLR and CyclicLR once per
            step, ReduceLROnPlateau on ``val/loss``. A OneCycleLR without a length is as long as the run.
        l1: weight of the sum of absolute weights. Biases and gains, which have one dimension, are left out.
        l2: weight of half the sum of squared weights: its gradient is l2 * w, as in SGD's ``weight_decay``.
        label_smoothing: fraction of the target that is spread evenly over all classes, in training only.
        max_norm: largest Euclidean norm of the weights that enter a unit; longer ones are scaled back to it
            after each step of the optimizer. 3 or 4 is usual with dropout. None sets no limit.

    Raises:
        OptionError: net, loss, optimizer or lr_scheduler is not of the form above, or the loss compares
            numbers, as MSELoss does.
        ValueError: a penalty is negative, label_smoothing is outside [0, 1) or not taken by the loss, or
            max_norm is not above 0.
        ShapeError: at a batch, the net does not return num_classes logits.

    Example:
        >>> from nnfoundations.models import MLP
        >>> model = Classifier(MLP([64, 32, 10]), label_smoothing=0.1)
        >>> model(torch.zeros(5, 64)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        net: torch.nn.Module,
        num_classes: int = 10,
        *,
        loss: Callable[[], torch.nn.Module] = nn.CrossEntropyLoss,
        optimizer: OptimizerCallable = _default_optimizer,
        lr_scheduler: LRSchedulerCallable | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        label_smoothing: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        super().__init__()
        check_net("Classifier", net)
        check_optimizers("Classifier", optimizer, lr_scheduler)
        if l1 < 0 or l2 < 0:
            raise ValueError(f"l1 and l2 must be at least 0; got l1={l1}, l2={l2}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be at least 0 and less than 1; got {label_smoothing}.")
        if max_norm is not None and not max_norm > 0:
            raise ValueError(
                f"max_norm must be above 0; got {max_norm}. 3 or 4 is usual; None sets no limit."
            )
        self.save_hyperparameters(ignore=["net", "loss", "optimizer", "lr_scheduler"])
        if "_class_path" in self.hparams:
            # Built from a config, where all arguments are plain data, which load_from_checkpoint needs.
            self.save_hyperparameters()
        self.net = net
        self.loss = make_class_loss("Classifier", loss)
        self.smoothed_loss = _with_smoothing(loss, label_smoothing) if label_smoothing else self.loss
        self.num_classes, self.l1, self.l2 = num_classes, l1, l2
        self._make_optimizer = optimizer if max_norm is None else with_max_norm(optimizer, max_norm)
        self._make_scheduler = lr_scheduler

        kinds: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
            "f1": MulticlassF1Score(num_classes, average="macro", validate_args=False),
            "calibration_error": MulticlassCalibrationError(num_classes, validate_args=False),
        }
        if num_classes > 3:
            kinds["accuracy_top3"] = MulticlassAccuracy(
                num_classes, top_k=3, average="micro", validate_args=False
            )
        # Groups are found by comparing states after the first batch, when a good net has top-1 = top-3.
        metrics = MetricCollection(kinds, compute_groups=False)
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        self.val_confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
        self.test_confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits

    def on_fit_start(self) -> None:
        self._reset_sums()

    def on_train_start(self) -> None:
        restore_schedule(self, self._make_scheduler)
        if (text := early_schedule_end(self.trainer)) is not None:
            rank_zero_warn(text)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        logits = self(x)
        self._check_shape(logits)
        loss: Tensor = self.smoothed_loss(logits, y)
        logged = loss.detach() if self.smoothed_loss is self.loss else self.loss(logits.detach(), y)
        logs_now = self._add_to_sums(logged, logits, y)
        if not self.l1 and not self.l2:
            return loss
        penalty = weight_penalty(self.net, self.l1, self.l2)
        if logs_now:
            self.log("train/penalty", penalty.detach())
        return loss + penalty

    def _add_to_sums(self, loss: Tensor, logits: Tensor, y: Tensor) -> bool:
        """Add a batch to the means of the epoch, and return whether this step is logged."""
        # Sums stay on the device and are read once per epoch: a metric object, or a number read at each step,
        # would make the host wait for the device.
        self._loss_sum += loss * len(y)
        classes = y if y.ndim == 1 else y.argmax(1)  # soft labels, from mixup: the most probable class
        self._correct += (logits.detach().argmax(1) == classes).sum()
        self._seen += len(y)
        every_n = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by its connector
        logs_now = bool(every_n) and (self.global_step + 1) % every_n == 0
        if logs_now:
            self.log("train/loss_step", loss)
            self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return logs_now

    def on_train_epoch_end(self) -> None:
        if self._seen:
            self.log("train/loss", self._loss_sum / self._seen, sync_dist=True)
            self.log("train/accuracy", self._correct / self._seen, sync_dist=True)
        self._reset_sums()

    def _reset_sums(self) -> None:
        # Not at the start of an epoch: a run that is resumed within one does not have it.
        self._loss_sum = torch.zeros((), device=self.device)
        self._correct = torch.zeros((), device=self.device)
        self._seen = 0

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "val", self.val_metrics, self.val_confusion)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "test", self.test_metrics, self.test_confusion)

    def _evaluate(
        self, batch: Batch, stage: str, metrics: MetricCollection, confusion: MulticlassConfusionMatrix
    ) -> dict[str, Tensor]:
        x, y = batch
        logits = self(x)
        self._check_shape(logits)
        self.log(f"{stage}/loss", self.loss(logits, y), batch_size=len(y), prog_bar=True, sync_dist=True)
        probabilities = logits.float().softmax(1)
        metrics.update(probabilities, y)
        confusion.update(probabilities, y)
        return {"probabilities": probabilities, "target": y}

    def _check_shape(self, logits: Tensor) -> None:
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ShapeError(
                f"Classifier needs logits of shape (N, {self.num_classes}); the net returned "
                f"{tuple(logits.shape)}. Give its last layer num_classes outputs, or set num_classes."
            )

    def on_validation_epoch_start(self) -> None:
        self.val_metrics.reset()
        self.val_confusion.reset()

    def on_validation_epoch_end(self) -> None:
        metrics = self.val_metrics.compute()
        self.log("val/accuracy", metrics.pop("val/accuracy"), prog_bar=True)
        self.log_dict(metrics)

    def on_test_epoch_start(self) -> None:
        self.test_metrics.reset()
        self.test_confusion.reset()

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.test_metrics.compute())

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Return the probabilities ``(N, C)`` of a batch, with or without labels."""
        x = batch if isinstance(batch, Tensor) else batch[0]
        return self(x).float().softmax(1)  # type: ignore[no-any-return]  # Module.__call__ returns Any

    def configure_optimizers(self) -> Any:
        return configured(self, self._make_optimizer, self._make_scheduler)
