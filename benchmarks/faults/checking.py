"""Do the programs do what they are meant to do? Healthy runs must train and faulty ones must be harmed."""

import math
import statistics
import time
from typing import Any

from program import Program, fault_named
from training import Curve, Key, program_named, trained

__all__ = ["check", "counted", "sound"]

MIN_HARM = 0.05
"""Least share of what a healthy twin gains over chance that a faulty run must lose."""
MAX_RISE = 0.25
"""A healthy run ends at most this far above its lowest validation loss; else it overfits."""


def check(key: Key, short: bool = False) -> dict[str, Any]:
    """Train without any tool."""
    curve, start, error = Curve(), time.process_time(), ""
    try:
        trained(key, [curve], short)
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}".replace("\n", " ")[:120]
    values = curve.values.get(program_named(key[0]).metric, [math.nan])
    losses = curve.values.get("val_loss", [math.nan])
    return {
        "metric": f"{values[-1]:.5g}",
        "loss": f"{losses[-1]:.5g}",
        "lowest_loss": f"{min(losses):.5g}",
        "cpu_seconds": f"{time.process_time() - start:.1f}",
        "error": error,
    }


def sound(program: Program, row: dict[str, str]) -> bool:
    """Whether a healthy run trains: the level is reached, and the validation loss did not rise again."""
    metric, loss, lowest = float(row["metric"]), float(row["loss"]), float(row["lowest_loss"])
    reached = metric <= program.level if program.lower else metric >= program.level
    return reached and not row["error"] and not loss - lowest > MAX_RISE * abs(lowest)


def harm(value: float, twins: list[float], chance: float, sign: int) -> float:
    """The share of the twins' gain over chance that is lost, 0 if not worse than the worst seed of the twin.

    `sign` is 1 if higher values are better, else -1.
    """
    if not math.isfinite(value):
        return 1.0
    twin = statistics.mean(twins)
    worse = sign * value < min(sign * twin for twin in twins)
    return min(sign * (twin - value) / abs(twin - chance), 9.99) if worse else 0.0


def counted(rows: list[dict[str, str]]) -> dict[Key, tuple[bool, float]]:
    """For each run, whether it counts, and the harm (0 for a healthy run)."""
    healthy = [row for row in rows if not row["fault"] and sound(program_named(row["program"]), row)]
    counts: dict[Key, tuple[bool, float]] = {}
    for row in rows:
        program = program_named(row["program"])
        twins = [twin for twin in healthy if twin["program"] == program.id]
        lost, counts_here = 0.0, row in twins
        if row["fault"] and twins and not row["error"]:
            fault = fault_named(program, row["fault"])
            column, chance = ("metric", program.chance) if fault.chance is None else ("loss", fault.chance)
            higher = column == "metric" and not program.lower
            sign = (1 if higher else -1) * (-1 if fault.flatters else 1)
            lost = harm(float(row[column]), [float(twin[column]) for twin in twins], chance, sign)
            counts_here = lost >= MIN_HARM
        counts[program.id, row["fault"], int(row["seed"])] = counts_here, lost
    return counts
