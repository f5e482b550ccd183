"""An iterable of whole batches over a set held in memory, images as uint8.

Gathered and augmented as uint8, converted last and in place: one image at a time through PIL and a DataLoader
is two orders of magnitude slower.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from nnfoundations.datamodules._augment import Augmentation
from nnfoundations.datamodules._mix import Mix


class TensorBatches:
    """Batches `(x, y)` of the chosen rows, normalised: x = value * scale + shift, channel by channel.

    A drop-in for a DataLoader in Lightning. With `shuffle` the order is drawn from (seed, epoch) alone: the
    same seed gives the same batches, two epochs differ. The epoch advances with the *first* batch of an
    iteration, since Lightning stops at `len()` and never lets a sized loader run off its end. The last batch
    may be smaller.

    Of `world_size` processes the one of `rank` gets every world_size-th row: each row comes once an epoch,
    and all processes make the same number of batches, of which none is empty.

    Shape: inputs `(N, C, H, W)` uint8 or `(N, D)` float32, labels `(N,)` int64, rows `(M,)` int64 -> x
        `(batch, ...)` float32, y `(batch,)` int64, or `(batch, classes)` float32 where `mix` is given.
    Args: inputs, labels: the whole set, on the device on which batches are made; not copied. rows: which of
        them, in the order of an unshuffled epoch, on the host. batch_size: at least 1. scale, shift: a number
        for each channel. flatten: x as `(batch, C * H * W)`. shuffle: a new order each epoch. seed: not
        negative. augment: applied in turn. mix: applied last. progress: tells the epoch and the batch to
        begin with, or None where the loader's own count holds; asked at the start of each iteration.
    Raises: ValueError: fewer rows than processes.
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
        one_a_channel = (-1,) + (1,) * (inputs.ndim - 2)
        self.scale, self.shift = (
            torch.tensor(numbers, dtype=torch.float32, device=inputs.device).view(one_a_channel)
            for numbers in (scale, shift)
        )
        self._progress = progress
        self._next = self._position = (0, 0)  # epoch and batch: of the next iteration, of the next batch

    def __len__(self) -> int:
        longest = -(-len(self.rows) // self.world_size)
        return -(-longest // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A generator, so that nothing happens before the first batch: Lightning calls iter() once in vain, to
        # see whether it can, and knows only then where a resumed run goes on.
        epoch, first = self._progress() or self._next
        self._next = (epoch + 1, 0)
        order, draws = self._drawn(epoch)
        for i in range(first, len(self)):
            self._position = (epoch, i + 1)
            yield self._made(order, draws, epoch, i)

    def state_dict(self) -> dict[str, int]:
        """Where a run goes on that is resumed from here; Lightning keeps it in the checkpoint."""
        return dict(zip(("epoch", "batch"), self._position, strict=True))

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._position = (state["epoch"], state["batch"])
        over = state["batch"] >= len(self)
        self._next = (state["epoch"] + 1, 0) if over else self._position

    def _drawn(self, epoch: int) -> tuple[Tensor, Tensor]:
        """This process's rows in the order of the epoch, and the augmentations' draws for each."""
        # Own generator: the order must not depend on how much randomness the model has drawn.
        generator = np.random.default_rng((self.seed, epoch))
        rows = self.rows
        if self.shuffle:
            rows = rows[torch.from_numpy(generator.permutation(len(rows)))]
        count = sum(augmentation.count for augmentation in self.augment)
        draws = torch.from_numpy(generator.random((len(rows), count), dtype=np.float32))
        mine = slice(self.rank, None, self.world_size)
        return rows[mine].to(self.inputs.device), draws[mine].to(self.inputs.device)

    def _start(self, i: int, rows: int) -> int:
        # Each of the batches that are left needs a row: a process with one row less than another may have
        # none over for its last batch.
        return min(i * self.batch_size, rows - (len(self) - i))

    def _made(self, order: Tensor, draws: Tensor, epoch: int, i: int) -> tuple[Tensor, Tensor]:
        chosen = slice(self._start(i, len(order)), self._start(i + 1, len(order)))
        rows, drawn = order[chosen], draws[chosen]
        values = _chosen(self.inputs, rows)
        for augmentation in self.augment:
            values = augmentation.apply(values, drawn[:, : augmentation.count])
            drawn = drawn[:, augmentation.count :]
        x, y = self._normalised(values), _chosen(self.labels, rows)
        if self.mix is not None:
            x, y = self.mix(x, y, (self.seed, epoch, i, self.rank))
        return (x.flatten(1) if self.flatten else x), y

    def _normalised(self, values: Tensor) -> Tensor:
        """Of a batch that is nobody else's: float values are changed in place."""
        if not values.is_cpu:
            return values.to(torch.float32).mul_(self.scale).add_(self.shift)
        x = values.numpy().astype(np.float32, copy=False)
        x *= self.scale.numpy()
        x += self.shift.numpy()
        return torch.from_numpy(x)


def _chosen(values: Tensor, rows: Tensor) -> Tensor:
    """A copy of these rows.

    On a CPU by NumPy, as what follows: torch shares a batch among threads, which wait for each other longer
    than the work lasts where another process has a core (3 times as long for 256 images of MNIST).
    """
    if not values.is_cpu:
        return values.index_select(0, rows)
    return torch.from_numpy(values.numpy().take(rows.numpy(), 0))
