"""Measures what diagnostics add to a step: two equal trainings in turn, one with diagnostics.

    python benchmarks/diagnostics_step.py [--output ROWS.csv] [--nets mlp-64 cnn] [--steps 2000] [--pairs 8]

Both start from one seed and see the same batches, 25 steps at a time, so anything that slows the machine
slows both. They take turns in going first. Two trainings without diagnostics differ too, by up to 100 us in a
step of 2 ms, because of where their memory lies; so each pair runs in a process of its own. `added` is the
difference in CPU time per step, the mean over the pairs with its standard error. `own` is the cost that
diagnostics measured with their own clock, which the budget limits. Both are given for the whole run, and from
step 100 on, after the dense start.
Data: MNIST from NNFOUNDATIONS_DATA. CPU; the networks of diagnostics_cost.py.
"""

import argparse
import csv
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from diagnostics_cost import DENSE, NETS
from torch import Tensor
from torch.nn import functional as F

from nnfoundations.datamodules import MNISTDataModule
from nnfoundations.diagnostics import Monitor

BLOCK = 25


class Training:
    """A network with its optimizer, with or without diagnostics; `spent` is the CPU time of each step."""

    def __init__(self, net: str, *, watched: bool) -> None:
        torch.manual_seed(0)
        self.net = NETS[net][0]()
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-3)
        # Its clock also counts the steps of the other training, so half the share is the usual budget.
        self.monitor = Monitor(self.net, self.optimizer, verbose=False, budget=0.005) if watched else None
        self.spent: list[float] = []
        self.own: list[float] = []

    def step(self, x: Tensor, y: Tensor) -> None:
        start = time.process_time()
        loss = F.cross_entropy(self.net(x), y)
        if self.monitor is not None:
            self.monitor.observe(loss)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.spent.append(time.process_time() - start)
        if self.monitor is not None:
            self.own.append(self.monitor._engine.schedule.spent)


def batches(size: int) -> Iterator[tuple[Tensor, Tensor]]:
    data = MNISTDataModule(batch_size=size)
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    while True:
        yield from loader


def compare(net: str, steps: int, pair: int) -> dict[str, float]:
    """Train a pair, and return the microseconds per step of the whole run and after the dense start."""
    torch.set_num_threads(1)
    made = {watched: Training(net, watched=watched) for watched in (bool(pair % 2), not pair % 2)}
    bare, watched = made[False], made[True]
    source = batches(NETS[net][1])
    for i in range(steps // BLOCK):
        block = list(islice(source, BLOCK))
        for training in (bare, watched) if i % 2 else (watched, bare):
            for x, y in block:
                training.step(x, y)
    assert watched.monitor is not None
    watched.monitor.close()
    base, total = 1e6 * np.array(bare.spent), 1e6 * np.array(watched.spent)
    found = {}
    for part, first in (("whole", 0), ("steady", DENSE)):
        own = watched.own[-1] - (watched.own[first - 1] if first else 0.0)
        found[f"{part}_bare_us"] = base[first:].mean()
        found[f"{part}_added_us"] = (total - base)[first:].mean()
        found[f"{part}_own_us"] = 1e6 * own / len(base[first:])
    return found


def measure(net: str, steps: int, pairs: int) -> dict[str, Any]:
    found = []
    for pair in range(pairs):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            found.append(fresh.submit(compare, net, steps, pair).result())
    mean = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
    row: dict[str, Any] = {"net": net, "pairs": pairs, "steps": steps}
    row["bare_ms"] = round(mean["whole_bare_us"] / 1e3, 3)
    for part in ("whole", "steady"):
        added = np.array([each[f"{part}_added_us"] for each in found])
        row[f"{part}_added_us"] = round(added.mean(), 1)
        row[f"{part}_error_us"] = round(added.std(ddof=1) / pairs**0.5, 1)
        row[f"{part}_own_us"] = round(mean[f"{part}_own_us"], 1)
        row[f"{part}_ratio"] = round(1 + mean[f"{part}_added_us"] / mean[f"{part}_bare_us"], 4)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--steps", type=int, default=2000, help="of each pair with the smallest net")
    parser.add_argument("--pairs", type=int, default=8, help="of trainings per net, at least 2")
    given = parser.parse_args()
    rows = []
    for net in given.nets:
        row = measure(net, max(int(given.steps * NETS[net][2]), DENSE + 2 * BLOCK), given.pairs)
        rows.append({**row, "device": platform.machine(), "threads": 1, "torch": torch.__version__})
        print(
            "{net:12} {bare_ms:8.2f} ms per step; added {whole_added_us:.0f} +- {whole_error_us:.0f} us, "
            "{whole_ratio:.4f} x (booked {whole_own_us:.0f} us); from step 100 on {steady_added_us:.0f} +- "
            "{steady_error_us:.0f} us, {steady_ratio:.4f} x (booked {steady_own_us:.0f} us)".format(**row),
            flush=True,
        )
    if given.output:
        with given.output.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
