"""Iris as a binary problem: the classic example for the perceptron."""

import torch

from nnfoundations.datamodules._data_module import LabelledSet
from nnfoundations.datamodules._iris import IrisDataModule

__all__ = ["SetosaDataModule"]


class SetosaDataModule(IrisDataModule):
    """Iris setosa (1) against the two other species (0), which are linearly separable.

    Arguments are those of TensorDataModule and SingleSplitDataModule.
    """

    name = "setosa"
    num_classes = 2
    class_names = ("other", "setosa")  # type: ignore[assignment]  # two, where Iris has three

    def read(self) -> LabelledSet:
        data = super().read()
        return data._replace(labels=(data.labels == 0).to(torch.int64))
