"""Base class of data sets that are published without a test part."""

from typing import Any

from torch import Tensor

from nnfoundations.datamodules._arguments import check_size, rows_of
from nnfoundations.datamodules._data_module import LabelledSet, TensorDataModule
from nnfoundations.datamodules._split import stratified_split

__all__ = ["SingleSplitDataModule"]


class SingleSplitDataModule(TensorDataModule):
    """A TensorDataModule that draws its test part, stratified by class.

    Args:
        root: not used.
        test_size: test samples: a number of at least 1, or a fraction between 0 and 1, drawn with
            `split_seed`.
        val_size: validation samples: a number or a fraction of the remaining samples.
        arguments: those of TensorDataModule.
    """

    def __init__(
        self,
        root: str | None = None,
        *,
        test_size: int | float = 0.2,
        val_size: int | float = 0.1,
        **arguments: Any,
    ) -> None:
        check_size("test_size", test_size)
        self.test_size = test_size
        super().__init__(root, val_size=val_size, **arguments)

    def split(self, inputs: Tensor, labels: Tensor) -> LabelledSet:
        """Draw the test part.

        Args:
            inputs: all samples, `(N, *shape)`.
            labels: their classes, `(N,)` int64.

        Returns:
            The data set with its test rows.
        """
        size = rows_of("test_size", self.test_size, len(labels))
        _, test = stratified_split(labels, size, (self.split_seed, 0))
        return LabelledSet(inputs, labels, test)
