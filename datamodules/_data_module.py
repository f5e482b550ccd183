"""What every set shares. A data set is a subclass that states its facts and how it is read.

Values stay in one tensor, pixels as uint8; training, validation and test parts are row numbers into it, never
copies.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from nnfoundations.datamodules import _augment, _mix
from nnfoundations.datamodules._arguments import (
    check_at_least,
    check_choice,
    check_share,
    check_size,
    rows_of,
)
from nnfoundations.datamodules._batches import TensorBatches
from nnfoundations.datamodules._describe import Description, describe
from nnfoundations.datamodules._files import RemoteFile, fetch
from nnfoundations.datamodules._split import stratified_split


class LabelledSet(NamedTuple):
    """A data set in memory, parts in rows: inputs `(N, *shape)`, labels `(N,)` int64, test `(T,)` rows."""

    inputs: Tensor
    labels: Tensor
    test: Tensor


class TensorDataModule(LightningDataModule, ABC):
    """Samples and classes as batches `(x, y)`: x float32 `(N, *dims)`, y int64 `(N,)`, for every loader.

    Args:
        root: Folder of data sets, in torchvision's layout; may be read-only if the files are there. None: the
            environment variable NNFOUNDATIONS_DATA, else the platform's cache folder.
        batch_size: Samples a batch in each process, at least 1. Read when a loader is asked for: a tuner may
            change it.
        val_size: Validation samples, taken out of the training samples class by class: a number of at least
            1, or a fraction between 0 and 1. The test samples are never among them.
        train_size: Training samples, class by class, out of those that the validation samples leave: a number
            or a fraction, as above. None: all of them.
        label_noise: Share of the training labels, 0 to 1, that are replaced by another class, each of the
            others as likely. Labels for validation and test stay true.
        seed: Seed of the training order and of augmentation, not negative.
        split_seed: Seed of the split, of `train_size` and of `label_noise`, not negative. Apart from `seed`,
            so that runs with different orders are judged on the same samples.
        normalize: Subtract the mean and divide by the standard deviation of the data set. Without it a pixel
            is 0 to 1.
        flatten: x as `(N, D)` instead of `(N, C, H, W)`.
        augment: Names, applied in turn to training images: crop, shift, flip, rotate, cutout; last mixup,
            cutmix or both (one of them a batch), which give y as `(N, num_classes)` float32.
        device_resident: Where batches are made. "on": on the device that trains, the whole set being moved
            there once; "off": on the host; "auto": on a CUDA device if the set takes less than half of what
            is free there, else on the host. True and False, which YAML reads in `on` and `off`, are those.
        mirror: Address of a folder laid out like `root`, asked for files before the published ones. None: the
            environment variable NNFOUNDATIONS_MIRROR, else none.

    Raises: ValueError: an argument is out of its range. MissingFilesError, CorruptFileError: from
        `prepare_data` and `setup`.
    """

    name: str
    """What `nnfoundations data` calls it."""
    shape: ClassVar[tuple[int, ...]]
    """Of a sample: channels, height, width of an image, or the number of features."""
    num_classes: ClassVar[int]
    class_names: ClassVar[tuple[str, ...]]
    feature_names: ClassVar[tuple[str, ...]] = ()
    """Of a sample that is no image."""
    pixel_max: ClassVar[int] = 1
    """The stored value that stands for 1."""
    mean: ClassVar[tuple[float, ...]]
    """Of the training samples, each channel or feature, where a pixel is 0 to 1."""
    std: ClassVar[tuple[float, ...]]
    folder: ClassVar[str] = ""
    """Where the files lie under the root."""
    files: ClassVar[tuple[RemoteFile, ...]] = ()
    """What is published, and downloaded where it is missing."""
    mirrors: ClassVar[tuple[str, ...]] = ()
    """Addresses that a file's name is appended to, tried in turn."""

    def __init__(
        self,
        root: str | None = None,
        *,
        batch_size: int = 64,
        val_size: int | float = 5000,
        train_size: int | float | None = None,
        label_noise: float = 0.0,
        seed: int = 0,
        split_seed: int = 0,
        normalize: bool = True,
        flatten: bool = False,
        augment: Sequence[str] = (),
        device_resident: Literal["auto", "on", "off"] | bool = "auto",
        mirror: str | None = None,
    ) -> None:
        super().__init__()
        self._begun: int | None = None  # the epoch whose batches this run has begun
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        check_at_least("split_seed", split_seed, 0)
        check_size("val_size", val_size)
        if train_size is not None:
            check_size("train_size", train_size)
        check_share("label_noise", label_noise)
        for name in augment:
            check_choice("augment", name, _augment.NAMES + _mix.NAMES)
        if augment and len(self.shape) != 3:
            raise ValueError(
                f"augment must be empty for samples that are no images; got {list(augment)!r} for "
                f"{type(self).__name__}, of {self.shape[0]} features."
            )
        if isinstance(device_resident, bool):
            device_resident = "on" if device_resident else "off"
        check_choice("device_resident", device_resident, ("auto", "on", "off"))
        self.root, self.batch_size, self.mirror = root, batch_size, mirror
        self.val_size, self.train_size, self.label_noise = val_size, train_size, label_noise
        self.seed, self.split_seed = seed, split_seed
        self.normalize, self.flatten, self.augment = normalize, flatten, tuple(augment)
        self.device_resident = device_resident
        self.save_hyperparameters()
        self._data: LabelledSet | None = None
        self._resident: tuple[Tensor, Tensor] | None = None
        self._train = self._val = torch.empty(0, dtype=torch.int64)

    @abstractmethod
    def read(self) -> LabelledSet:
        """The whole data set, checked; called once a process, by `setup`."""

    @property
    def dims(self) -> tuple[int, ...]:
        """Of one sample of a batch: channels, height, width of an image, or the number of features."""
        return (math.prod(self.shape),) if self.flatten else self.shape

    @property
    def path(self) -> Path:
        """The folder in which this data set's files are looked for."""
        root = self.root or os.environ.get("NNFOUNDATIONS_DATA")
        if not root:
            import pooch

            root = str(pooch.os_cache("nnfoundations"))
        return Path(root).expanduser() / self.folder

    def addresses(self, file: RemoteFile) -> list[str]:
        """Where a file is to be had, in the order in which it is tried."""
        own = self.mirror or os.environ.get("NNFOUNDATIONS_MIRROR")
        published = [mirror + file.name for mirror in self.mirrors]
        return (
            ["/".join(filter(None, (own.rstrip("/"), self.folder, file.name))), *published]
            if own
            else published
        )

    def prepare_data(self) -> None:
        """Download the files that are missing; touches none that is there, and writes nothing else."""
        fetch(self.present(), self.path, self.addresses)

    def present(self) -> tuple[RemoteFile, ...]:
        """The files to read: in the form that is there, else the published ones."""
        return self.files

    def setup(self, stage: str | None = None) -> None:
        """Read and split, once; all stages share the one tensor. A Trainer calls it as a run begins."""
        self._begun = None
        if self._data is not None:
            return
        data = self.read()
        shape, dtype = (len(data.labels), *self.shape), torch.uint8 if len(self.shape) == 3 else torch.float32
        if data.inputs.dtype != dtype or data.inputs.shape != shape:
            raise ValueError(
                f"{type(self).__name__}.read() must give {dtype} of shape {shape}, one sample a label; "
                f"got {data.inputs.dtype} of shape {tuple(data.inputs.shape)}."
            )
        is_test = torch.zeros(len(data.labels), dtype=torch.bool)
        is_test[data.test] = True
        outside = torch.nonzero(~is_test).flatten()
        size = rows_of("val_size", self.val_size, len(outside))
        train, val = stratified_split(data.labels[outside], size, (self.split_seed, 1))
        train, val = outside[train], outside[val]
        if self.train_size is not None:
            size = rows_of("train_size", self.train_size, len(train))
            train = train[stratified_split(data.labels[train], size, (self.split_seed, 2))[1]]
        self._replace_labels(data.labels, train)
        self._train, self._val, self._data = train, val, data

    def _replace_labels(self, labels: Tensor, train: Tensor) -> None:
        generator = np.random.default_rng((self.split_seed, 3))
        count = round(self.label_noise * len(train))
        rows = train[torch.from_numpy(generator.permutation(len(train))[:count])]
        steps = torch.from_numpy(generator.integers(1, self.num_classes, count))
        labels[rows] = (labels[rows] + steps) % self.num_classes

    def train_dataloader(self) -> TensorBatches:
        """The training samples, in a new order each epoch; under `overfit_batches` in one, as they are."""
        # The first few batches of ever new orders would be the whole set, not a few batches to overfit.
        if self.trainer is not None and getattr(self.trainer, "overfit_batches", 0) > 0:
            return self._batches(self._train)
        mean = [round(m * self.pixel_max) for m in self.mean]
        mixed = [name for name in self.augment if name in _mix.NAMES]
        return self._batches(
            self._train,
            shuffle=True,
            augment=_augment.augmentations([name for name in self.augment if name not in mixed], mean),
            mix=_mix.mixing(mixed, self.num_classes) if mixed else None,
        )

    def val_dataloader(self) -> TensorBatches:
        return self._batches(self._val)

    def test_dataloader(self) -> TensorBatches:
        return self._batches(self._loaded.test)

    def predict_dataloader(self) -> TensorBatches:
        """The test samples, in the published order; with their labels, so that predictions can be judged."""
        return self._batches(self._loaded.test)

    def describe(self) -> Description:
        """A table of the classes in each part, and a figure of training samples of every class."""
        data = self._loaded
        return describe(self, data.inputs, data.labels, (self._train, self._val, data.test))

    @property
    def _loaded(self) -> LabelledSet:
        if self._data is None:
            raise RuntimeError(
                f"{type(self).__name__} has not read its data: call setup() first. A Trainer does so."
            )
        return self._data

    def _batches(
        self,
        rows: Tensor,
        *,
        shuffle: bool = False,
        augment: Sequence[_augment.Augmentation] = (),
        mix: _mix.Mix | None = None,
    ) -> TensorBatches:
        inputs, labels = self._placed()
        mean, std = self.mean, self.std
        if not self.normalize:
            mean, std = (0.0,) * len(mean), (1.0,) * len(std)
        return TensorBatches(
            inputs,
            labels,
            rows,
            batch_size=self.batch_size,
            scale=[1 / (self.pixel_max * s) for s in std],
            shift=[-m / s for m, s in zip(mean, std, strict=True)],
            flatten=self.flatten,
            shuffle=shuffle,
            seed=self.seed,
            augment=augment,
            mix=mix,
            rank=self.trainer.global_rank if self.trainer is not None else 0,
            world_size=self.trainer.world_size if self.trainer is not None else 1,
            progress=self._progress,
        )

    def _progress(self) -> tuple[int, int] | None:
        """The epoch and the batch with which a Trainer that trains goes on."""
        if self.trainer is None or not self.trainer.training:
            return None
        # Not from a loader's own state in the checkpoint: Lightning drops that where an optimizer asks for
        # the number of steps, and it would go on with the batches that `limit_train_batches` leaves out.
        loop, epoch = self.trainer.fit_loop.epoch_loop, self.trainer.current_epoch
        # `restarting` is over before the first batch of a run that a validation in mid-epoch saved.
        # Only the first epoch can go on from somewhere: in later ones the count is the last epoch's until the
        # loop begins, and a callback that looks at the loader before that would get nothing.
        first, self._begun = self._begun is None, epoch
        return epoch, loop.batch_progress.current.ready if loop.restarting or first else 0

    def _placed(self) -> tuple[Tensor, Tensor]:
        """Inputs and labels where batches are made."""
        inputs, labels, _ = self._loaded
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        if device.type == "cpu" or self.device_resident == "off":
            return inputs, labels
        if self.device_resident == "auto":
            if device.type != "cuda":
                return inputs, labels
            free, _ = torch.cuda.mem_get_info(device)
            if self._resident is None and inputs.nbytes + labels.nbytes > free / 2:
                return inputs, labels
        if self._resident is None or self._resident[0].device != device:
            self._resident = inputs.to(device), labels.to(device)
        return self._resident
