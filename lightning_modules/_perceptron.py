"""What a perceptron needs of Lightning beyond a net with gradients: its own rule, and its history kept."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from nnfoundations import optim
from nnfoundations._errors import OptionError
from nnfoundations.numpy import Perceptron
from nnfoundations.numpy._perceptron import History, Update


def check_rule(optimizer: Optimizer, scheduler: object | None, own: type[Optimizer]) -> None:
    """Raises: OptionError: the optimizer does other than subtract what `differentiate` gives."""
    names = ("lr", "momentum", "weight_decay")
    came = [{name: group.get(name, 0) for name in names} for group in optimizer.param_groups]
    plain = all(options == {"lr": 1, "momentum": 0, "weight_decay": 0} for options in came)
    if plain and scheduler is None and isinstance(optimizer, (own, torch.optim.SGD, optim.SGD)):
        return
    options = ", ".join(f"{name}={value}" for name, value in came[0].items())
    schedule = "no schedule" if scheduler is None else type(scheduler).__name__
    raise OptionError(
        "Perceptron needs SGD with lr=1, no momentum, no weight_decay and no schedule, which is its rule; "
        f"got {type(optimizer).__name__} with {options} and {schedule}. "
        "Give NumPySGD with lr=1 as the optimizer, and no lr_scheduler."
    )


def say_what_is_left(perceptron: Perceptron) -> None:
    """A warning where the run's limit came before an epoch without a mistake."""
    mistakes = perceptron.history.mistakes
    if mistakes and not perceptron.converged:
        rank_zero_warn(
            f"Perceptron: still {mistakes[-1]} mistakes in epoch {len(mistakes)}, the run's last. Either no "
            "plane separates the classes, or max_epochs is too low. The weights are the last epoch's; "
            "Perceptron.fit keeps those with the fewest errors."
        )


def plain(history: History) -> dict[str, Any]:
    """As a strict checkpoint takes it."""
    updates = [(u.epoch, u.row, u.weight.tolist(), u.bias) for u in history.updates]
    return {"mistakes": list(history.mistakes), "updates": updates}


def restored(saved: dict[str, Any], dtype: np.dtype[Any]) -> History:
    updates = [Update(epoch, row, np.array(w, dtype), bias) for epoch, row, w, bias in saved["updates"]]
    return History(updates, list(saved["mistakes"]))
