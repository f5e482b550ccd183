"""How often diagnostics find the right root cause, and how often they report a fault in a healthy run.

    python benchmarks/diagnostics_accuracy.py [--output ROWS.csv] [--seeds 3] [--only healthy/lora]

Trains each faulty net of tests/faults.py and each healthy one of tests/controls.py with a real Trainer, once
per random seed, with the default time budget. A faulty run is right if the first finding is an accepted root
cause. If the finding must also name a layer, that is counted separately. `by` is the latest step at which the
finding is in time. A healthy run is right if nothing is found.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import torch
from controls import CONTROLS, HELD_OUT
from faults import FAULTS, Case
from rows import run_quietly, write_rows
from zoo import run

from nnfoundations.callbacks import Diagnostics


def diagnosed(case: Case, seed: int) -> tuple[Diagnostics, dict[str, int]]:
    """Train, and record the step at which each finding was reported."""
    came: dict[str, int] = {}
    torch.manual_seed(seed)
    module = case.build()
    diagnostics = Diagnostics(
        verbose=False, on_finding=lambda f: came.setdefault(f.fault, module.trainer.global_step)
    )
    run(module, case.steps, case.data, diagnostics=diagnostics, **case.options)
    return diagnostics, came


def faulty(seed: int, only: list[str]) -> Iterator[dict[str, Any]]:
    for fault in FAULTS:
        for net in fault.nets if not only or fault.id in only else ():
            case = fault.broken(net, seed)
            diagnostics, came = diagnosed(case, seed)
            named = [finding.fault for finding in diagnostics.findings]
            right = bool(named) and named[0] in fault.causes
            where = diagnostics.findings[0].where if right else ()
            placed = fault.where is None or any(fault.where(case) in place for place in where)
            yield {
                "kind": "faulty", "id": fault.id, "net": net, "seed": seed, "right": int(right),
                "placed": int(placed) if right and fault.where is not None else "",
                "extra": len(named) - 1 if right else len(named),
                "step": came[named[0]] if right else "", "by": fault.by, "named": " ".join(named),
            }  # fmt: skip


def healthy(seed: int, only: list[str]) -> Iterator[dict[str, Any]]:
    for kind, controls in (("healthy", CONTROLS), ("held-out", HELD_OUT)):
        for control in controls:
            if only and control.id not in only:
                continue
            torch.manual_seed(seed)
            diagnostics, _ = diagnosed(control.make(), seed)
            named = [finding.fault for finding in diagnostics.findings]
            yield {
                "kind": kind, "id": control.id, "net": control.looks_like, "seed": seed,
                "right": int(not named), "placed": "", "extra": len(named),
                "step": "", "by": "", "named": " ".join(named),
            }  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> str:
    """The rates, one per line."""
    lines = []
    for kind in ("healthy", "held-out"):
        runs = [row for row in rows if row["kind"] == kind]
        if runs:
            lines.append(
                f"{kind} runs with a false alarm: {sum(not row['right'] for row in runs)} of {len(runs)}"
            )
    runs = [row for row in rows if row["kind"] == "faulty"]
    if runs:
        right = [row for row in runs if row["right"]]
        placed = [row["placed"] for row in right if row["placed"] != ""]
        lines += [
            f"faulty runs whose first cause is right: {len(right)} of {len(runs)}",
            f"of these, in time: {sum(row['step'] <= row['by'] for row in right)}",
            f"of these, with a wrong second cause: {sum(row['extra'] > 0 for row in right)}",
            f"of these, with the right layer, if one must be named: {sum(placed)} of {len(placed)}",
            f"median step of the finding: {statistics.median(row['step'] for row in right):g}",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[])
    given = parser.parse_args()
    run_quietly()
    rows = []
    for seed in range(given.seeds):
        for row in (*faulty(seed, given.only), *healthy(seed, given.only)):
            rows.append({**row, "torch": torch.__version__})
            if not row["right"] or row["extra"]:
                print("not right: {kind} {id} {net}, seed {seed}: {named}".format(**row), flush=True)
    print(summary(rows))
    if given.output:
        write_rows(given.output, rows)


if __name__ == "__main__":
    main()
