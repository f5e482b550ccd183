"""MNIST and Fashion-MNIST: four IDX files each, in the folders of torchvision."""

from collections.abc import Sequence

import numpy as np
import torch

from nnfoundations.datamodules._data_module import LabelledSet, TensorDataModule
from nnfoundations.datamodules._files import RemoteFile, read_all
from nnfoundations.datamodules._idx import decode_idx

__all__ = ["FashionMNISTDataModule", "MNISTDataModule"]


class _IDXDataModule(TensorDataModule):
    """Reads files in this order: training images, training labels, test images, test labels."""

    shape = (1, 28, 28)
    num_classes = 10
    pixel_max = 255

    def read(self) -> LabelledSet:
        return self._parts(self.files)

    def read_without_test(self) -> LabelledSet:
        return self._parts(self.files[:2])

    def _parts(self, files: Sequence[RemoteFile]) -> LabelledSet:
        """Read images and labels of the training part, and of the test part if its files are given."""
        contents = read_all(files, self.path, self.addresses)
        images = [decode_idx(content, 3) for content in contents[::2]]
        labels = [decode_idx(content, 1) for content in contents[1::2]]
        y = torch.from_numpy(np.concatenate(labels)).to(torch.int64)
        x = torch.from_numpy(np.concatenate(images)).unsqueeze(1)
        return LabelledSet(x, y, torch.arange(len(labels[0]), len(y)))


class MNISTDataModule(_IDXDataModule):
    """70,000 handwritten digits of 28x28 pixels, the last 10,000 of them for testing.

    Read from `ROOT/MNIST/raw`, packed or unpacked; missing files are downloaded there.
    Arguments are those of TensorDataModule.

    Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner 1998.
    """

    name = "mnist"
    class_names = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    mean, std = (0.1307,), (0.3081,)
    folder = "MNIST/raw"
    mirrors = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    files = (
        RemoteFile(
            "train-images-idx3-ubyte.gz",
            md5="f68b3c2dcbeaaa9fbdd348bbdeb94873",
            unpacked_md5="6bbc9ace898e44ae57da46a324031adb",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz",
            md5="d53e105ee54ea40749a09fcbcd1e9432",
            unpacked_md5="a25bea736e30d166cdddb491f175f624",
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte.gz",
            md5="9fb629c4189551a2d022fa330f9573f3",
            unpacked_md5="2646ac647ad5339dbf082846283269ea",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz",
            md5="ec29112dd5afa0611ce80d1b7f02629c",
            unpacked_md5="27ae3e4e09519cfbb04c329615203637",
        ),
    )


class FashionMNISTDataModule(_IDXDataModule):
    """70,000 grey images of clothes of 28x28 pixels, the last 10,000 of them for testing.

    Read from `ROOT/FashionMNIST/raw`, packed or unpacked; missing files are downloaded there.
    Arguments are those of TensorDataModule.

    Source: H. Xiao, K. Rasul and R. Vollgraf 2017.
    """

    name = "fashion_mnist"
    class_names = (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    mean, std = (0.2860,), (0.3530,)
    folder = "FashionMNIST/raw"
    # The repository of the authors and the mirror of Keras. The original host has no https, and networks have
    # served MNIST in its place.
    mirrors = (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    )
    files = (
        RemoteFile(
            "train-images-idx3-ubyte.gz",
            md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            unpacked_md5="f4a8712d7a061bf5bd6d2ca38dc4d50a",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz",
            md5="25c81989df183df01b3e8a0aad5dffbe",
            unpacked_md5="9018921c3c673c538a1fc5bad174d6f9",
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte.gz",
            md5="bef4ecab320f06d8554ea6380940ec79",
            unpacked_md5="8181f5470baa50b63fa0f6fddb340f0a",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz",
            md5="bb300cfdad3c16e7a12a480ee83cd310",
            unpacked_md5="15d484375f8d13e6eb1aabb0c3f46965",
        ),
    )
