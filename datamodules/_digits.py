"""scikit-learn's digits: small, real, and available without a download."""

import torch

from nnfoundations.datamodules._data_module import LabelledSet
from nnfoundations.datamodules._single_split import SingleSplitDataModule

__all__ = ["DigitsDataModule"]


class DigitsDataModule(SingleSplitDataModule):
    """1,797 handwritten digits of 8x8 pixels from 13 people, 17 grey levels (`sklearn.datasets.load_digits`).

    Arguments are those of TensorDataModule and SingleSplitDataModule.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
    """

    name = "digits"
    shape = (1, 8, 8)
    num_classes = 10
    class_names = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    pixel_max = 16
    mean, std = (0.3053,), (0.3761,)  # of all images, because the training part depends on the seed

    def read(self) -> LabelledSet:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).to(torch.uint8).unsqueeze(1)
        return self.split(images, torch.from_numpy(digits.target).to(torch.int64))
