"""Time the quick preset of each lab: wall time of the command with two jobs, and CPU time of its runs.

    python benchmarks/labs.py [ROWS.csv] [--only NAME]

Start, figures, notebook and report are in the wall time. A lab states the CPU time of each preset
in its `lab.py`; the rows have both.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nnfoundations.cli.run._environment import versions
from nnfoundations.labs import Lab, find_labs

COLUMNS = ("lab", "runs", "wall_seconds", "cpu_seconds", "stated_seconds", "torch")


def timed(lab: Lab) -> dict[str, str | float]:
    """Run the quick preset in a new process and folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "nnfoundations", "lab", lab.name, "--preset", "quick", "--jobs", "2"]
        start = time.perf_counter()
        subprocess.run([sys.executable, *command, "--out", folder], check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - start
        with (Path(folder) / "timings.csv").open(newline="") as stream:
            cpu = [float(row["cpu_seconds"]) for row in csv.DictReader(stream)]
    return {
        "lab": lab.name,
        "runs": len(cpu),
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(sum(cpu), 1),
        "stated_seconds": lab.presets["quick"].seconds,
        "torch": versions()["torch"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", default=[])
    given = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"
    rows = []
    for lab in find_labs().values():
        if not given.only or lab.name in given.only:
            rows.append(timed(lab))
            print(
                "{lab:<16}{wall_seconds:>7.1f} s, CPU {cpu_seconds:>6.1f} of {stated_seconds} s".format(
                    **rows[-1]
                )
            )
    if given.rows:
        with given.rows.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
