"""Iris, the classic small data set, from scikit-learn."""

from typing import Any, ClassVar, Literal

import torch

from nnfoundations.datamodules._arguments import check_choice
from nnfoundations.datamodules._data_module import LabelledSet
from nnfoundations.datamodules._single_split import SingleSplitDataModule

__all__ = ["IrisDataModule"]

_COLUMNS = {"all": slice(0, 4), "sepals": slice(0, 2), "petals": slice(2, 4)}


class IrisDataModule(SingleSplitDataModule):
    """150 flowers of three species, four lengths in cm (`sklearn.datasets.load_iris`).

    Args:
        root: not used.
        features: the lengths to use: "all", "sepals" or "petals", two each.
        arguments: those of TensorDataModule and SingleSplitDataModule.

    Source: R. A. Fisher 1936, from E. Anderson's measurements.
    """

    name = "iris"
    shape: tuple[int, ...] = (4,)
    num_classes = 3
    class_names: ClassVar[tuple[str, ...]] = ("setosa", "versicolor", "virginica")
    feature_names: tuple[str, ...] = ("sepal length", "sepal width", "petal length", "petal width")
    mean: tuple[float, ...] = (5.8433, 3.0573, 3.7580, 1.1993)  # of all flowers
    std: tuple[float, ...] = (0.8281, 0.4359, 1.7653, 0.7622)

    def __init__(
        self,
        root: str | None = None,
        *,
        features: Literal["all", "sepals", "petals"] = "all",
        **arguments: Any,
    ) -> None:
        check_choice("features", features, tuple(_COLUMNS))
        self.features, columns = features, _COLUMNS[features]
        self.feature_names = self.feature_names[columns]
        self.mean, self.std = self.mean[columns], self.std[columns]
        self.shape = (len(self.mean),)
        super().__init__(root, **arguments)

    def read(self) -> LabelledSet:
        from sklearn.datasets import load_iris

        iris = load_iris()
        lengths = torch.from_numpy(iris.data[:, _COLUMNS[self.features]]).to(torch.float32).contiguous()
        return self.split(lengths, torch.from_numpy(iris.target).to(torch.int64))
