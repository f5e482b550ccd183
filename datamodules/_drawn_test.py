"""Sets that are published in one piece: their test part is drawn, class by class."""

from typing import Any

from torch import Tensor

from nnfoundations.datamodules._arguments import check_size, rows_of
from nnfoundations.datamodules._data_module import LabelledSet, TensorDataModule
from nnfoundations.datamodules._split import stratified_split


class DrawnTestDataModule(TensorDataModule):
    """As TensorDataModule, and what follows.

    Args:
        root: Nothing is read from it.
        test_size: Test samples: a number of at least 1, or a fraction between 0 and 1. `split_seed` draws
            them, too; val_size and train_size are out of what they leave over.
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
        """The set with a test part drawn from all of it."""
        size = rows_of("test_size", self.test_size, len(labels))
        _, test = stratified_split(labels, size, (self.split_seed, 0))
        return LabelledSet(inputs, labels, test)
