"""Trains networks with hand-written gradients in Lightning, without torch's autograd."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nnfoundations import autograd, numpy
from nnfoundations.errors import OptionError
from nnfoundations.lightning_modules._classifier import Batch, Classifier
from nnfoundations.lightning_modules._numpy_sgd import NumPySGD, needs_numpy
from nnfoundations.lightning_modules._perceptron import PerceptronRun, check_rule
from nnfoundations.lightning_modules._schedule import by_step, monitored

__all__ = ["ManualClassifier", "NumPyModule"]

Net = numpy.Sequential | numpy.Perceptron | autograd.MLP


class NumPyModule(torch.nn.Module):
    """A network of NumPy arrays as a torch Module: Parameters and arrays share their memory.

    Shape: x, a tensor as the network takes it -> the network's output; no graph is recorded.

    Args:
        net: its parameters become Parameters of the same names, its buffers become buffers.

    Raises:
        TypeError: the net has no `differentiate`.
        OptionError: at a call, the device is not the CPU, or the dtype is a half precision.

    Example:
        >>> module = NumPyModule(numpy.MLP([4, 8, 3], seed=0))
        >>> module(torch.zeros(5, 4)).shape, len(list(module.parameters()))
        (torch.Size([5, 3]), 4)
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        if isinstance(net, type) or not hasattr(net, "differentiate"):
            raise TypeError(
                "NumPyModule needs a net with a `differentiate` method, such as numpy.MLP, numpy.Sequential, "
                f"numpy.Perceptron or autograd.MLP; got {net!r}. Use Classifier for a torch net."
            )
        self.net = net
        for name, array in net.parameters.items():
            owner, leaf = self._owner(name)
            owner.register_parameter(leaf, torch.nn.Parameter(torch.from_numpy(array)))
        for name, array in getattr(net, "buffers", {}).items():
            owner, leaf = self._owner(name)
            owner.register_buffer(leaf, torch.from_numpy(array))

    def _owner(self, name: str) -> tuple[torch.nn.Module, str]:
        """Return the module of a dotted name, one per layer as in torch, and the name's last part."""
        owner: torch.nn.Module = self
        *path, leaf = name.split(".")
        for part in path:
            if part not in dict(owner.named_children()):
                owner.add_module(part, torch.nn.Module())
            owner = owner.get_submodule(part)
        return owner, leaf

    def forward(self, x: Tensor) -> Tensor:
        self.bind(x)
        if isinstance(self.net, numpy.Layer):
            self.net.train() if self.training else self.net.eval()
        return torch.from_numpy(np.asarray(self.net.forward(x.numpy())))

    def differentiate(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Compute the gradients with the net's own backward.

        Args:
            x: a batch, as the network takes it.
            target: its targets.

        Returns:
            The mean loss, the output, and the gradient of each parameter by name.
        """
        self.bind(x)
        if isinstance(self.net, numpy.Layer):
            self.net.train()
        loss, output, gradients = self.net.differentiate(x.numpy(), target.numpy())
        found = {name: torch.from_numpy(np.asarray(gradient)) for name, gradient in gradients.items()}
        return torch.tensor(loss), torch.from_numpy(output), found

    def bind(self, *inputs: Tensor) -> None:
        """Let the net compute with the current Parameters, which something may have loaded or replaced.

        Args:
            *inputs: tensors that the net will compute with; they are only checked.

        Raises:
            OptionError: a tensor is not on the CPU, or has a half-precision dtype.
        """
        tensors = dict([*self.named_parameters(), *self.named_buffers()])
        for tensor in (*inputs, *tensors.values()):
            needs_numpy(type(self.net).__name__, tensor)
        self.net.bind({name: tensor.detach().numpy() for name, tensor in tensors.items()})


class ManualClassifier(Classifier):
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
        self._gradients: dict[str, Tensor] = {}
        self._perceptron = PerceptronRun(net) if isinstance(net, numpy.Perceptron) else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        loss, logits, self._gradients = self._numpy.differentiate(x, y)
        self._check_shape(logits)
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        self.manual_backward(loss)
        optimizer.step()
        if self._perceptron is not None:
            self._perceptron.step(self.trainer)
        self._add_to_sums(loss, logits, y)
        self._advance("step")
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Give torch the gradients, which are already computed; Lightning calls this between its hooks."""
        for name, parameter in self.net.named_parameters():
            parameter.grad = self._gradients[name] if parameter.requires_grad else None

    def configure_optimizers(self) -> Any:
        if "mixed" in str(self.trainer.precision):
            raise OptionError(
                "ManualClassifier runs on NumPy, which autocast does not reach; "
                f"got {self.trainer.precision}. "
                "Set --trainer.precision 32-true."
            )
        if self.trainer.world_size > 1:
            raise OptionError(
                "ManualClassifier runs in one process, since nothing averages gradients between several; "
                f"got {self.trainer.world_size}. Set --trainer.devices 1."
            )
        made = super().configure_optimizers()
        optimizer, scheduler = made, None
        if isinstance(made, dict):  # under manual optimization Lightning does not step a schedule
            optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
        if self._perceptron is not None:
            check_rule(optimizer, scheduler)
        if isinstance(scheduler, ReduceLROnPlateau) and not self.trainer.enable_validation:
            raise OptionError(
                "ReduceLROnPlateau needs val/loss; got a run without validation. "
                "Give validation data, or use a schedule that needs no metric, such as StepLR."
            )
        return optimizer if scheduler is None else ([optimizer], [scheduler])

    def on_train_start(self) -> None:
        super().on_train_start()
        if self._perceptron is not None:
            self._numpy.bind()
            self._perceptron.start(self.trainer)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self._advance("epoch")
        if self._perceptron is not None:
            self._perceptron.end_epoch(self.trainer)

    def on_train_end(self) -> None:
        if self._perceptron is not None:
            self._perceptron.end()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["generators"] = [one.bit_generator.state for one in self._generators()]
        if self._perceptron is not None:
            checkpoint["perceptron"] = self._perceptron.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for one, state in zip(self._generators(), checkpoint.get("generators", []), strict=False):
            one.bit_generator.state = state
        if self._perceptron is not None and "perceptron" in checkpoint:
            self._perceptron.load_state_dict(checkpoint["perceptron"])

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
