"""Seeded, stratified choice of rows: the validation part of a training set, the test part of digits."""

import numpy as np
import torch
from torch import Tensor


def stratified_split(labels: Tensor, size: int, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Split rows in two so that every class keeps its share, to within one row.

    Shape: labels `(N,)` -> rest `(N - size,)`, part `(size,)`, both int64 rows in ascending order.
    Args: labels: integer classes. size: rows in the second part, 1 to N - 1. seed: non-negative integers;
        the same ones give the same rows, whatever else drew random numbers before.
    """
    n = len(labels)
    shuffled = np.random.default_rng(seed).permutation(n)
    by_class = shuffled[np.argsort(labels.numpy()[shuffled], kind="stable")]
    # Evenly spaced places along rows grouped by class hit each class in proportion, and sum to `size`
    # without rounding class by class; within a class the order is random, and so is what is hit.
    chosen = np.zeros(n, dtype=bool)
    chosen[by_class[(2 * np.arange(size) + 1) * n // (2 * size)]] = True
    return torch.from_numpy(np.flatnonzero(~chosen)), torch.from_numpy(np.flatnonzero(chosen))
