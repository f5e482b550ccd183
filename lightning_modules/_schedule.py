"""Builds the optimizer and the learning-rate schedule that a module gives to Lightning."""

import warnings
from math import inf
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from nnfoundations.errors import OptionError

__all__ = ["Scheduler", "by_step", "configured", "monitored", "restore_schedule"]

Scheduler = LRScheduler | ReduceLROnPlateau


def configured(
    module: LightningModule, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None
) -> Any:
    """Build what `configure_optimizers` returns.

    Args:
        module: whose parameters are trained.
        optimizer: called with the parameters.
        lr_scheduler: called with the optimizer; None for a constant rate.

    Returns:
        The optimizer, or a dict with optimizer and schedule.

    Raises:
        OptionError: a OneCycleLR that does not fit the length of the run.
    """
    made = optimizer(module.parameters())
    if lr_scheduler is None:
        return made
    scheduler = _scheduler(module, made, lr_scheduler)
    return {
        "optimizer": made,
        "lr_scheduler": {
            "scheduler": scheduler,
            "interval": "step" if by_step(scheduler) else "epoch",
            "monitor": monitored(scheduler),
        },
    }


def monitored(scheduler: Scheduler) -> str | None:
    """Return the metric that a schedule follows: its own `monitor`, which Lightning's class has, or val/loss.

    Args:
        scheduler: the schedule.
    """
    if not isinstance(scheduler, ReduceLROnPlateau):
        return None
    metric: str = getattr(scheduler, "monitor", "val/loss")
    return metric


def by_step(scheduler: Scheduler) -> bool:
    """Return whether a schedule is stepped after each batch; all others are stepped after each epoch.

    Args:
        scheduler: the schedule.
    """
    return isinstance(scheduler, OneCycleLR | CyclicLR)


def _scheduler(module: LightningModule, optimizer: Optimizer, make: LRSchedulerCallable) -> Scheduler:
    """Make the schedule; a OneCycleLR without a length gets the length of the run.

    Raises:
        OptionError: a OneCycleLR is shorter than the run, where torch would fail during it, or the run has
            no end.
    """
    try:
        scheduler: Scheduler = make(optimizer)
    except ValueError as error:  # OneCycleLR raises it before it changes the optimizer
        if "total_steps" not in str(error):
            raise
        try:
            scheduler = make(optimizer, total_steps=_steps(module))  # type: ignore[call-arg]  # a class's own
        except TypeError:
            raise OptionError(
                "OneCycleLR needs its length, and this lr_scheduler takes no total_steps. "
                "Give functools.partial(OneCycleLR, max_lr=...), or set total_steps yourself."
            ) from error
    _check_length(module, scheduler, "Leave it out to use the length of the run.")
    return scheduler


def restore_schedule(module: LightningModule, make: LRSchedulerCallable | None) -> None:
    """Give a resumed run the schedule that it is configured with, at the epoch that the checkpoint reached.

    A checkpoint brings its own schedule, and with it the length that its run had.

    Args:
        module: at the start of its training.
        make: makes the schedule of this run.

    Raises:
        OptionError: a OneCycleLR from a checkpoint is shorter than this run.
    """
    for config in module.trainer.lr_scheduler_configs:
        fix = "The checkpoint was saved with this length: keep its max_epochs, or train from the start."
        _check_length(module, config.scheduler, fix)
        scheduler = config.scheduler
        if module.trainer.ckpt_path and make is not None and isinstance(scheduler, LRScheduler):
            config.scheduler = _with_length_of(make, scheduler)


def _with_length_of(make: LRSchedulerCallable, restored: LRScheduler) -> LRScheduler:
    """The restored schedule, or one as `make` makes it, at the same epoch, if their lengths differ."""
    if by_step(restored):
        return restored
    optimizer = restored.optimizer
    stand_in = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    if _lengths(make(stand_in).state_dict()) == _lengths(restored.state_dict()):
        return restored
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    scheduler = make(optimizer)
    assert isinstance(scheduler, LRScheduler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about steps without the optimizer's, which the first run made
        for _ in range(restored.last_epoch):
            scheduler.step()
    return scheduler


def _lengths(state: Any) -> Any:
    """The whole numbers of a schedule's state, except those that count its progress."""
    if isinstance(state, dict):
        return {name: _lengths(value) for name, value in state.items() if name not in _PROGRESS}
    if isinstance(state, list | tuple):
        return [_lengths(value) for value in state]
    return state if type(state) is int else None


_PROGRESS = ("last_epoch", "_step_count", "_last_lr", "base_lrs")


def _check_length(module: LightningModule, scheduler: Scheduler, fix: str) -> None:
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < (steps := _steps(module)):
        raise OptionError(
            f"OneCycleLR needs a total_steps of at least the run's {steps}; "
            f"got {scheduler.total_steps}. {fix}"
        )


def _steps(module: LightningModule) -> int:
    steps = module.trainer.estimated_stepping_batches
    if not 0 < steps < inf:
        raise OptionError(
            "OneCycleLR needs a run of known length; this one has no end. "
            "Set --trainer.max_epochs or --trainer.max_steps."
        )
    return int(steps)
