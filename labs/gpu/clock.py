"""How a step is timed: warm-up discarded, the device waited for, the threads that the kind says."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nnfoundations.labs.gpu.kinds import Kind
from nnfoundations.labs.gpu.steps import Step, synchronize

__all__ = ["WARM_UP", "cores", "seconds_per_step", "threads", "warm_up"]

WARM_UP = 10
"""Steps that are discarded; compilation and capture happen in the first ones."""


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(kind: Kind) -> Iterator[None]:
    """Give the threads that a kind says to torch and to the libraries of NumPy.

    Args:
        kind: what is timed.
    """
    from threadpoolctl import threadpool_limits

    before, count = torch.get_num_threads(), cores() if kind.threads == "all" else 1
    try:
        with threadpool_limits(count):
            torch.set_num_threads(count)
            yield
    finally:
        torch.set_num_threads(before)


def seconds_per_step(step: Step, first: int, count: int, device: str) -> float:
    """Time some steps.

    Args:
        step: what is timed.
        first: the number of the first batch.
        count: of steps.
        device: waited for before both readings of the clock.

    Returns:
        Seconds per step.
    """
    synchronize(device)
    start = time.perf_counter()
    for i in range(first, first + count):
        step(i)
    synchronize(device)
    return (time.perf_counter() - start) / count


def warm_up(step: Step, device: str, seconds: float) -> int:
    """Make the steps that are discarded, and find how many take long enough to be timed.

    Args:
        step: what will be timed.
        device: where it runs.
        seconds: that a measurement should take.

    Returns:
        The number of steps, at least 3.
    """
    seconds_per_step(step, 0, WARM_UP, device)
    return max(3, math.ceil(seconds / seconds_per_step(step, WARM_UP, 3, device)))
