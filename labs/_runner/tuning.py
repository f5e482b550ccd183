"""The learning rate of each arm: the best of a grid on validation data, with a seed that no run uses."""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnfoundations.cli import write_whole
from nnfoundations.labs._runner.lab import Arm, Measured
from nnfoundations.labs._runner.run import Row, Run, carry_out

__all__ = ["RATE", "TRIAL_SEED", "Tuning", "carry_out_trial"]

TRIAL_SEED = 100
RATE = "--model.init_args.optimizer.init_args.lr"
"""The option of `fit` that sets the rate."""
COLUMNS = ("arm", "rate", "state", "accuracy", "loss")


def carry_out_trial(
    arm: Arm, config: str, option: str, rate: float, folder: Path, measure: Callable[[Path], Measured]
) -> Row:
    """Run a trial, or take one that has ended.

    Args:
        arm: whose rate is tuned. The rate that it has now does not matter.
        config: what `fit --config` takes.
        option: of `fit`: the rate.
        rate: the one to try.
        folder: of the trials.
        measure: reads the numbers from the folder of a run.

    Returns:
        Its row; the name of the arm ends with the rate.
    """
    others = list(arm.options)
    if option in others:
        start = others.index(option)
        del others[start : start + 2]
    options = (*others, option, str(rate))
    trial = replace(arm, name=f"{arm.name}_{rate}", config=config, options=options)
    run = Run(trial, TRIAL_SEED, folder, (), measure)
    return run.ended() or carry_out(run)


@dataclass(frozen=True)
class Tuning:
    """Trials of the same grid for every arm. An arm whose best rate is at an end of it gets further ones.

    A trial that diverged counts as one, and says to go lower.

    Args:
        table: `tuning.csv` of a lab: the trials.
        grid: rates that every arm tries.
        wider: the grid with the rates around it by which it may be extended.
    """

    table: Path
    grid: tuple[float, ...]
    wider: tuple[float, ...]

    def trials(self) -> dict[str, dict[float, float]]:
        """Read the trials.

        Returns:
            The validation accuracy in % by arm and rate; NaN for a trial that failed.
        """
        found: dict[str, dict[float, float]] = {}
        if self.table.exists():
            with self.table.open(newline="", encoding="utf-8") as stream:
                for row in csv.DictReader(stream):
                    found.setdefault(row["arm"], {})[float(row["rate"])] = float(row["accuracy"])
        return found

    def rates(self) -> dict[str, float]:
        """Choose a rate for each arm: the highest accuracy; of equal ones the middle, the lower of two.

        Returns:
            The rate by arm; the lowest if all trials of an arm diverged.
        """
        return {arm: _best(accuracies) for arm, accuracies in self.trials().items()}

    def tune(
        self, arms: Sequence[Arm], folder: Path, measure: Callable[[Path], Measured], only: Sequence[str] = ()
    ) -> None:
        """Run the missing trials and write the table, unless only some arms are tuned.

        Args:
            arms: with complete configs.
            folder: of the trials.
            measure: reads `accuracy` and `loss` from the folder of a run.
            only: names of arms; empty means all.
        """
        lines = [",".join(COLUMNS)]
        for arm in arms:
            for row in self._tune_arm(arm, folder, measure) if not only or arm.name in only else ():
                name, _, rate = row.arm.rpartition("_")
                (loss,) = row.numbers(("loss",))
                lines.append(f"{name},{rate},{row.state},{_accuracy(row):.6g},{loss:.6g}")
                print(lines[-1], f"{row.cpu_seconds:.1f} s", flush=True)
        if not only:
            write_whole(self.table, "\n".join(lines) + "\n")

    def _tune_arm(self, arm: Arm, folder: Path, measure: Callable[[Path], Measured]) -> Iterator[Row]:
        """Carry out the trials of an arm, or take those that have ended."""
        accuracies: dict[float, float] = {}
        missing = list(self.grid)
        while missing:
            for rate in missing:
                row = carry_out_trial(arm, arm.config, RATE, rate, folder, measure)
                accuracies[rate] = _accuracy(row)
                yield row
            i = self.wider.index(_best(accuracies))
            missing = [rate for rate in self.wider[max(i - 1, 0) : i + 2] if rate not in accuracies]


def _best(accuracies: dict[float, float]) -> float:
    top = max((value for value in accuracies.values() if not math.isnan(value)), default=math.nan)
    equal = sorted(rate for rate, value in accuracies.items() if value == top) or [min(accuracies)]
    return equal[(len(equal) - 1) // 2]


def _accuracy(row: Row) -> float:
    """NaN if the loss is: such weights guess the first class."""
    accuracy, loss = row.numbers(("accuracy", "loss"))
    return accuracy if math.isfinite(loss) else math.nan
