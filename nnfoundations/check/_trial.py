"""Trains a copy for some steps under a real Trainer and records what the checks read."""

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
from nnfoundations.check._loss_terms import LossTerm, broadcast_error, loss_terms
from nnfoundations.diagnostics import LossFacts, loss_facts

__all__ = ["Repeated", "Trial", "hushed", "train", "trained"]


class Trial(Callback):
    """Records losses, gradients and parameters of a run, and the first inputs of `forward`.

    Args:
        rate: factor of the learning rates.
        watch: how many steps have their gradients compared.
        regularize: False sets each weight decay to 0.
    """

    def __init__(self, *, rate: float = 1.0, watch: int = 20, regularize: bool = True) -> None:
        self.rate, self.watch, self.regularize = rate, watch, regularize
        self.losses: list[float] = []
        self.excess: list[float] = []
        """How far the known terms of each loss are above their least value; the loss if no term is known."""
        self.rates: list[float] = []
        self.facts = LossFacts("unknown", 0, math.nan, False)
        self.terms: list[LossTerm] = []
        self.broadcast = ""
        self.used: set[str] = set()
        self.had_gradient: set[str] = set()
        self.unmoved: list[str] = []
        self.left_out: list[str] = []
        self.stale: list[int] = []
        self.cosine = 1.0
        self.inputs: Inputs | None = None
        self._step = 0
        self._before: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._fresh: dict[str, Tensor] = {}
        self._stepped: set[Tensor] = set()

    @property
    def is_warming_up(self) -> bool:
        """Whether the learning rate still rises at the end of the run."""
        return len(self.rates) > 1 and self.rates[-1] > 1.2 * self.rates[len(self.rates) // 2]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = {name: value.detach().clone() for name, value in trained(pl_module)}
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        for group in groups:
            group["lr"] = group["lr"] * self.rate
            group["initial_lr"] = group.get("initial_lr", group["lr"]) * self.rate
            if not self.regularize and "weight_decay" in group:
                group["weight_decay"] = 0.0
        self._stepped = {value for group in groups for value in group["params"]}
        self.left_out = [name for name, value in trained(pl_module) if value not in self._stepped]

        def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.inputs = Inputs(args, kwargs).map(lambda x: x.detach().clone())
            handle.remove()

        handle = pl_module.register_forward_pre_hook(keep, with_kwargs=True)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        terms = loss_terms(loss)
        if not self.losses:
            self.facts, self.terms, self.broadcast = loss_facts(loss), terms, broadcast_error(loss)
        self.losses.append(float(loss.detach()))
        self.excess.append(sum(term.value - term.least for term in terms) if terms else self.losses[-1])
        self._kept = self._gradients(pl_module) if self._step < self.watch else {}

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._step < self.watch:
            fresh = self._gradients(pl_module)
            self._fresh = {name: grad - self._kept.get(name, 0) for name, grad in fresh.items()}
            self.used |= fresh.keys()
            self.had_gradient |= {name for name, grad in self._fresh.items() if bool(grad.any())}
            if any(bool(grad.any()) for grad in self._kept.values()):
                self.stale.append(self._step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Compare the gradient that the optimizer got, after clipping, with that of this step's backward."""
        given = self._gradients(pl_module) if self._step < self.watch else {}
        if self._fresh and given.keys() == self._fresh.keys():
            one, two = (
                torch.cat([grad.double().flatten() for grad in both.values()])
                for both in (given, self._fresh)
            )
            if one.isfinite().all() and (norms := float(one.norm() * two.norm())) > 0:
                self.cosine = min(self.cosine, float(one @ two) / norms)
        rates = [float(group["lr"]) for opt in trainer.optimizers for group in opt.param_groups]
        self.rates.append(max(rates, default=0.0))  # a model can train without an optimizer
        self._step += 1

    def _gradients(self, pl_module: LightningModule) -> dict[str, Tensor]:
        """Copy the gradients of the parameters that an optimizer updates. Nothing zeroes the others."""
        return {
            name: value.grad.detach().to_dense().clone()
            for name, value in trained(pl_module)
            if value.grad is not None and value in self._stepped
        }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        after = dict(trained(pl_module))
        self.unmoved = [name for name, value in self._before.items() if torch.equal(value, after[name])]


def trained(module: LightningModule) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters that require gradients, with their names."""
    return ((name, value) for name, value in module.named_parameters() if value.requires_grad)


@dataclass(frozen=True)
class Repeated:
    """The same batches repeated in one epoch of `steps` steps; Lightning takes a list for several loaders."""

    batches: Sequence[Any]
    steps: int

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        return islice(cycle(self.batches), self.steps)


@contextmanager
def hushed() -> Iterator[None]:
    """Silence Lightning: it prints a dozen lines per Trainer, and a check makes five Trainers or more."""
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
    """Train a copy of the model on these batches and return it."""
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
