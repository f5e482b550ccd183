"""Measure the test accuracy of `nnfoundations fit --config digits` over five stratified splits.

    python benchmarks/digits_splits.py [ROWS.csv]

Split k also seeds the initial weights and the order of the data with k. Each split runs in a new process and
is timed with its start-up. Prints a table and writes the rows that the README quotes.
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

from nnfoundations.cli.run._environment import versions

SPLITS = range(5)


def fit(split: int, root: str) -> dict[str, str | float]:
    start = time.perf_counter()
    command = ["-m", "nnfoundations", "fit", "--config", "digits", "--trainer.default_root_dir", root]
    command += ["--seed_everything", str(split), "--data.seed", str(split)]
    command += ["--data.split_seed", str(split)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    # a row of the closing table: test/accuracy  0.9806
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
