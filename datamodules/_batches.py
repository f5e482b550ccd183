"""A loader that yields whole batches from a data set in memory, with images as uint8.

A batch is gathered and augmented as uint8 and converted last, in place. Loading single images through PIL and
a DataLoader is two orders of magnitude slower.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from nnfoundations.datamodules._augment import Augmentation
from nnfoundations.datamodules._mix import Mix

__all__ = ["TensorBatches"]


class TensorBatches:
    """Yield normalized batches `(x, y)` of the chosen rows: x = value * scale + shift per channel.

    It replaces a DataLoader in Lightning. With `shuffle` the order depends on (seed, epoch) alone: the same
    seed gives the same batches, and two epochs differ. The epoch advances with the *first* batch of an
    iteration, because Lightning stops at `len()` and never exhausts a sized loader. The last batch may be
    smaller.

    With `world_size` processes, process `rank` gets every world_size-th row: each row is used once per epoch,
    and all processes make the same number of batches, none of them empty.

    Args:
        inputs: whole data set, `(N, C, H, W)` uint8 or `(N, D)` float32, on the device where batches are
            made.
        labels: classes, `(N,)` int64, on the same device.
        rows: rows to use, `(M,)` int64, in the order of an unshuffled epoch, on the host.
        batch_size: samples per batch, at least 1.
        scale: factor for each channel.
        shift: offset for each channel.
        flatten: return x as `(batch, C * H * W)`.
        shuffle: draw a new order for each epoch.
        seed: random seed, not negative.
        augment: augmentations, applied in this order.
        mix: mixup or CutMix, applied last; y is then `(batch, classes)` float32.
        rank: index of this process.
        world_size: number of processes.
        progress: returns the epoch and batch to start from, or None to use the loader's own count. Called at
            the start of each iteration.

    Raises:
        ValueError: fewer rows than processes.
    """

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        rows: Tensor,
        *,
        batch_size: int,
        scale: Sequence[float],
        shift: Sequence[float],
        flatten: bool = False,
        shuffle: bool = False,
        seed: int = 0,
        augment: Sequence[Augmentation] = (),
        mix: Mix | None = None,
        rank: int = 0,
        world_size: int = 1,
        progress: Callable[[], tuple[int, int] | None] = lambda: None,
    ) -> None:
        if 0 < len(rows) < world_size:
            raise ValueError(f"{world_size} processes need as many samples each epoch; got {len(rows)}.")
        self.inputs, self.labels, self.rows = inputs, labels, rows
        self.batch_size, self.flatten, self.shuffle, self.seed = batch_size, flatten, shuffle, seed
        self.augment, self.mix, self.rank, self.world_size = augment, mix, rank, world_size
        per_channel = (-1,) + (1,) * (inputs.ndim - 2)
        self.scale, self.shift = (
            torch.tensor(numbers, dtype=torch.float32, device=inputs.device).view(per_channel)
            for numbers in (scale, shift)
        )
        self._progress = progress
        self._next = self._position = (0, 0)  # (epoch, batch) of the next iteration and of the next batch

    def __len__(self) -> int:
        longest = -(-len(self.rows) // self.world_size)
        return -(-longest // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A generator does nothing before the first batch. Lightning calls iter() once just to test it, and
        # only later knows where a resumed run continues.
        epoch, first = self._progress() or self._next
        self._next = (epoch + 1, 0)
        order, draws = self._draw_epoch(epoch)
        for i in range(first, len(self)):
            self._position = (epoch, i + 1)
            yield self._make_batch(order, draws, epoch, i)

    def state_dict(self) -> dict[str, int]:
        """Return the position for Lightning's checkpoint.

        Returns:
            Epoch and batch at which a resumed run continues.
        """
        return dict(zip(("epoch", "batch"), self._position, strict=True))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at a saved position.

        Args:
            state: what `state_dict` returned.
        """
        self._position = (state["epoch"], state["batch"])
        over = state["batch"] >= len(self)
        self._next = (state["epoch"] + 1, 0) if over else self._position

    def _draw_epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return this process's rows in the order of the epoch, and the draws for each row."""
        # A separate generator, because the order must not depend on how many random numbers the model has
        # drawn.
        generator = np.random.default_rng((self.seed, epoch))
        rows = self.rows
        if self.shuffle:
            rows = rows[torch.from_numpy(generator.permutation(len(rows)))]
        count = sum(augmentation.count for augmentation in self.augment)
        draws = torch.from_numpy(generator.random((len(rows), count), dtype=np.float32))
        mine = slice(self.rank, None, self.world_size)
        return rows[mine].to(self.inputs.device), draws[mine].to(self.inputs.device)

    def _start(self, i: int, rows: int) -> int:
        # Each remaining batch needs a row. A process with one row less than another could otherwise have none
        # left for its last batch.
        return min(i * self.batch_size, rows - (len(self) - i))

    def _make_batch(self, order: Tensor, draws: Tensor, epoch: int, i: int) -> tuple[Tensor, Tensor]:
        chosen = slice(self._start(i, len(order)), self._start(i + 1, len(order)))
        rows, drawn = order[chosen], draws[chosen]
        values = _gather(self.inputs, rows)
        for augmentation in self.augment:
            values = augmentation.apply(values, drawn[:, : augmentation.count])
            drawn = drawn[:, augmentation.count :]
        x, y = self._normalize(values), _gather(self.labels, rows)
        if self.mix is not None:
            x, y = self.mix(x, y, (self.seed, epoch, i, self.rank))
        return (x.flatten(1) if self.flatten else x), y

    def _normalize(self, values: Tensor) -> Tensor:
        """Scale and shift a batch; float values are changed in place, so the batch must be a copy."""
        if not values.is_cpu:
            return values.to(torch.float32).mul_(self.scale).add_(self.shift)
        x = values.numpy().astype(np.float32, copy=False)
        x *= self.scale.numpy()
        x += self.shift.numpy()
        return torch.from_numpy(x)


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    """Return a copy of these rows.

    On a CPU NumPy does it, as in `_normalize`. torch splits a batch over threads, and if another process uses
    a core these wait for each other longer than the work takes (3 times as long for 256 images of MNIST).
    """
    if not values.is_cpu:
        return values.index_select(0, rows)
    return torch.from_numpy(values.numpy().take(rows.numpy(), 0))
