"""What a perceptron needs of Lightning beyond a net with gradients: its rule, its end, and its pocket."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from nnfoundations import optim
from nnfoundations._errors import OptionError
from nnfoundations.lightning_modules._numpy_sgd import NumPySGD
from nnfoundations.numpy import Perceptron
from nnfoundations.numpy._perceptron import Candidate, History, Update

__all__ = ["PerceptronRun", "check_rule"]


def check_rule(optimizer: Optimizer, scheduler: object | None) -> None:
    """Raises: OptionError: the optimizer does other than subtract what `differentiate` gives."""
    names = ("lr", "momentum", "weight_decay")
    came = [{name: group.get(name, 0) for name in names} for group in optimizer.param_groups]
    plain = all(options == {"lr": 1, "momentum": 0, "weight_decay": 0} for options in came)
    if plain and scheduler is None and isinstance(optimizer, NumPySGD | torch.optim.SGD | optim.SGD):
        return
    options = ", ".join(f"{name}={value}" for name, value in came[0].items())
    schedule = "no schedule" if scheduler is None else type(scheduler).__name__
    raise OptionError(
        "Perceptron needs SGD with lr=1, no momentum, no weight_decay and no schedule, which is its rule; "
        f"got {type(optimizer).__name__} with {options} and {schedule}. "
        "Give NumPySGD with lr=1 as the optimizer, and no lr_scheduler."
    )


class PerceptronRun:
    """A perceptron in the course of a fit.

    Where it does not converge, the pocket's weights take the place of its own: after the run's last step, so
    that what is validated and saved there is what one gets, and however else the run ends. Its own wait for a
    run that goes on from the checkpoint, as if nothing had been exchanged.

    Args: perceptron: whose arrays are the Parameters' at each call.
    """

    def __init__(self, perceptron: Perceptron) -> None:
        self.perceptron = perceptron
        self._waiting: Candidate | None = None

    def start(self, trainer: Trainer) -> None:
        """A new fit has no pocket yet: what was judged on other data says nothing. One that goes on has.

        It goes on from the rule's own weights, and stops at once where the last epoch had no mistake.
        """
        net = self.perceptron
        if not trainer.ckpt_path:
            net.forget()
        else:
            net.take(self._waiting)
            if net.converged and not trainer.fit_loop.restarted_mid_epoch:
                trainer.should_stop = True
        self._waiting = None

    def step(self, trainer: Trainer) -> None:
        """After each step of the optimizer."""
        if trainer.is_last_batch:  # a part of an epoch, which max_steps leaves, is no proof
            self.perceptron.end_epoch()
        epochs = trainer.current_epoch + trainer.is_last_batch
        if epochs == trainer.max_epochs or trainer.global_step == trainer.max_steps:
            self.hand_over()

    def end_epoch(self, trainer: Trainer) -> None:
        if trainer.is_last_batch and self.perceptron.converged:
            trainer.should_stop = True

    def end(self) -> None:
        """A warning where the run's limit came before an epoch without a mistake."""
        self.hand_over()
        if self.perceptron.history.mistakes and not self.perceptron.converged:
            rank_zero_warn(self.perceptron.what_is_left("the run's last"))

    def hand_over(self) -> None:
        if self._waiting is None and self.perceptron.pocket is not None and not self.perceptron.converged:
            self._waiting = self.perceptron.weights()
            self.perceptron.take(self.perceptron.pocket)

    def state_dict(self) -> dict[str, Any]:
        """As a strict checkpoint takes it: numbers, lists and tensors."""
        updates, net = self.perceptron.history.updates, self.perceptron
        weights = np.array([u.weight for u in updates], net.parameters["weight"].dtype)
        return {
            "mistakes": list(net.history.mistakes),
            "epochs": torch.tensor([u.epoch for u in updates], dtype=torch.int64),
            "rows": torch.tensor([u.row for u in updates], dtype=torch.int64),
            "weights": torch.from_numpy(weights),
            "biases": torch.tensor([u.bias for u in updates], dtype=torch.float64),
            "pocket": _plain(net.pocket),
            "candidate": _plain(net.candidate),
            "waiting": _plain(self._waiting),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        net = self.perceptron
        columns = zip(
            state["epochs"].tolist(),
            state["rows"].tolist(),
            state["weights"].numpy(),
            state["biases"].tolist(),
            strict=True,
        )
        mistakes = list(state["mistakes"])
        net.history = History([Update(*row) for row in columns], mistakes)
        net.converged = bool(mistakes) and mistakes[-1] == 0
        net.pocket, net.candidate = _restored(state["pocket"]), _restored(state["candidate"])
        self._waiting = _restored(state["waiting"])


def _plain(one: Candidate | None) -> dict[str, Any] | None:
    if one is None:
        return None
    weight, bias = torch.from_numpy(one.weight), torch.from_numpy(one.bias)
    return {"weight": weight, "bias": bias, "errors": one.errors, "rows": one.rows}


def _restored(saved: dict[str, Any] | None) -> Candidate | None:
    if saved is None:
        return None
    return Candidate(saved["weight"].numpy(), saved["bias"].numpy(), saved["errors"], saved["rows"])
