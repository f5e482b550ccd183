"""Data sets as LightningDataModules: one base class, and one file of facts per set."""

from nnfoundations.datamodules._batches import TensorBatches
from nnfoundations.datamodules._cifar10 import CIFAR10DataModule
from nnfoundations.datamodules._data_module import LabelledSet, TensorDataModule
from nnfoundations.datamodules._describe import Description
from nnfoundations.datamodules._digits import DigitsDataModule
from nnfoundations.datamodules._files import CorruptFileError, DataFilesError, MissingFilesError, RemoteFile
from nnfoundations.datamodules._iris import IrisDataModule
from nnfoundations.datamodules._mnist import FashionMNISTDataModule, MNISTDataModule
from nnfoundations.datamodules._noisy_curve import NoisyCurveDataModule
from nnfoundations.datamodules._one_species import SetosaDataModule, VersicolorDataModule
from nnfoundations.datamodules._toys import (
    BlobsDataModule,
    CirclesDataModule,
    MoonsDataModule,
    SpiralsDataModule,
    XORDataModule,
)

__all__ = [
    "BlobsDataModule",
    "CIFAR10DataModule",
    "CirclesDataModule",
    "CorruptFileError",
    "DataFilesError",
    "Description",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "IrisDataModule",
    "LabelledSet",
    "MNISTDataModule",
    "MissingFilesError",
    "MoonsDataModule",
    "NoisyCurveDataModule",
    "RemoteFile",
    "SetosaDataModule",
    "SpiralsDataModule",
    "TensorBatches",
    "TensorDataModule",
    "VersicolorDataModule",
    "XORDataModule",
]
