"""Iris as two binary problems: one that a plane separates, and one that none does."""

import torch

from nnfoundations.datamodules._data_module import LabelledSet
from nnfoundations.datamodules._iris import IrisDataModule

__all__ = ["SetosaDataModule", "VersicolorDataModule"]


class SetosaDataModule(IrisDataModule):
    """Iris setosa (1) against the two other species (0), which are linearly separable, by the sepals too.

    Arguments are those of IrisDataModule.
    """

    name = "setosa"
    num_classes = 2
    class_names = ("other", "setosa")

    def read(self) -> LabelledSet:
        return _against_the_rest(super().read(), 0)


class VersicolorDataModule(IrisDataModule):
    """Iris versicolor (1) against the two other species (0), which are not linearly separable.

    Arguments are those of IrisDataModule.
    """

    name = "versicolor"
    num_classes = 2
    class_names = ("other", "versicolor")

    def read(self) -> LabelledSet:
        return _against_the_rest(super().read(), 1)


def _against_the_rest(data: LabelledSet, species: int) -> LabelledSet:
    return data._replace(labels=(data.labels == species).to(torch.int64))
