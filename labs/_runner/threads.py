"""One thread per run, so that results do not depend on the number of cores or of runs at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["environment_of_one_thread", "one_thread"]


@contextmanager
def environment_of_one_thread() -> Iterator[None]:
    """Give one thread to the libraries that this process, or one that it starts, loads meanwhile."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch, NumPy and SciPy in this process to one thread.

    Sums over several threads have other last digits: NumPy's matrix products too, not only torch's.
    """
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    try:
        with environment_of_one_thread(), threadpool_limits(1):
            torch.set_num_threads(1)
            yield
    finally:
        torch.set_num_threads(threads)
