"""Reads from a Trainer what diagnostics need: length of the run, validation results, how to rerun a batch.

It uses attributes and not classes, because `lightning.pytorch` and `pytorch_lightning` each have their own.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor

from nnfoundations.diagnostics import SHORT, TENDENCY, ScheduleFacts, schedule_facts, validation_metric

__all__ = ["Validation", "can_replay", "replay", "schedules", "settings", "unavailable"]


def settings(trainer: Any) -> dict[str, float]:
    """Return the numbers of the run that rules need."""
    numbers: dict[str, float] = {}
    per_epoch, total = float("inf"), float("inf")
    if math.isfinite(trainer.num_training_batches):
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        numbers["steps_per_epoch"] = per_epoch
        numbers["batches_per_epoch"] = trainer.num_training_batches
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        total = trainer.max_epochs * per_epoch
    if trainer.max_steps is not None and trainer.max_steps > 0:
        total = min(total, trainer.max_steps)
    if math.isfinite(total):
        numbers["total_steps"] = total
    numbers |= _options(trainer)
    if trainer.overfit_batches:
        numbers["overfit_batches"] = trainer.overfit_batches
    train, validation = trainer.train_dataloader, trainer.val_dataloaders
    if getattr(train, "dataset", train) is getattr(validation, "dataset", None):
        numbers["same_data"] = 1
    if trainer.global_step or trainer.ckpt_path:
        numbers["resumed"] = 1
    return numbers


def _options(trainer: Any) -> dict[str, float]:
    """Return what may end the run early, and the norm to which the Trainer itself clips gradients."""
    numbers: dict[str, float] = {}
    kinds = {kind.__name__ for callback in trainer.callbacks for kind in type(callback).__mro__}
    if kinds & {"EarlyStopping", "Timer"}:
        numbers["may_stop_early"] = 1
    algorithm = getattr(trainer.gradient_clip_algorithm, "value", trainer.gradient_clip_algorithm)
    clips = type(trainer.lightning_module).configure_gradient_clipping  # a module may clip otherwise
    if trainer.gradient_clip_val and algorithm in (None, "norm") and "pytorch.core" in clips.__module__:
        numbers["gradient_clip_norm"] = float(trainer.gradient_clip_val)
    return numbers


def schedules(trainer: Any, automatic: bool) -> list[ScheduleFacts]:
    """Return facts about the learning-rate schedules; in manual optimization their unit is not known."""
    position = {id(optimizer): i for i, optimizer in enumerate(trainer.optimizers)}
    return [
        schedule_facts(
            config.scheduler,
            position.get(id(getattr(config.scheduler, "optimizer", None)), 0),
            config.interval if automatic else "",
            config.frequency,
        )
        for config in trainer.lr_scheduler_configs
    ]


def unavailable(trainer: Any, numbers: Mapping[str, float]) -> dict[str, str]:
    """Return the quantities that this run does not show, each with the reason."""
    reasons: dict[str, str] = {}
    if numbers.get("total_steps", SHORT) - trainer.global_step < SHORT:
        reasons[TENDENCY] = f"the run has fewer than {SHORT} steps"
    if not trainer.enable_validation:
        reasons["validation_loss"] = "there is no validation loader, or no validation_step"
    elif trainer.overfit_batches:
        reasons["validation_loss"] = "overfit_batches is set, so memorizing these batches is the aim"
    elif trainer.train_dataloader is not None and trainer.train_dataloader is trainer.val_dataloaders:
        reasons["validation_samples"] = "the same loader is passed for training and validation, on purpose"
    return reasons


class Validation:
    """The results of one validation: what its steps return, and what was logged."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._sizes: list[int] = []
        self.samples = 0

    def add(self, outputs: Any, batch: Any) -> None:
        """Add the outputs of a batch, without waiting for the device."""
        size = _samples(batch)
        self.samples += size
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            self._losses.append(loss.detach().reshape(()).float())
            self._sizes.append(size)

    def result(self, metrics: Mapping[str, Any]) -> tuple[float | None, float | None, float]:
        """Return loss, accuracy and the standard error of the loss over the batches (NaN if unknown)."""
        loss, accuracy, error = _logged(metrics, "loss"), _logged(metrics, "acc", "accuracy"), float("nan")
        if self._losses:
            values = torch.stack(self._losses).double().cpu()
            weights = torch.tensor(self._sizes).clamp(min=1).double()
            mean = float((values * weights).sum() / weights.sum())
            loss = mean if loss is None else loss
            if len(values) > 1:
                error = float(values.std() / len(values) ** 0.5)
        if accuracy is not None and accuracy > 1:
            accuracy /= 100  # in percent
        return loss, accuracy, error


def _logged(metrics: Mapping[str, Any], *what: str) -> float | None:
    """Return the validation metric whose name says this; None if there is none."""
    name = validation_metric(metrics, *what)
    return None if name is None else float(metrics[name])


def _samples(batch: Any) -> int:
    """Return the length of the first tensor in a batch."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    children = (
        batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    )
    return next((n for child in children if (n := _samples(child))), 0)


def can_replay(trainer: Any, module: Any) -> bool:
    """Return whether a training step depends only on its batch and can run again in this process alone."""
    takes_loader = "dataloader_iter" in inspect.signature(module.training_step).parameters
    return module.automatic_optimization and trainer.world_size == 1 and not takes_loader


def replay(trainer: Any, module: Any, batch: Any, index: int) -> Tensor | None:
    """Run the training step again without logging, and return its loss."""
    parameters = inspect.signature(module.training_step).parameters.values()
    several = len(parameters) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)
    with _muted(trainer, module), trainer.precision_plugin.train_step_context():
        outputs = module.training_step(batch, index) if several else module.training_step(batch)
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return loss if isinstance(loss, Tensor) else None


@contextmanager
def _muted(trainer: Any, module: Any) -> Iterator[None]:
    loggers = trainer.loggers
    silent = dict.fromkeys(("log", "log_dict", "print"), lambda *args, **kwargs: None)
    refused = dict.fromkeys(("optimizers", "lr_schedulers"), _refuse)
    own = {name: module.__dict__[name] for name in (*silent, *refused) if name in module.__dict__}
    trainer.loggers = [DummyLogger() for _ in loggers]
    module.__dict__.update(silent | refused)
    try:
        yield
    finally:
        trainer.loggers = loggers
        for name in (*silent, *refused):
            del module.__dict__[name]
        module.__dict__.update(own)


def _refuse(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("it uses its optimizers or schedulers, which must not step twice")
