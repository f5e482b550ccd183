"""The learning rate of each arm: the best of a grid, on validation data, with a seed that no run uses.

`python -m nnfoundations.labs.activations.tuning FOLDER` runs the trials that the folder lacks and writes
`tuning.csv` beside this file. Every arm gets the same grid. If the best rate is at an end, the grid of this
arm is extended. A trial that diverged counts as one, and says to go lower.
"""

import csv
import math
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nnfoundations.labs._runner.lab import Arm

if TYPE_CHECKING:
    from nnfoundations.labs._runner.run import Row

__all__ = ["GRID", "RATE", "rates", "trials"]

GRID = (0.01, 0.03, 0.1)
WIDER = (0.0001, 0.0003, 0.001, 0.003, *GRID, 0.3, 1.0, 3.0)
RATE = "--model.init_args.optimizer.init_args.lr"
TABLE = Path(__file__).parent / "tuning.csv"
COLUMNS = ("arm", "rate", "state", "accuracy", "loss")


@cache
def trials() -> dict[str, dict[float, float]]:
    """Read the trials.

    Returns:
        The validation accuracy in % by arm and rate; NaN for a trial that failed.
    """
    found: dict[str, dict[float, float]] = {}
    if TABLE.exists():
        with TABLE.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                found.setdefault(row["arm"], {})[float(row["rate"])] = float(row["accuracy"])
    return found


def rates() -> dict[str, float]:
    """Choose a rate for each arm: the highest accuracy; of equal ones the middle, the lower of two.

    Returns:
        The rate by arm; the lowest if all trials of an arm diverged.
    """
    return {arm: _best(accuracies) for arm, accuracies in trials().items()}


def _best(accuracies: dict[float, float]) -> float:
    top = max((value for value in accuracies.values() if not math.isnan(value)), default=math.nan)
    equal = sorted(rate for rate, value in accuracies.items() if value == top) or [min(accuracies)]
    return equal[(len(equal) - 1) // 2]


def _tune(arm: Arm, folder: Path) -> Iterator["Row"]:
    """Carry out the trials of an arm, or take those that have ended."""
    from nnfoundations.labs._runner.tuning import carry_out_trial
    from nnfoundations.labs.activations.measure import read_fit

    accuracies: dict[float, float] = {}
    missing = list(GRID)
    while missing:
        for rate in missing:
            row = carry_out_trial(arm, arm.config, RATE, rate, folder, read_fit)
            accuracies[rate] = _accuracy(row)
            yield row
        i = WIDER.index(_best(accuracies))
        missing = [rate for rate in WIDER[max(i - 1, 0) : i + 2] if rate not in accuracies]


def _accuracy(row: "Row") -> float:
    """NaN if the loss is: such weights guess the first class."""
    accuracy, loss = row.numbers(("accuracy", "loss"))
    return accuracy if math.isfinite(loss) else math.nan


def main(folder: Path, only: list[str]) -> None:
    """Run the missing trials and write the table, unless only some arms are tuned.

    Args:
        folder: of the trials.
        only: names of arms; empty means all.
    """
    from nnfoundations.cli import write_whole
    from nnfoundations.labs.activations.lab import LAB

    lines = [",".join(COLUMNS)]
    for arm in LAB.arms:
        for row in _tune(arm, folder) if not only or arm.name in only else ():
            name, _, rate = row.arm.rpartition("_")
            (loss,) = row.numbers(("loss",))
            lines.append(f"{name},{rate},{row.state},{_accuracy(row):.6g},{loss:.6g}")
            print(lines[-1], f"{row.cpu_seconds:.1f} s", flush=True)
    if not only:
        write_whole(TABLE, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
