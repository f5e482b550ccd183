"""The learning rate of each arm that has its own.

`python -m nnfoundations.labs.normalization.tuning FOLDER` runs the trials that the folder lacks and writes
`tuning.csv` beside this file.
"""

import sys
from pathlib import Path

from nnfoundations.labs._runner.tuning import Tuning

__all__ = ["GRID", "TUNING"]

GRID = (0.01, 0.03, 0.1)
TUNING = Tuning(
    Path(__file__).parent / "tuning.csv", GRID, (0.0001, 0.0003, 0.001, 0.003, *GRID, 0.3, 1.0, 3.0)
)

if __name__ == "__main__":
    from nnfoundations.labs.normalization.lab import TUNED_ARMS
    from nnfoundations.labs.normalization.measure import read_fit

    TUNING.tune(TUNED_ARMS, Path(sys.argv[1]), read_fit, sys.argv[2:])
