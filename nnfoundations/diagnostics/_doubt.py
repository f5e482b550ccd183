"""Decides whether a run gives reason to measure activations more often, or in more detail."""

import numpy as np

from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import smooth, stuck, without_gradient

__all__ = ["not_learning", "searches", "unsettled"]

SUSPECT = 0.8
"""Share of silent units in a layer above which further measurements prove whether they are dead."""

KNOWS = 0.9
"""Loss over that of the best constant prediction, above which the outputs may not depend on the inputs."""

FIRST = 30
"""Losses needed before a loss counts as not falling."""


def not_learning(history: History) -> bool:
    """Return whether the loss has not fallen, or is no better than that of a constant prediction."""
    if "loss" in history.unavailable:
        return False
    constant = history["constant_loss"]
    if len(constant) and smooth(history["loss"].rows[:, 0], 20) > KNOWS * constant.rows[-1, 0] > 0:
        return True
    return stuck(history, 0.9)


def searches(history: History) -> bool:
    """Return whether to measure where samples become equal and where the gradient ends."""
    if without_gradient(history):
        return True
    return len(history["loss"]) >= FIRST and not_learning(history)


def unsettled(history: History) -> bool:
    """Return whether the last measurement shows silent units that it could not prove dead, or no gradient."""
    silent, dead = history["silent_share"], history["dead_share"]
    if len(silent) and len(dead) and silent.columns == dead.columns:
        now = silent.rows[-1]
        if bool(np.any((now >= SUSPECT) & (dead.rows[-1] < now))):
            return True
    return without_gradient(history) > 1 and not len(history["output_gradient"])
