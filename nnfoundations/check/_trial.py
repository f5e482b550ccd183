"""A short training of a copy, under a real Trainer, with everything that the checks read written down."""

import copy
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from nnfoundations.check._inputs import Inputs
from nnfoundations.diagnostics._history import LossFacts
from nnfoundations.diagnostics._loss import loss_facts


class Trial(Callback):
    """Losses, gradients and parameters of a run of some steps, and what `forward` was called with first.

    Args: rate: what the learning rates are multiplied by. watch: steps whose gradients are compared.
    """

    def __init__(self, *, rate: float = 1.0, watch: int = 20) -> None:
        self.rate, self.watch = rate, watch
        self.losses: list[float] = []
        self.facts = LossFacts("unknown", 0, math.nan, False)
        self.had_gradient: set[str] = set()
        self.unmoved: list[str] = []
        self.stale: list[int] = []
        self.cosine = 1.0
        self.inputs: Inputs | None = None
        self._step = 0
        self._before: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._fresh: dict[str, Tensor] = {}
        self._stepped: set[Tensor] = set()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = {name: value.detach().clone() for name, value in trained(pl_module)}
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * self.rate
                group["initial_lr"] = group.get("initial_lr", group["lr"]) * self.rate
        self._stepped = {
            value for optimizer in trainer.optimizers for g in optimizer.param_groups for value in g["params"]
        }

        def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.inputs = Inputs(args, kwargs).map(lambda x: x.detach().clone())
            handle.remove()

        handle = pl_module.register_forward_pre_hook(keep, with_kwargs=True)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if not self.losses:
            self.facts = loss_facts(loss)
        self.losses.append(float(loss.detach()))
        self._kept = self._gradients(pl_module) if self._step < self.watch else {}

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._step < self.watch:
            fresh = self._gradients(pl_module)
            self._fresh = {name: grad - self._kept.get(name, 0) for name, grad in fresh.items()}
            self.had_gradient |= {name for name, grad in self._fresh.items() if bool(grad.any())}
            if any(bool(grad.any()) for grad in self._kept.values()):
                self.stale.append(self._step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """What the optimizer got, after clipping, against what the backward pass of this step gave."""
        given = self._gradients(pl_module) if self._step < self.watch else {}
        if self._fresh and given.keys() == self._fresh.keys():
            one, two = (
                torch.cat([grad.double().flatten() for grad in both.values()])
                for both in (given, self._fresh)
            )
            if one.isfinite().all() and (norms := float(one.norm() * two.norm())) > 0:
                self.cosine = min(self.cosine, float(one @ two) / norms)
        self._step += 1

    def _gradients(self, pl_module: LightningModule) -> dict[str, Tensor]:
        """Of what an optimizer steps: nobody else's gradients are zeroed."""
        return {
            name: value.grad.detach().clone()
            for name, value in trained(pl_module)
            if value.grad is not None and value in self._stepped
        }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        after = dict(trained(pl_module))
        self.unmoved = [name for name, value in self._before.items() if torch.equal(value, after[name])]


def trained(module: LightningModule) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters that ask for gradients, by name."""
    return ((name, value) for name, value in module.named_parameters() if value.requires_grad)


@dataclass(frozen=True)
class Repeated:
    """These batches over and over, as one epoch of so many steps; a list would be several loaders."""

    batches: Sequence[Any]
    steps: int

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        return islice(cycle(self.batches), self.steps)


@contextmanager
def hushed() -> Iterator[None]:
    """Lightning says a dozen lines a Trainer; a check makes five of them."""
    names = ("lightning.pytorch", "lightning.fabric")
    loggers = [name for name in logging.root.manager.loggerDict if name.startswith(names)] + list(names)
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def train(
    model: LightningModule, batches: Sequence[Any], steps: int, callback: Callback, **options: Any
) -> LightningModule:
    """Train a copy on these batches; return the copy."""
    twin = copy.deepcopy(model).train()
    with hushed():
        torch.manual_seed(0)
        trainer = Trainer(
            max_steps=steps,
            max_epochs=1,
            devices=1,
            logger=False,
            callbacks=[callback],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            **options,
        )
        trainer.fit(twin, train_dataloaders=Repeated(batches, steps))
    return twin
