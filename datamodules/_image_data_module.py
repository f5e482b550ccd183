"""What every set of images shares. A data set is a subclass that states its facts and how it is read.

Pixels stay uint8 in one tensor; training, validation and test parts are row numbers into it, never copies.
"""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from nnfoundations.datamodules._arguments import check_at_least, check_size, rows_of
from nnfoundations.datamodules._files import RemoteFile, fetch
from nnfoundations.datamodules._image_batches import ImageBatches
from nnfoundations.datamodules._split import stratified_split


class ImageSet(NamedTuple):
    """A data set in memory: images `(N, C, H, W)` uint8, labels `(N,)` int64, test `(T,)` the test rows."""

    images: Tensor
    labels: Tensor
    test: Tensor


class ImageDataModule(LightningDataModule, ABC):
    """Images and classes as batches `(x, y)`: x float32 `(N, C, H, W)`, y int64 `(N,)`, for every loader.

    Args:
        root: Folder of data sets, in torchvision's layout; may be read-only if the files are there. None: the
            environment variable NNFOUNDATIONS_DATA, else the platform's cache folder.
        batch_size: Images a batch, at least 1. Read when a loader is asked for: a tuner may change it.
        val_size: Validation images, taken out of the training images class by class: a number of at least 1,
            or a fraction between 0 and 1. The test images are never among them.
        seed: Seed of the training order, not negative.
        split_seed: Seed of the split, not negative. Apart from `seed`, so that runs with different orders are
            judged on the same images.
        normalize: Subtract the mean and divide by the standard deviation of the data set. Without it x is the
            pixel, 0 to 1.

    Raises: ValueError: an argument is out of its range. MissingFilesError, CorruptFileError: from
        `prepare_data` and `setup`.
    """

    shape: ClassVar[tuple[int, int, int]]
    """Channels, height, width."""
    num_classes: ClassVar[int]
    class_names: ClassVar[tuple[str, ...]]
    pixel_max: ClassVar[int] = 255
    """The pixel value that stands for 1."""
    mean: ClassVar[tuple[float, ...]]
    """Of the training pixels, each channel, where a pixel is 0 to 1."""
    std: ClassVar[tuple[float, ...]]
    folder: ClassVar[str] = ""
    """Where the files lie under the root."""
    files: ClassVar[tuple[RemoteFile, ...]] = ()
    mirrors: ClassVar[tuple[str, ...]] = ()
    """Addresses that a file's name is appended to, tried in turn."""

    def __init__(
        self,
        root: str | None = None,
        *,
        batch_size: int = 64,
        val_size: int | float = 5000,
        seed: int = 0,
        split_seed: int = 0,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        check_at_least("split_seed", split_seed, 0)
        check_size("val_size", val_size)
        self.root, self.batch_size, self.val_size = root, batch_size, val_size
        self.seed, self.split_seed, self.normalize = seed, split_seed, normalize
        self.save_hyperparameters()
        self._data: ImageSet | None = None
        self._train = self._val = torch.empty(0, dtype=torch.int64)

    @abstractmethod
    def read(self) -> ImageSet:
        """The whole data set, checked; called once a process, by `setup`."""

    @property
    def dims(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        return self.shape

    @property
    def path(self) -> Path:
        """The folder in which this data set's files are looked for."""
        root = self.root or os.environ.get("NNFOUNDATIONS_DATA")
        if not root:
            import pooch

            root = str(pooch.os_cache("nnfoundations"))
        return Path(root).expanduser() / self.folder

    def prepare_data(self) -> None:
        """Download the files that are missing; touches none that is there, and writes nothing else."""
        if self.files:
            fetch(self.files, self.path, self.mirrors)

    def setup(self, stage: str | None = None) -> None:
        """Read and split, once; all stages share the one tensor."""
        if self._data is not None:
            return
        data = self.read()
        shape = (len(data.labels), *self.shape)
        if data.images.dtype != torch.uint8 or data.images.shape != shape:
            raise ValueError(
                f"{type(self).__name__}.read() must give uint8 images of shape {shape}, one a label; "
                f"got {data.images.dtype} of shape {tuple(data.images.shape)}."
            )
        is_test = torch.zeros(len(data.labels), dtype=torch.bool)
        is_test[data.test] = True
        outside = torch.nonzero(~is_test).flatten()
        size = rows_of("val_size", self.val_size, len(outside))
        train, val = stratified_split(data.labels[outside], size, (self.split_seed, 1))
        self._train, self._val, self._data = outside[train], outside[val], data

    def train_dataloader(self) -> ImageBatches:
        """The training images, in a new order each epoch; always in one under `overfit_batches`."""
        if self.trainer is None:
            return self._batches(self._train, shuffle=True)
        # A loader made anew in the middle of a fit must not start again with the first epoch's order; and
        # the first few batches of ever new orders would be the whole set, not a few batches to overfit.
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        return self._batches(self._train, shuffle=not overfit, epoch=self.trainer.current_epoch)

    def val_dataloader(self) -> ImageBatches:
        return self._batches(self._val)

    def test_dataloader(self) -> ImageBatches:
        return self._batches(self._loaded.test)

    def predict_dataloader(self) -> ImageBatches:
        """The test images, in the published order; with their labels, so that a prediction can be judged."""
        return self._batches(self._loaded.test)

    @property
    def _loaded(self) -> ImageSet:
        if self._data is None:
            raise RuntimeError(
                f"{type(self).__name__} has not read its data: call setup() first. A Trainer does so."
            )
        return self._data

    def _batches(self, rows: Tensor, *, shuffle: bool = False, epoch: int = 0) -> ImageBatches:
        images, labels, _ = self._loaded
        if self.trainer is not None and self.trainer.world_size > 1:
            raise ValueError(
                f"{type(self).__name__} does not share its batches among processes yet; got "
                f"{self.trainer.world_size} of them, all on the same images. Set --trainer.devices 1."
            )
        mean, std = self.mean, self.std
        if not self.normalize:
            mean, std = (0.0,) * len(mean), (1.0,) * len(std)
        return ImageBatches(
            images,
            labels,
            rows,
            batch_size=self.batch_size,
            scale=tuple(1 / (self.pixel_max * s) for s in std),
            shift=tuple(-m / s for m, s in zip(mean, std, strict=True)),
            shuffle=shuffle,
            seed=self.seed,
            epoch=epoch,
        )
