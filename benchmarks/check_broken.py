"""Which check catches which fault: `nnfoundations check` on models with one fault each, and on sound ones.

python benchmarks/check_broken.py [FILE.csv]: a row a model, a column a check.
"""

import csv
import sys
from pathlib import Path
from time import perf_counter

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from broken import BROKEN  # the models are those of the tests

from nnfoundations.check import CHECKS, check
from nnfoundations.datamodules import DigitsDataModule


def main() -> None:
    rows = []
    for name, build in BROKEN.items():
        torch.manual_seed(0)
        model = build()
        start = perf_counter()
        verdicts = {verdict.check: verdict for verdict in check(model, DigitsDataModule(batch_size=32))}
        seconds = perf_counter() - start
        states = {column: str(verdicts[column].state) if column in verdicts else "" for column in CHECKS}
        rows.append({"model": name, **states, "seconds": f"{seconds:.1f}"})
        print(
            name,
            *(f"\n    {v.state} {v.check}: {v.measured}" for v in verdicts.values() if v.state != "pass"),
            flush=True,
        )
    if len(sys.argv) > 1:
        with Path(sys.argv[1]).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
