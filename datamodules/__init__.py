"""Data sets for Lightning: one base class, and a file of facts for each set."""

from nnfoundations.datamodules._digits import DigitsDataModule
from nnfoundations.datamodules._files import CorruptFileError, DataFilesError, MissingFilesError
from nnfoundations.datamodules._image_batches import ImageBatches
from nnfoundations.datamodules._image_data_module import ImageDataModule
from nnfoundations.datamodules._mnist import FashionMNISTDataModule, MNISTDataModule

__all__ = [
    "CorruptFileError",
    "DataFilesError",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageBatches",
    "ImageDataModule",
    "MNISTDataModule",
    "MissingFilesError",
]
