"""An iterable of whole batches over images held in memory as uint8.

Gathered as uint8, converted last and in place: one image at a time through PIL and a DataLoader is two
orders of magnitude slower. Augmentation, sharding and resuming are not here.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


class ImageBatches:
    """Batches `(x, y)` of the chosen rows, normalised: x = pixel * scale + shift, channel by channel.

    A drop-in for a DataLoader in Lightning. With `shuffle` the order is drawn from (seed, epoch) alone: the
    same seed gives the same batches, two epochs differ. The epoch advances with the *first* batch of an
    iteration, since Lightning stops at `len()` and never lets a sized loader run off its end. The last batch
    may be smaller.

    Shape: images `(N, C, H, W)` uint8, labels `(N,)` int64, rows `(M,)` int64 -> x `(batch, C, H, W)`
        float32, y `(batch,)` int64.
    Args: images, labels: the whole set; not copied. rows: which of them, in the order of an unshuffled epoch.
        batch_size: at least 1. scale, shift: a number for each channel. shuffle: a new order each epoch.
        seed: not negative. epoch: the epoch of the first iteration.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        rows: Tensor,
        *,
        batch_size: int,
        scale: tuple[float, ...],
        shift: tuple[float, ...],
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        self.images, self.labels, self.rows = images, labels, rows
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, epoch
        self.scale = torch.tensor(scale, dtype=torch.float32).view(-1, 1, 1)
        self.shift = torch.tensor(shift, dtype=torch.float32).view(-1, 1, 1)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A generator, so that the epoch advances with the first batch: Lightning calls iter() once in vain,
        # to see whether it can. Before that batch, since it may also be the last one asked for.
        order = self._order(self.epoch)
        self.epoch += 1
        for start in range(0, len(order), self.batch_size):
            yield self._batch(order[start : start + self.batch_size])

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return self.rows
        # Own generator: the order must not depend on how much randomness the model has drawn.
        shuffled = np.random.default_rng((self.seed, epoch)).permutation(len(self.rows))
        return self.rows[torch.from_numpy(shuffled)]

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = self.images.index_select(0, rows).to(torch.float32).mul_(self.scale).add_(self.shift)
        return x, self.labels.index_select(0, rows)
