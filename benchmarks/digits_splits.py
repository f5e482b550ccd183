"""Test accuracy of `nnfoundations fit --config digits` over five stratified splits.

    python benchmarks/digits_splits.py [ROWS.csv]

Split k also seeds initialisation and order with k. Each split is a command of its own, timed from a cold
start. Prints the table and writes the rows, which the README quotes.
"""

import csv
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nnfoundations.cli._environment import versions

SPLITS = range(5)


def fit(split: int, root: str) -> dict[str, str | float]:
    start = time.perf_counter()
    command = ["-m", "nnfoundations", "fit", "--config", "digits", "--trainer.default_root_dir", root]
    command += ["--seed_everything", str(split), "--data.init_args.seed", str(split)]
    command += ["--data.init_args.split_seed", str(split)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    # A row of the closing table: │ test/accuracy │ 0.9806 │
    (row,) = (line for line in done.stdout.splitlines() if "test/accuracy " in line)
    return {"split": split, "test_accuracy": float(row.split()[-1]), "seconds": round(seconds, 1)}


def main(path: Path | None) -> None:
    with tempfile.TemporaryDirectory() as root:
        rows = [fit(split, root) for split in SPLITS]
    for row in rows:
        print("split {split}  accuracy {test_accuracy:.4f}  {seconds:.1f} s".format(**row))
    accuracies = [float(row["test_accuracy"]) for row in rows]
    print(f"mean {statistics.mean(accuracies):.4f}  lowest {min(accuracies):.4f}  n {len(rows)}")
    if path:
        machine = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": versions()["torch"]}
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [*rows[0], *machine], lineterminator="\n")
            writer.writeheader()
            writer.writerows({**row, **machine} for row in rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
