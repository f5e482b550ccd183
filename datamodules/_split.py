"""Split rows at random, stratified by class."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["stratified_split"]


def stratified_split(labels: Tensor, size: int, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Split rows in two so that every class keeps its share, to within one row.

    Args:
        labels: integer classes, `(N,)`.
        size: rows in the second part, 1 to N - 1.
        seed: non-negative integers. The same seed gives the same rows, independent of the global generators.

    Returns:
        Rows of the first part `(N - size,)` and of the second part `(size,)`, int64, ascending.
    """
    n = len(labels)
    shuffled = np.random.default_rng(seed).permutation(n)
    by_class = shuffled[np.argsort(labels.numpy()[shuffled], kind="stable")]
    # Evenly spaced positions along rows that are grouped by class take each class in proportion and give
    # exactly `size` rows without rounding per class. Within a class the order is random, and so is the
    # choice.
    chosen = np.zeros(n, dtype=bool)
    chosen[by_class[(2 * np.arange(size) + 1) * n // (2 * size)]] = True
    return torch.from_numpy(np.flatnonzero(~chosen)), torch.from_numpy(np.flatnonzero(chosen))
