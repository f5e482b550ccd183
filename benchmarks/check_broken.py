"""Which check finds which fault: `nnfoundations check` on models with one fault each, and on two sound ones.

python benchmarks/check_broken.py [FILE.csv]: one row per model, one column per check.
"""

import csv
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from broken import BROKEN  # the models of the tests

from nnfoundations.check import CHECKS, check
from nnfoundations.datamodules import DigitsDataModule


def row_of(name, build, data):
    """Check a model, print what did not pass, and return its row."""
    torch.manual_seed(0)
    verdicts = {verdict.check: verdict for verdict in check(build(), data)}
    odd = [f"\n    {v.state} {v.check}: {v.measured}" for v in verdicts.values() if v.state != "pass"]
    print(name, *odd, flush=True)
    states = {column: str(verdicts[column].state) if column in verdicts else "" for column in CHECKS}
    return {"model": name, **states}


def write(rows, path):
    with Path(path).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    rows = [row_of(name, build, DigitsDataModule(batch_size=32)) for name, build in BROKEN.items()]
    if len(sys.argv) > 1:
        write(rows, sys.argv[1])


if __name__ == "__main__":
    main()
