"""The learning rate of each arm.

`python -m nnfoundations.labs.activations.tuning FOLDER` runs the trials that the folder lacks and writes
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
    from nnfoundations.labs.activations.lab import LAB
    from nnfoundations.labs.activations.measure import read_fit

    TUNING.tune(LAB.arms, Path(sys.argv[1]), read_fit, sys.argv[2:])
