"""Judges each of several optimizers by its own parameters: there is no single loss, as in a GAN."""

from typing import NamedTuple

import numpy as np

from nnfoundations.diagnostics._history import History, Series
from nnfoundations.diagnostics.rules._rule import gain, median, update_ratios

__all__ = ["OneOfSeveral", "one_of_several", "optimizers"]

FIRST = 20
"""Number of first steps that are judged."""


class OneOfSeveral(NamedTuple):
    """An optimizer whose first updates replaced its weights by much larger ones."""

    step: int
    optimizer: int
    kind: str
    worst: str
    ratio: float
    growth: float
    rate: float


def optimizers(history: History) -> int:
    """Return the number of optimizers; 0 if it is unknown."""
    return len({group.optimizer for group in history.groups})


def one_of_several(
    history: History, largest_update: float, largest_growth: float, largest_gain: float
) -> OneOfSeveral | None:
    """Find an optimizer whose updates exceed all limits in the first steps.

    Args:
        history: the measurements of the run.
        largest_update: update / weight of a typical matrix in one of the steps.
        largest_growth: growth of a typical matrix over them.
        largest_gain: gain of a typical matrix after them. Weights may grow from near 0.
    """
    updates = history["update_ratio"]
    if not len(updates) or updates.steps[0] > 5 or history.settings.get("resumed"):
        return None
    step = int(updates.steps[0])
    ratios, chosen = update_ratios(history, updates.between(step, step + FIRST).rows)
    norms = history["weight_norm"].between(step, step + FIRST)
    found: list[tuple[int, OneOfSeveral]] = []
    for optimizer in range(optimizers(history)):
        own = [
            i for i, c in enumerate(chosen) if history.parameters[updates.columns[c]].optimizer == optimizer
        ]
        names = [updates.columns[chosen[i]] for i in own]
        each = np.nan_to_num(np.array([median(row) for row in ratios[:, own]]))
        if not (each > largest_update).any():
            continue  # decides almost every case
        grown = {name: _growth(norms, name) for name in names}
        growth = median(np.array(list(grown.values())))
        gains = median(np.array([gain(history, name) * grown[name] for name in names]))
        if not (growth > largest_growth and gains > largest_gain):
            continue
        columns = [i for i, group in enumerate(history.groups) if group.optimizer == optimizer]
        rates = history["lr"].rows[:1, columns]
        rate = float(np.fmax.reduce(rates[0])) if len(rates) else float("nan")
        kind, worst = history.groups[columns[0]].kind, max(names, key=lambda name: np.nan_to_num(grown[name]))
        at = int(np.argmax(each > largest_update))
        # The first large ratio: later ones show the damage, also that of another optimizer.
        found.append((at, OneOfSeveral(step, optimizer, kind, worst, float(each[at]), growth, rate)))
    return min(found)[1] if found else None


def _growth(norms: Series, name: str) -> float:
    """Return the last norm of a matrix over its first one; optimizers may take turns."""
    values = norms.column(name)
    values = values[np.isfinite(values)]
    return float(values[-1] / values[0]) if len(values) and values[0] else float("nan")
