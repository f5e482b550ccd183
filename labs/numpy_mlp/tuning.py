"""Chooses the learning rate of each arm on the validation part, with a seed that no run of the lab uses.

`python -m nnfoundations.labs.numpy_mlp.tuning FOLDER` runs what is missing in FOLDER and writes `tuning.csv`
here. The configs have the rates that it found; a test compares them.
"""

import csv
import io
import sys
from pathlib import Path
from typing import NamedTuple

from nnfoundations.cli import write_whole
from nnfoundations.labs._runner.tuning import TRIAL_SEED, carry_out_trial
from nnfoundations.labs.numpy_mlp.lab import LAB

__all__ = ["GRIDS", "TUNING", "Grid", "best_rates", "main"]

TUNING = Path(__file__).parent / "tuning.csv"


class Grid(NamedTuple):
    """Rates of an arm, each twice the one before.

    Args:
        rates: what is tried.
        option: of `fit`: the rate.
    """

    rates: tuple[float, ...]
    option: str = "--model.init_args.optimizer.init_args.lr"


PEAK = "--model.init_args.lr_scheduler.init_args.max_lr"
GRIDS = {
    "sgd": Grid((0.05, 0.1, 0.2, 0.4, 0.8)),
    "momentum": Grid((0.01, 0.02, 0.04, 0.08)),
    "schedule": Grid((0.02, 0.04, 0.08, 0.16), PEAK),
    "decay": Grid((0.02, 0.04, 0.08, 0.16, 0.32), PEAK),
    **{arm: Grid((0.001, 0.002, 0.004, 0.008), PEAK) for arm in ("adamw", "affine", "elastic")},
    "norm": Grid((0.004, 0.008, 0.016, 0.032), PEAK),
    "average": Grid((0.004, 0.008, 0.016, 0.032), PEAK),
    "linear": Grid((0.01, 0.02, 0.04, 0.08, 0.16)),
    "width_16": Grid((0.02, 0.04, 0.08, 0.16)),
    "width_128": Grid((0.02, 0.04, 0.08, 0.16, 0.32, 0.64)),
    "width_1024": Grid((0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)),
    "depth_2": Grid((0.02, 0.04, 0.08, 0.16, 0.32)),
    "depth_4": Grid((0.02, 0.04, 0.08, 0.16, 0.32)),
    "depth_8": Grid((0.02, 0.04, 0.08, 0.16)),
}


def best_rates() -> dict[str, float]:
    """Find the rate with the highest accuracy for each arm; of equal ones that with the lower loss.

    Returns:
        The rates by arm, from `tuning.csv`.
    """
    best: dict[str, dict[str, str]] = {}
    with TUNING.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["arm"] not in best or _order(row) > _order(best[row["arm"]]):
                best[row["arm"]] = row
    return {arm: float(row["rate"]) for arm, row in best.items()}


def _order(row: dict[str, str]) -> tuple[float, float]:
    return float(row["accuracy"]), -float(row["loss"])


def main(folder: Path) -> None:
    """Run what is missing, and write the table.

    Args:
        folder: of the runs.
    """
    arms = {arm.name: arm for arm in LAB.arms}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("arm", "rate", "seed", "accuracy", "loss"))
    for name, grid in GRIDS.items():
        for rate in grid.rates:
            arm = arms[name]
            config = arm.config or f"{LAB.name}/{name}"
            row = carry_out_trial(arm, config, grid.option, rate, folder, LAB.measure)
            table.writerow((name, rate, TRIAL_SEED, *row.numbers(("accuracy", "loss"))))
    write_whole(TUNING, text.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
