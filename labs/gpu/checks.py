"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfoundations.labs._runner.answers import as_array
from nnfoundations.labs.gpu.measure import smallest_good_batch

__all__ = ["check_accumulate", "check_best_batch", "check_largest_batch", "check_time_steps"]

Answer = Callable[..., Any]


class _Device:
    """A device that computes later, as a GPU does: a step is only queued, and waiting takes its time."""

    def __init__(self) -> None:
        self.now, self.queued, self.steps, self.waits = 0.0, 0, 0, 0

    def step(self) -> None:
        self.steps += 1
        self.queued += 1
        self.now += 1.0  # the launch

    def synchronize(self) -> None:
        self.waits += 1
        slow = min(self.queued, max(0, 10 - (self.steps - self.queued)))  # the first ten steps compile
        self.now += 1000.0 * slow + 9.0 * (self.queued - slow)
        self.queued = 0

    def clock(self) -> float:
        return self.now


def check_time_steps(time_steps: Answer) -> None:
    """Check a measurement on a device that computes later.

    Args:
        time_steps: takes step, synchronize, clock and a count; returns the time per step.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    device = _Device()
    found = float(as_array(time_steps(device.step, device.synchronize, device.clock, 20), "the time", ()))
    assert device.steps >= 20, f"time as many steps as asked for, 20; got {device.steps}"
    assert device.waits, "the device has only been given the steps: synchronize before you read the clock"
    assert device.queued == 0, "synchronize before the second reading of the clock too"
    assert device.steps >= 30, "discard at least 10 steps before the first reading: they compile and warm up"
    assert found < 100, (
        "the discarded steps are in the time: synchronize before the first reading of the clock"
    )
    assert abs(found - 10) < 1e-6, f"a step takes 10 here; got {found}: divide by the number of timed steps"
    print("time_steps is right.")


def check_accumulate(accumulate: Answer) -> None:
    """Check the gradient of a batch that is computed in parts.

    Args:
        accumulate: takes a function of rows and targets that returns the gradient of their mean loss, the
            rows, the targets, and the most rows of a part; returns the gradient of the mean loss of all.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    generator = np.random.default_rng(0)
    x, y, w = generator.normal(size=(10, 3)), generator.normal(size=10), np.array([0.5, -1.0, 2.0])
    sizes: list[int] = []

    def gradient(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        sizes.append(len(rows))
        return np.asarray(2 * rows.T @ (rows @ w - targets) / len(rows))

    found = as_array(accumulate(gradient, x, y, 4), "the gradient", (3,))
    assert max(sizes) <= 4, f"a part has at most 4 rows; got one of {max(sizes)}"
    assert sum(sizes) == 10, (
        f"each of the 10 rows is used once; got {sum(sizes)}, so the last part may be lost"
    )
    parts = [gradient(x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)]
    right = gradient(x, y)
    assert not np.allclose(found, sum(parts)), "the sum of the means is too large: weight each part"
    assert not np.allclose(found, sum(parts) / 3), (
        "the last part has 2 rows and not 4: weight each part by its share of the rows"
    )
    assert np.allclose(found, right), f"the gradient is {right}; got {found}"
    print("accumulate is right.")


def check_best_batch(best_batch: Answer) -> None:
    """Check the smallest batch within 5 % of the best throughput.

    Args:
        best_batch: takes seconds per step by batch size; returns the batch size.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    times = {16: 1.0, 64: 1.1, 256: 2.0, 1024: 7.8, 4096: 31.0}
    found = float(as_array(best_batch(dict(times)), "the batch size", ()))
    assert found != 16, "the shortest step is not the best: compare images per second"
    assert found != 4096, "the largest throughput is at 4096; a smaller batch within 5 % of it is wanted"
    right = smallest_good_batch(times)
    assert found == right, (
        f"256, 1024 and 4096 have 128, 131.3 and 132.1 images per unit of time; got {found:g}"
    )
    print("best_batch is right.")


def check_largest_batch(largest_batch: Answer) -> None:
    """Check the largest batch that fits into memory.

    Args:
        largest_batch: takes free memory, and the peaks with batches of 64 and of 1,024; returns the power of
            two that fits into 70 % of the free memory.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    found = float(as_array(largest_batch(1000.0, 74.0, 1034.0), "the batch size", ()))  # 10, and 1 per image
    assert found != 690, "a power of two is wanted"
    assert found != 1024, "the free memory is not all yours: use 70 % of it"
    assert found == 512, f"10 for weights and 1 per image leave room for 690 images, so 512; got {found:g}"
    print("largest_batch is right.")
