"""Trains a perceptron in Lightning: the check of its rule, its early end, and the weights that it keeps."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from nnfoundations import optim
from nnfoundations.errors import OptionError
from nnfoundations.lightning_modules._numpy_sgd import NumPySGD
from nnfoundations.numpy import Perceptron, PerceptronHistory, PerceptronUpdate, PerceptronWeights

__all__ = ["PerceptronRun", "check_rule"]


def check_rule(optimizer: Optimizer, scheduler: object | None) -> None:
    """Check that a step subtracts what `differentiate` returns, and nothing else.

    Args:
        optimizer: the optimizer of the run.
        scheduler: its learning-rate schedule, if any.

    Raises:
        OptionError: the optimizer or a schedule changes the step.
    """
    names = ("lr", "momentum", "weight_decay")
    given = [{name: group.get(name, 0) for name in names} for group in optimizer.param_groups]
    plain = all(options == {"lr": 1, "momentum": 0, "weight_decay": 0} for options in given)
    if plain and scheduler is None and isinstance(optimizer, NumPySGD | torch.optim.SGD | optim.SGD):
        return
    options = ", ".join(f"{name}={value}" for name, value in given[0].items())
    schedule = "no schedule" if scheduler is None else type(scheduler).__name__
    raise OptionError(
        "Perceptron needs SGD with lr=1, no momentum, no weight_decay and no schedule, which is its rule; "
        f"got {type(optimizer).__name__} with {options} and {schedule}. "
        "Give NumPySGD with lr=1 as the optimizer, and no lr_scheduler."
    )


class PerceptronRun:
    """The state of a perceptron during a fit.

    If the rule does not converge, the pocket's weights replace the current ones after the last step, so that
    the last validation and the last checkpoint use them; also if the run ends otherwise. The replaced weights
    are kept: a run that is resumed from the checkpoint continues with them.

    Args:
        perceptron: shares its arrays with the Parameters.
    """

    def __init__(self, perceptron: Perceptron) -> None:
        self.perceptron = perceptron
        self._replaced: PerceptronWeights | None = None

    def start(self, trainer: Trainer) -> None:
        """Clear the pocket for a new fit, since it may hold results on other data.

        A resumed fit continues with the replaced weights, and stops at once if its last epoch had no mistake.

        Args:
            trainer: at the start of training.
        """
        net = self.perceptron
        if not trainer.ckpt_path:
            net.reset()
        else:
            net.load_weights(self._replaced)
            if net.converged and not trainer.fit_loop.restarted_mid_epoch:
                trainer.should_stop = True
        self._replaced = None

    def step(self, trainer: Trainer) -> None:
        """Count epochs, and hand over the pocket's weights after the last step; call after each step.

        Args:
            trainer: during training.
        """
        if trainer.is_last_batch:  # an epoch that max_steps cuts short proves nothing
            self.perceptron.end_epoch()
        epochs = trainer.current_epoch + trainer.is_last_batch
        if epochs == trainer.max_epochs or trainer.global_step == trainer.max_steps:
            self.hand_over()

    def end_epoch(self, trainer: Trainer) -> None:
        """Stop the run after an epoch without a mistake.

        Args:
            trainer: at the end of an epoch.
        """
        if trainer.is_last_batch and self.perceptron.converged:
            trainer.should_stop = True

    def end(self) -> None:
        """Hand over the pocket's weights, and warn if the run ended before an epoch without a mistake."""
        self.hand_over()
        if self.perceptron.history.mistakes and not self.perceptron.converged:
            rank_zero_warn(self.perceptron.limit_message("the run's last"))

    def hand_over(self) -> None:
        """Replace the weights by the pocket's, and keep them for a resumed run."""
        if self._replaced is None and self.perceptron.pocket is not None and not self.perceptron.converged:
            self._replaced = self.perceptron.copy_weights()
            self.perceptron.load_weights(self.perceptron.pocket)

    def state_dict(self) -> dict[str, Any]:
        """Return numbers, lists and tensors, which load with `weights_only=True`."""
        updates, net = self.perceptron.history.updates, self.perceptron
        weights = np.array([u.weight for u in updates], net.parameters["weight"].dtype)
        return {
            "mistakes": list(net.history.mistakes),
            "epochs": torch.tensor([u.epoch for u in updates], dtype=torch.int64),
            "rows": torch.tensor([u.row for u in updates], dtype=torch.int64),
            "weights": torch.from_numpy(weights),
            "biases": torch.tensor([u.bias for u in updates], dtype=torch.float64),
            "pocket": _to_plain(net.pocket),
            "candidate": _to_plain(net.candidate),
            "waiting": _to_plain(self._replaced),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state.

        Args:
            state: what `state_dict` returned.
        """
        net = self.perceptron
        columns = zip(
            state["epochs"].tolist(),
            state["rows"].tolist(),
            state["weights"].numpy(),
            state["biases"].tolist(),
            strict=True,
        )
        mistakes = list(state["mistakes"])
        net.history = PerceptronHistory([PerceptronUpdate(*row) for row in columns], mistakes)
        net.converged = bool(mistakes) and mistakes[-1] == 0
        net.pocket, net.candidate = _from_plain(state["pocket"]), _from_plain(state["candidate"])
        self._replaced = _from_plain(state["waiting"])


def _to_plain(weights: PerceptronWeights | None) -> dict[str, Any] | None:
    if weights is None:
        return None
    weight, bias = torch.from_numpy(weights.weight), torch.from_numpy(weights.bias)
    return {"weight": weight, "bias": bias, "errors": weights.errors, "rows": weights.rows}


def _from_plain(saved: dict[str, Any] | None) -> PerceptronWeights | None:
    if saved is None:
        return None
    return PerceptronWeights(saved["weight"].numpy(), saved["bias"].numpy(), saved["errors"], saved["rows"])
