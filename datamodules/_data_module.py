"""The base class of all data sets. A data set is a subclass that states its facts and how it is read.

The values stay in one tensor, pixels as uint8. Training, validation and test parts are row numbers of it, not
copies.

The file is longer than usual because of the docstrings of the arguments, which all data sets share.
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
    resolve_seed,
    rows_of,
)
from nnfoundations.datamodules._batches import TensorBatches
from nnfoundations.datamodules._describe import Description, describe
from nnfoundations.datamodules._files import RemoteFile, fetch
from nnfoundations.datamodules._pooch import import_pooch
from nnfoundations.datamodules._split import stratified_split

__all__ = ["LabelledSet", "TensorDataModule"]


class LabelledSet(NamedTuple):
    """A data set in memory.

    Args:
        inputs: `(N, *shape)`, images as uint8, other samples as float32.
        labels: classes, `(N,)` int64.
        test: rows of the test part, `(T,)` int64.
    """

    inputs: Tensor
    labels: Tensor
    test: Tensor


class TensorDataModule(LightningDataModule, ABC):
    """Samples and classes as batches `(x, y)`: x float32 `(N, *dims)`, y int64 `(N,)`.

    Args:
        root: folder of data sets in torchvision's layout; it may be read-only if the files are there. None:
            the environment variable NNFOUNDATIONS_DATA, or the cache folder of the platform.
        batch_size: samples per batch in each process, at least 1. Read whenever a loader is created, so a
            tuner can change it.
        val_size: validation samples, taken from the training samples, stratified by class: a number of at
            least 1, or a fraction between 0 and 1. Test samples are never used.
        train_size: training samples, stratified by class, from those that are not used for validation: a
            number or a fraction. None: all of them.
        label_noise: share of the training labels, 0 to 1, that are replaced by a random other class. Labels
            for validation and test stay true.
        seed: random seed of the training order and of augmentation, not negative. None: the seed of
            Lightning's `seed_everything`, or 0 if it was not called. Both have a generator of their own, so
            networks that draw other random numbers are trained on the same batches.
        split_seed: random seed of the split, of `train_size` and of `label_noise`, not negative. It is
            separate from `seed`, so that runs with different orders are judged on the same samples.
        normalize: subtract the mean and divide by the standard deviation of the data set. "min-max": scale
            each feature of the training samples to 0 to 1. False: leave features as they are. With both of
            the latter pixels are 0 to 1.
        flatten: return x as `(N, D)` instead of `(N, C, H, W)`.
        augment: augmentations of the training images, applied in this order: crop, shift, flip, rotate,
            affine, elastic, cutout. mixup, cutmix or both (one of them per batch) come last and return y as
            `(N, num_classes)` float32.
        device_resident: where batches are made. "on": on the training device, with the whole set moved there
            once.
            "off": on the host. "auto": on a CUDA device if the set takes less than half of its free memory,
            otherwise on the host. True and False, as YAML reads `on` and `off`, are accepted.
        mirror: address of a folder with the layout of `root`, tried before the published addresses. None: the
            environment variable NNFOUNDATIONS_MIRROR, if set.

    Raises:
        ValueError: an argument is out of range, or augmentation is asked for samples that are not images.
    """

    name: str
    """Name for `nnfoundations data`."""
    shape: tuple[int, ...]
    """Shape of a sample: channels, height, width of an image, or the number of features."""
    num_classes: ClassVar[int]
    class_names: ClassVar[tuple[str, ...]]
    feature_names: tuple[str, ...] = ()
    """Names of the features, if a sample is not an image."""
    pixel_max: ClassVar[int] = 1
    """The stored value that means 1."""
    mean: tuple[float, ...]
    """Mean of the training samples for each channel or feature, with pixels from 0 to 1."""
    std: tuple[float, ...]
    folder: ClassVar[str] = ""
    """Folder of the files under the root."""
    files: ClassVar[tuple[RemoteFile, ...]] = ()
    """The published files, downloaded if they are missing."""
    mirrors: ClassVar[tuple[str, ...]] = ()
    """Addresses to which the name of a file is appended, tried in this order."""

    def __init__(
        self,
        root: str | None = None,
        *,
        batch_size: int = 64,
        val_size: int | float = 5000,
        train_size: int | float | None = None,
        label_noise: float = 0.0,
        seed: int | None = None,
        split_seed: int = 0,
        normalize: bool | Literal["min-max"] = True,
        flatten: bool = False,
        augment: Sequence[str] = (),
        device_resident: Literal["auto", "on", "off"] | bool = "auto",
        mirror: str | None = None,
    ) -> None:
        super().__init__()
        self._begun: int | None = None  # the epoch whose batches this run has started
        check_at_least("batch_size", batch_size, 1)
        seed = resolve_seed(seed)
        check_at_least("split_seed", split_seed, 0)
        check_size("val_size", val_size)
        if train_size is not None:
            check_size("train_size", train_size)
        check_share("label_noise", label_noise)
        if not isinstance(normalize, bool):
            check_choice("normalize", normalize, ("true", "false", "min-max"))
        for name in augment:
            check_choice("augment", name, _augment.NAMES + _mix.NAMES)
        if augment and len(self.shape) != 3:
            raise ValueError(
                f"augment must be empty for samples that are not images; got {list(augment)!r} for "
                f"{type(self).__name__} with {self.shape[0]} features."
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
        self._has_test = False
        self._resident: tuple[Tensor, Tensor] | None = None
        self._train = self._val = torch.empty(0, dtype=torch.int64)

    @abstractmethod
    def read(self) -> LabelledSet:
        """Read and check the whole data set; `setup` calls it once per process.

        Returns:
            The data set with its test rows.
        """

    def read_without_test(self) -> LabelledSet:
        """Read the data set without its test part; `setup` calls it for a run that does not test.

        The samples keep their order. Override it if the test part is in files of its own, which then are not
        opened. This method drops the test samples of `read`.

        Returns:
            The data set without test rows.
        """
        inputs, labels, test = self.read()
        kept = torch.ones(len(labels), dtype=torch.bool)
        kept[test] = False
        return LabelledSet(inputs[kept], labels[kept], torch.empty(0, dtype=torch.int64))

    @property
    def dims(self) -> tuple[int, ...]:
        """Shape of one sample in a batch: channels, height, width, or the number of features."""
        return (math.prod(self.shape),) if self.flatten else self.shape

    @property
    def path(self) -> Path:
        """The folder in which the files of this data set are searched."""
        root = self.root or os.environ.get("NNFOUNDATIONS_DATA")
        if not root:
            root = str(import_pooch().os_cache("nnfoundations"))
        return Path(root).expanduser() / self.folder

    def addresses(self, file: RemoteFile) -> list[str]:
        """Return the addresses of a file.

        Args:
            file: one of `files`.

        Returns:
            Addresses in the order in which they are tried.
        """
        own = self.mirror or os.environ.get("NNFOUNDATIONS_MIRROR")
        published = [mirror + file.name for mirror in self.mirrors]
        return (
            ["/".join(filter(None, (own.rstrip("/"), self.folder, file.name))), *published]
            if own
            else published
        )

    def prepare_data(self) -> None:
        """Download missing files. Existing files are not touched."""
        fetch(self.present(), self.path, self.addresses)

    def present(self) -> tuple[RemoteFile, ...]:
        """Return the files to read.

        Returns:
            The files in the form that exists, or the published ones if none exists.
        """
        return self.files

    def setup(self, stage: str | None = None) -> None:
        """Read and split the data, as a Trainer does at the start of each stage.

        For "fit" and "validate" the test samples are not read, so a run that ends without a test has not seen
        them. Otherwise all data are read.

        Args:
            stage: fit, validate, test or predict; None for all of them.
        """
        self._begun = None
        needs_test = stage not in ("fit", "validate")
        if self._data is not None and (self._has_test or not needs_test):
            return
        self._data = self._resident = None  # frees the memory before the data are read again
        data = self.read() if needs_test else self.read_without_test()
        self._has_test = needs_test
        shape, dtype = (len(data.labels), *self.shape), torch.uint8 if len(self.shape) == 3 else torch.float32
        if data.inputs.dtype != dtype or data.inputs.shape != shape:
            raise ValueError(
                f"{type(self).__name__}.read() must return {dtype} of shape {shape}, one sample per label; "
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
        """Return the training samples, in a new order for each epoch unless `overfit_batches` is set."""
        # With a new order the first few batches of all epochs would cover the whole set.
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
        return self._batches(self._with_test.test)

    def predict_dataloader(self) -> TensorBatches:
        """Return the test samples in the published order, with labels, so that predictions can be judged."""
        return self._batches(self._with_test.test)

    def describe(self) -> Description:
        """Describe the data set.

        Returns:
            A table of the classes in each part, and a figure of training samples of every class.
        """
        data = self._with_test
        return describe(self, data.inputs, data.labels, (self._train, self._val, data.test))

    @property
    def _loaded(self) -> LabelledSet:
        if self._data is None:
            raise RuntimeError(
                f"{type(self).__name__} has not read its data. Call setup() first, as a Trainer does."
            )
        return self._data

    @property
    def _with_test(self) -> LabelledSet:
        if self._data is not None and not self._has_test:
            raise RuntimeError(
                f"{type(self).__name__} has not read its test samples, because it was set up for training. "
                'Call setup("test") first.'
            )
        return self._loaded

    def _batches(
        self,
        rows: Tensor,
        *,
        shuffle: bool = False,
        augment: Sequence[_augment.Augmentation] = (),
        mix: _mix.Mix | None = None,
    ) -> TensorBatches:
        inputs, labels = self._on_device()
        scale, shift = self._scaling()
        return TensorBatches(
            inputs,
            labels,
            rows,
            batch_size=self.batch_size,
            scale=scale,
            shift=shift,
            flatten=self.flatten,
            shuffle=shuffle,
            seed=self.seed,
            augment=augment,
            mix=mix,
            rank=self.trainer.global_rank if self.trainer is not None else 0,
            world_size=self.trainer.world_size if self.trainer is not None else 1,
            progress=self._progress,
        )

    def _scaling(self) -> tuple[list[float], list[float]]:
        """Return the factor and the offset of each channel or feature."""
        if self.normalize == "min-max" and len(self.shape) == 1:
            values = self._loaded.inputs[self._train].double()
            low, high = values.amin(0), values.amax(0)
            scale = torch.where(high > low, 1 / (high - low), 1.0)
            return scale.tolist(), (-low * scale).tolist()
        standardizes = self.normalize is True
        mean = self.mean if standardizes else (0.0,) * len(self.mean)
        std = self.std if standardizes else (1.0,) * len(self.std)
        return [1 / (self.pixel_max * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]

    def _progress(self) -> tuple[int, int] | None:
        """Return the epoch and the batch at which a training Trainer continues."""
        if self.trainer is None or not self.trainer.training:
            return None
        # The loader's own state in the checkpoint will not do: Lightning drops it if an optimizer asks for
        # the number of steps, and it would continue with the batches that `limit_train_batches` excludes.
        loop, epoch = self.trainer.fit_loop.epoch_loop, self.trainer.current_epoch
        # `restarting` is already False before the first batch of a run that was saved by a validation in the
        # middle of an epoch. Only the first epoch can continue from a batch: later the count is that of the
        # last epoch until the loop starts, and a callback that uses the loader before that would get no
        # batch.
        first, self._begun = self._begun is None, epoch
        return epoch, loop.batch_progress.current.ready if loop.restarting or first else 0

    def _on_device(self) -> tuple[Tensor, Tensor]:
        """Return inputs and labels on the device where batches are made."""
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
