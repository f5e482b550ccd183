"""Trains networks with hand-written gradients in Lightning, without torch's autograd."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nnfoundations import nn, numpy
from nnfoundations.errors import OptionError
from nnfoundations.lightning_modules._classifier import Batch, Classifier
from nnfoundations.lightning_modules._numpy_module import Net, NumPyModule
from nnfoundations.lightning_modules._numpy_sgd import NumPySGD
from nnfoundations.lightning_modules._perceptron import PerceptronRun, check_rule
from nnfoundations.lightning_modules._regressor import Loss, Regressor
from nnfoundations.lightning_modules._schedule import by_step, monitored

__all__ = ["ManualClassifier", "ManualRegressor"]


class _ManualOptimization(LightningModule):
    """The steps of a network that computes its own gradients; its other base class has metrics and options.

    At each step the network's own backward sets ``.grad``, and an optimizer updates the Parameters, which
    NumPy shares.
    """

    net: torch.nn.Module
    _gradients: dict[str, Tensor]

    def _differentiate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute the gradients of a batch, and return the mean loss and the output."""
        loss, output, self._gradients = self._numpy.differentiate(*batch)
        return loss, output

    def _update(self, loss: Tensor) -> None:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        self.manual_backward(loss)
        optimizer.step()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Give torch the gradients, which are already computed; Lightning calls this between its hooks."""
        for name, parameter in self.net.named_parameters():
            parameter.grad = self._gradients[name] if parameter.requires_grad else None

    def configure_optimizers(self) -> Any:
        name = type(self).__name__
        if "mixed" in str(self.trainer.precision):
            raise OptionError(
                f"{name} runs on NumPy, which autocast does not reach; got {self.trainer.precision}. "
                "Set --trainer.precision 32-true."
            )
        if self.trainer.world_size > 1:
            raise OptionError(
                f"{name} runs in one process, since nothing averages gradients between several; "
                f"got {self.trainer.world_size}. Set --trainer.devices 1."
            )
        made: Any = super().configure_optimizers()  # those of the other base class
        optimizer, scheduler = made, None
        if isinstance(made, dict):  # under manual optimization Lightning does not step a schedule
            optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
        self._check_optimizer(optimizer, scheduler)
        if isinstance(scheduler, ReduceLROnPlateau) and not self.trainer.enable_validation:
            raise OptionError(
                "ReduceLROnPlateau needs val/loss; got a run without validation. "
                "Give validation data, or use a schedule that needs no metric, such as StepLR."
            )
        return optimizer if scheduler is None else ([optimizer], [scheduler])

    def _check_optimizer(self, optimizer: torch.optim.Optimizer, scheduler: object | None) -> None:
        """For a rule that accepts only some optimizers."""

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self._advance("epoch")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["generators"] = [one.bit_generator.state for one in self._generators()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for one, state in zip(self._generators(), checkpoint.get("generators", []), strict=False):
            one.bit_generator.state = state

    def _generators(self) -> list[np.random.Generator]:
        net = self._numpy.net
        return net.generators if isinstance(net, numpy.Layer) else []

    @property
    def _numpy(self) -> NumPyModule:
        assert isinstance(self.net, NumPyModule)
        return self.net

    def _advance(self, interval: str) -> None:
        """Step the schedules, which Lightning does not do under manual optimization."""
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if scheduler is None:
                continue
            if by_step(scheduler) != (interval == "step"):
                continue
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()
            elif (name := monitored(scheduler)) in self.trainer.callback_metrics:
                # Before the first validation there is no metric.
                scheduler.step(self.trainer.callback_metrics[name])


class ManualClassifier(_ManualOptimization, Classifier):
    r"""Train a network with hand-written gradients, from `nnfoundations.numpy` or `nnfoundations.autograd`.

    It uses manual optimization: at each step the network's own backward sets ``.grad``, and an optimizer,
    NumPySGD or any of torch's, updates the Parameters, which NumPy shares. Metrics, checkpoints, diagnostics
    and schedules are as in Classifier.

    For a perceptron the updates of its rule take the place of gradients: it needs SGD with lr=1 and nothing
    else. It stops the Trainer after an epoch without a mistake. Otherwise the final weights come from the
    pocket: the weights with the fewest errors on the training data among those at the ends of epochs. The
    last epoch is left out, because no later epoch counts its errors. Checkpoints contain the pocket and the
    history.

    Args:
        net: `numpy.MLP`, `numpy.Sequential`, `numpy.Perceptron` or `autograd.MLP`.
        num_classes: C.
        optimizer: called with the parameters.
        lr_scheduler: called with the optimizer, as in Classifier.

    Raises:
        OptionError: at the first batch, the device is not the CPU, or the dtype is a half precision; at the
            start of fit, a mixed precision, several processes, a perceptron with another rule than its own,
            or ReduceLROnPlateau without validation.
        ShapeError: the net does not return num_classes logits.
    """

    def __init__(
        self,
        net: Net,
        num_classes: int = 10,
        *,
        optimizer: OptimizerCallable = NumPySGD,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(NumPyModule(net), num_classes, optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.automatic_optimization = False
        self._perceptron = PerceptronRun(net) if isinstance(net, numpy.Perceptron) else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, logits = self._differentiate(batch)
        self._check_shape(logits)
        self._update(loss)
        if self._perceptron is not None:
            self._perceptron.step(self.trainer)
        self._add_to_sums(loss, logits, batch[1])
        self._advance("step")
        return loss

    def _check_optimizer(self, optimizer: torch.optim.Optimizer, scheduler: object | None) -> None:
        if self._perceptron is not None:
            check_rule(optimizer, scheduler)

    def on_train_start(self) -> None:
        super().on_train_start()
        if self._perceptron is not None:
            self._numpy.bind()
            self._perceptron.start(self.trainer)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self._perceptron is not None:
            self._perceptron.end_epoch(self.trainer)

    def on_train_end(self) -> None:
        if self._perceptron is not None:
            self._perceptron.end()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self._perceptron is not None:
            checkpoint["perceptron"] = self._perceptron.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self._perceptron is not None and "perceptron" in checkpoint:
            self._perceptron.load_state_dict(checkpoint["perceptron"])


class ManualRegressor(_ManualOptimization, Regressor):
    r"""Train a network with hand-written gradients to predict numbers.

    The counterpart of ManualClassifier: metrics, checkpoints and schedules are as in Regressor. The network
    trains with its own loss, as in `autograd.MLP(..., loss="mse")` or `numpy.Sequential(..., loss=L1Loss())`.

    Args:
        net: `numpy.Sequential` or `autograd.MLP`.
        loss: of validation and test, as in Regressor; the network's own loss is usual.
        optimizer: called with the parameters.
        lr_scheduler: called with the optimizer, as in Classifier.

    Raises:
        OptionError: as in ManualClassifier.
        ShapeError: at a batch, the net returns another shape than y's.
    """

    def __init__(
        self,
        net: Net,
        *,
        loss: Loss = nn.MSELoss,
        optimizer: OptimizerCallable = NumPySGD,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(NumPyModule(net), loss=loss, optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, prediction = self._differentiate(batch)
        self._check_shape(prediction, batch[1])
        self._update(loss)
        self._log_step(loss, len(batch[1]))
        self._advance("step")
        return loss
