"""Whether the remedy of a finding helps: apply it, train again, and compare with the healthy twin.

    python benchmarks/diagnostics_remedies.py [--output ROWS.csv] [--seeds 1] [--only FAULT ...]

For each fault of tests/faults.py whose remedy a program can apply (`remedies.py`), three runs of the same
length: with the fault, with the fault and the remedy of the first finding, and the twin. Their scores on
validation data are accuracy, area under the ROC curve (two classes) or squared correlation (regression). The
gain is the part of the way from the fault's score to the twin's. It is good from 0.95 on. Where the fault
costs less than 0.02, no gain can be measured.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import numpy as np
import torch
from faults import FAULTS, Case, Fault
from remedies import REMEDIES
from rows import run_quietly, write_rows
from sklearn.metrics import roc_auc_score
from torch import Tensor
from zoo import run

from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import Finding

GOOD, LEAST_HARM, STEPS = 0.95, 0.02, 500


def trained(case: Case, seed: int) -> tuple[float, tuple[Finding, ...]]:
    """Train a case and return its score on validation data, and the findings."""
    torch.manual_seed(seed)
    module = case.build()
    diagnostics = Diagnostics(verbose=False)
    run(module, max(case.steps, STEPS), case.data, diagnostics=diagnostics, **case.options)
    torch.nn.Module.train(module.float(), False)
    assert case.data is not None
    with torch.no_grad():
        pairs = [(module(x), module.target(x, y)) for x, y in case.data[1]]
    out, y = (torch.cat(part) for part in zip(*pairs, strict=True))
    return score(out, y), tuple(diagnostics.findings)


def score(out: Tensor, y: Tensor) -> float:
    """From 0 or 0.5 (nothing learned) to 1, whatever the scale of the outputs."""
    if not out.isfinite().all():
        return 0.0
    if not y.is_floating_point():
        return float((out.flatten(0, -2).argmax(1) == y.flatten()).float().mean())
    rows, targets = (
        out.reshape(-1, out.shape[-1]).double().numpy(),
        y.reshape(-1, y.shape[-1]).double().numpy(),
    )
    if len(np.unique(targets)) == 2:
        return float(np.mean([roc_auc_score(t > t.min(), o) for t, o in zip(targets.T, rows.T, strict=True)]))
    if rows.std() == 0:
        return 0.0
    return max(0.0, float(np.corrcoef(rows.ravel(), targets.ravel())[0, 1])) ** 2


def tried(fault: Fault, net: str, seed: int) -> dict[str, Any] | None:
    """Three runs; None if no program can apply the remedy of the first finding."""
    broken, findings = trained(fault.broken(net, seed), seed)
    named = findings[0].fault if findings else ""
    remedy = REMEDIES.get(named)
    row = {"fault": fault.id, "net": net, "seed": seed, "named": named, "broken": broken}
    if remedy is None:
        return None
    case = fault.broken(net, seed)
    try:
        remedy(case, findings[0])
    except NotImplementedError:
        return None
    fixed, left = trained(case, seed)
    twin, _ = trained(fault.healthy(net, seed), seed)
    gain = (fixed - broken) / (twin - broken) if twin - broken >= LEAST_HARM else float("nan")
    row |= {"fixed": fixed, "twin": twin, "gain": gain, "left": " ".join(f.fault for f in left)}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def rows(seeds: int, only: list[str]) -> Iterator[dict[str, Any]]:
    for seed in range(seeds):
        for fault in FAULTS:
            for net in fault.nets if not only or fault.id.startswith(tuple(only)) else ():
                row = tried(fault, net, seed)
                if row is not None:
                    yield {**row, "torch": torch.__version__}


def summary(table: list[dict[str, Any]]) -> str:
    counted = [row for row in table if row["gain"] == row["gain"]]
    good = sum(row["gain"] >= GOOD for row in counted)
    return (
        f"remedies with at least {GOOD:.0%} of the way to the twin: {good} of {len(counted)} "
        f"({len(table) - len(counted)} further faults cost less than {LEAST_HARM})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of names of faults")
    given = parser.parse_args()
    run_quietly()
    table = []
    for row in rows(given.seeds, given.only):
        table.append(row)
        if not row["gain"] >= GOOD:
            print("{fault} {net} seed {seed}: {named}, broken {broken}, fixed {fixed}, twin {twin}, "
                  "gain {gain}, left: {left}".format(**row), flush=True)  # fmt: skip
        if given.output:  # after each row, because the whole table takes an hour
            write_rows(given.output, table)
    print(summary(table))


if __name__ == "__main__":
    main()
