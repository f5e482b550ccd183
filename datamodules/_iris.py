"""Iris, the classic small data set, from scikit-learn."""

import torch

from nnfoundations.datamodules._data_module import LabelledSet
from nnfoundations.datamodules._single_split import SingleSplitDataModule

__all__ = ["IrisDataModule"]


class IrisDataModule(SingleSplitDataModule):
    """150 flowers of three species, four lengths in cm (`sklearn.datasets.load_iris`).

    Arguments are those of TensorDataModule and SingleSplitDataModule.

    Source: R. A. Fisher 1936, from E. Anderson's measurements.
    """

    name = "iris"
    shape = (4,)
    num_classes = 3
    class_names = ("setosa", "versicolor", "virginica")
    feature_names = ("sepal length", "sepal width", "petal length", "petal width")
    mean, std = (5.8433, 3.0573, 3.7580, 1.1993), (0.8281, 0.4359, 1.7653, 0.7622)  # of all flowers

    def read(self) -> LabelledSet:
        from sklearn.datasets import load_iris

        iris = load_iris()
        lengths = torch.from_numpy(iris.data).to(torch.float32)
        return self.split(lengths, torch.from_numpy(iris.target).to(torch.int64))
