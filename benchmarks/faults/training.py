"""Trains a program once, or many of them in worker processes, and appends a row per run to a CSV file."""

import csv
import logging
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from families import PROGRAMS
from lightning.pytorch import Callback, LightningModule, Trainer
from program import Program

__all__ = ["Curve", "Key", "append", "keys", "program_named", "read", "revision", "trained", "work"]

Key = tuple[str, str, int]
"""A run: the id of the program, of the fault (empty for the healthy twin), and the random seed."""

ROOT = Path(__file__).parent.parent.parent
SHORT = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1}
SHORT |= {"check_val_every_n_epoch": 1, "val_check_interval": 1.0}


class Curve(Callback):
    """Keeps what the program logs in each validation."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val") and not trainer.sanity_checking:
                self.values.setdefault(name, []).append(float(value))


def program_named(id: str) -> Program:
    return next(program for program in PROGRAMS if program.id == id)


def trained(key: Key, callbacks: Iterable[Callback] = (), short: bool = False) -> LightningModule:
    """Train a program once, or only two steps of it."""
    id, fault, seed = key
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    setup = program_named(id).build(fault)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "accelerator": "cpu",
    }
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "log_every_n_steps": 10}
    trainer = Trainer(callbacks=list(callbacks), **quiet, **(setup.trainer | (SHORT if short else {})))
    trainer.fit(setup.module, setup.train, setup.val)
    return setup.module


def keys(only: list[str]) -> list[Key]:
    """Four runs of each healthy program and one of each faulty one, then a second one of each faulty one."""
    chosen = [p for p in PROGRAMS if not only or p.id in only]
    first = [(p.id, "", seed) for p in chosen for seed in range(4)]
    faulty = [[(p.id, fault.id, seed) for p in chosen for fault in p.faults] for seed in range(2)]
    return first + faulty[0] + faulty[1]


def revision() -> dict[str, Any]:
    """The commit of the code, and whether the tree has no other changes than rows of this benchmark."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True
        ).stdout.strip()

    changed = [
        line for line in git("status", "--porcelain").splitlines() if "docs/results/faults_" not in line
    ]
    return {"revision": git("rev-parse", "--short=12", "HEAD"), "clean": int(not changed)}


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def append(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def _quiet() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def work(
    path: Path, runs: list[Key], one: Callable[[Key], dict[str, Any]], jobs: int, facts: dict[str, Any]
) -> None:
    """Make the rows that the file lacks, and append each as it is ready."""
    done = {(row["program"], row["fault"], int(row["seed"])) for row in read(path)}
    left = iter([key for key in runs if key not in done])
    start, count = time.monotonic(), 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(jobs, get_context("spawn"), _quiet) as pool:
        waiting = {pool.submit(one, key): key for key in islice(left, 2 * jobs)}
        while waiting:
            ready = next(as_completed(waiting))
            id, fault, seed = waiting.pop(ready)
            append(path, {"program": id, "fault": fault, "seed": seed} | ready.result() | facts)
            count += 1
            print(
                f"{count} {id} {fault or 'healthy'} {seed} ({time.monotonic() - start:.0f} s)",
                file=sys.stderr,
            )
            waiting |= {pool.submit(one, key): key for key in islice(left, 1)}
