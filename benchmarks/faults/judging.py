"""Trains a program with Diagnostics as it is by default, and records its findings."""

import time
from typing import Any

from training import Key, trained

from nnfoundations.callbacks import Diagnostics

__all__ = ["judge"]


def judge(key: Key, short: bool = False) -> dict[str, Any]:
    """The findings in their order, each as `name:severity:step:places`."""
    diagnostics, start, error = Diagnostics(verbose=False), time.process_time(), ""
    try:
        trained(key, [diagnostics], short)
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}".replace("\n", " ")[:120]
    found = [f"{f.fault}:{f.severity}:{f.first_step}:{'+'.join(f.where[:6])}" for f in diagnostics.findings]
    return {"findings": " ".join(found), "cpu_seconds": f"{time.process_time() - start:.1f}", "error": error}
