"""What benchmarks of diagnostics share: quiet runs on a number of threads, and a table of rows."""

import csv
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["run_quietly", "write_rows"]


def run_quietly(threads: int = 1) -> None:
    """Limit torch to some threads, and show neither warnings nor Lightning's messages.

    Args:
        threads: their number.
    """
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file with a column for each key of the first row.

    Args:
        path: of the file.
        rows: at least one, all with the same keys.
    """
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
