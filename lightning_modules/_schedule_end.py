"""Finds a learning-rate schedule that ends before the run does, by stepping a copy of it through the run."""

import warnings
from copy import deepcopy

import torch
from lightning.pytorch import Trainer
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nnfoundations.lightning_modules._schedule import Scheduler, by_step

__all__ = ["early_schedule_end"]

_LONGEST = 10_000
"""Epochs beyond which a run is not simulated: 10 microseconds each."""


def early_schedule_end(trainer: Trainer) -> str | None:
    """Describe a learning-rate schedule that ends before the run.

    A schedule has ended if its rate is 0, if it stays the same after it fell in every epoch, or if it rises
    again after it fell. A warm-up followed by a constant rate has not ended, nor has a schedule that
    falls in steps. Schedules that count batches, or that follow a metric, are not judged.

    Args:
        trainer: at the start of its training.

    Returns:
        The sentence, or None.
    """
    first, last = trainer.current_epoch, trainer.max_epochs or 0
    if not first < last <= _LONGEST or trainer.max_steps > 0:
        return None
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        if config.interval != "epoch" or by_step(scheduler) or isinstance(scheduler, ReduceLROnPlateau):
            continue
        end = _end(_rates(scheduler, last - first, config.frequency))
        if end is not None:
            epoch, what = end
            return (
                f"The learning-rate schedule ends before the run: after epoch {first + epoch} of {last} the "
                f"rate {what}. Set its length (total_iters, T_max) to max_epochs."
            )
    return None


def _rates(scheduler: Scheduler, epochs: int, frequency: int) -> list[float]:
    """The rate in each of the next epochs; as many as are known of a scheduler that cannot be copied."""
    optimizer = scheduler.optimizer
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))]}
        | {name: deepcopy(value) for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    stand_in = SGD(groups, lr=0.1)
    rates: list[float] = []
    try:
        copy = deepcopy(scheduler, {id(optimizer): stand_in})
        for epoch in range(epochs):
            rates.append(max(float(group["lr"]) for group in stand_in.param_groups))
            if (epoch + 1) % frequency == 0:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # this copy steps without its optimizer
                    copy.step()  # schedulers on a metric are left out above
    except Exception:  # a user's scheduler may hold what cannot be copied, or step in its own way
        return []
    return rates


def _end(rates: list[float]) -> tuple[int, str] | None:
    """The number of epochs before a schedule ends, and what the rate does then."""
    if len(rates) < 2 or rates[0] == 0:
        return None
    start = len(rates) - 1  # of the constant rates at the end
    while start and rates[start - 1] == rates[-1]:
        start -= 1
    if rates[-1] == 0:
        return start, "is 0"
    if start < len(rates) - 1 and _falls(rates[max(0, start - 2) : start + 1]):
        return start, f"stays at {rates[-1]:.3g}"
    for i in range(2, len(rates) - 2):
        if _falls(rates[i - 2 : i + 1]) and _falls(rates[i : i + 3][::-1]):
            return i, "rises again"
    return None


def _falls(rates: list[float]) -> bool:
    return len(rates) == 3 and rates[0] > rates[1] > rates[2]
