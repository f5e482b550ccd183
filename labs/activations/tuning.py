"""The learning rate of each arm.

`python -m nnfoundations.labs.activations.tuning FOLDER` runs the trials that the folder lacks and writes
`tuning.csv` beside this file.
"""

import sys
from pathlib import Path

from nnfoundations.labs._runner.tuning import Tuning

__all__ = ["GRID", "TUNING", "main"]

GRID = (0.01, 0.03, 0.1)
TUNING = Tuning(
    Path(__file__).parent / "tuning.csv", GRID, (0.0001, 0.0003, 0.001, 0.003, *GRID, 0.3, 1.0, 3.0)
)


def main(folder: Path, only: list[str]) -> None:
    """Run the missing trials and write the table, unless only some arms are tuned.

    Args:
        folder: of the trials.
        only: names of arms; empty means all.
    """
    from nnfoundations.labs.activations.lab import LAB
    from nnfoundations.labs.activations.measure import read_fit

    TUNING.tune(LAB.arms, folder, read_fit, only)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
