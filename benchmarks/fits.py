"""Measure test accuracy, wall time and CPU time of `nnfoundations fit --config NAME`, one process per fit.

    python benchmarks/fits.py ROWS.csv NAME... [--seeds 0 1 2] [--options="--trainer.max_epochs 1"]

The seed sets the initial weights and the order of the data; the split stays the same. Rows of the file with
other names or options are kept. Data sets are found in NNFOUNDATIONS_DATA.
"""

import argparse
import csv
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import modules
import torch


def fit(name: str, seed: int, options: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as root:
        command = ["fit", "--config", name, "--trainer.default_root_dir", root, *shlex.split(options)]
        command += ["--seed_everything", str(seed), "--data.seed", str(seed)]
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "nnfoundations", *command], capture_output=True, text=True, check=True
        )
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    # a row of the closing table: test/accuracy  0.9806
    (row,) = (line for line in done.stdout.splitlines() if "test/accuracy " in line)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"config": name, "options": options, "seed": seed, "test_accuracy": float(row.split()[-1])}
    found |= {"seconds": round(seconds), "cpu_seconds": round(cpu)}
    return found | modules.machine("cuda" if torch.cuda.is_available() else "cpu")


def rows_to_keep(path: Path, names: list[str], options: str) -> list[dict[str, Any]]:
    """Return the rows of the file that are not measured again."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [row for row in rows if row["config"] not in names or row["options"] != options]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path, metavar="ROWS.csv")
    parser.add_argument("names", nargs="+", metavar="NAME", help="packaged configs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--options", default="", help="options of `fit` in one string, after an equals sign")
    chosen = parser.parse_args()
    rows = rows_to_keep(chosen.output, chosen.names, chosen.options)
    for name in chosen.names:
        for seed in chosen.seeds:
            rows.append(fit(name, seed, chosen.options))
            print("{config} {options} seed {seed}: {test_accuracy:.4f} in {seconds} s".format(**rows[-1]))
            modules.write(chosen.output, rows)


if __name__ == "__main__":
    main()
