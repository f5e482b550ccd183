"""What every module says to Lightning of its optimizer and its schedule."""

from math import inf
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from nnfoundations._errors import OptionError

Scheduler = LRScheduler | ReduceLROnPlateau


def configured(
    module: LightningModule, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None
) -> Any:
    """The module's parameters under an optimizer and a schedule, as `configure_optimizers` returns them."""
    made = optimizer(module.parameters())
    if lr_scheduler is None:
        return made
    scheduler = _scheduler(module, made, lr_scheduler)
    return {
        "optimizer": made,
        "lr_scheduler": {
            "scheduler": scheduler,
            "interval": "step" if by_step(scheduler) else "epoch",
            "monitor": "val/loss" if isinstance(scheduler, ReduceLROnPlateau) else None,
        },
    }


def by_step(scheduler: Scheduler) -> bool:
    """Whether a schedule counts batches; all others count epochs."""
    return isinstance(scheduler, OneCycleLR | CyclicLR)


def _scheduler(module: LightningModule, optimizer: Optimizer, make: LRSchedulerCallable) -> Scheduler:
    """A OneCycleLR that names no length gets the run's; one that is too short would fail in the midst of it.

    Raises: OptionError: it is too short, or the run has no end.
    """
    try:
        scheduler: Scheduler = make(optimizer)
    except ValueError as error:  # OneCycleLR's, before it has touched the optimizer
        if "total_steps" not in str(error):
            raise
        try:
            scheduler = make(optimizer, total_steps=_steps(module))  # type: ignore[call-arg]  # a class's own
        except TypeError:
            raise OptionError(
                "OneCycleLR needs its length, and this lr_scheduler takes no total_steps to be told it by. "
                "Give functools.partial(OneCycleLR, max_lr=...), or a total_steps of your own."
            ) from error
    _check_length(module, scheduler, "Leave it out, and it is the run's.")
    return scheduler


def check_resumed(module: LightningModule) -> None:
    """Once a checkpoint's schedule, and with it its length, has taken the place of the module's.

    Raises: OptionError: it is shorter than this run.
    """
    for config in module.trainer.lr_scheduler_configs:
        fix = "The checkpoint was made with it: keep its max_epochs, or fit anew."
        _check_length(module, config.scheduler, fix)


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
            "OneCycleLR needs a run whose length is known; got one without an end. "
            "Set --trainer.max_epochs or --trainer.max_steps."
        )
    return int(steps)
