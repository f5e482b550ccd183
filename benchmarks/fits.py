"""Test accuracy, wall time and CPU time of `nnfoundations fit --config NAME`, each a command of its own.

    python benchmarks/fits.py ROWS.csv NAME...

Rows of other names that are in the file stay. Data: NNFOUNDATIONS_DATA.
"""

import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import modules
import torch


def fit(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as root:
        command = ["-m", "nnfoundations", "fit", "--config", name, "--trainer.default_root_dir", root]
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    # A row of the closing table: │ test/accuracy │ 0.9806 │
    (row,) = (line for line in done.stdout.splitlines() if "test/accuracy " in line)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"config": name, "test_accuracy": float(row.split()[-1])}
    found |= {"seconds": round(seconds), "cpu_seconds": round(cpu)}
    return found | modules.machine("cuda" if torch.cuda.is_available() else "cpu")


def main(path: Path, names: list[str]) -> None:
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["config"] not in names]
    for name in names:
        rows.append(fit(name))
        print("{config}  accuracy {test_accuracy:.4f}  {seconds} s, {cpu_seconds} s CPU".format(**rows[-1]))
        modules.write(path, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
