"""Faults of the data: how validation is prepared, the order and the labels of samples, and single batches.

This file holds no tests; `faults.py` lists these faults with all others.
"""

from collections.abc import Callable
from typing import Any

import torch
from cases import Case, Fault, usual
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from zoo import digits, loaders, table_loaders

__all__ = ["VALIDATION_FAULTS"]

IMAGES = ("mlp", "cnn")


def dataset(loader: DataLoader[Any]) -> Dataset[Any]:
    return loader.dataset


def wine(name: str, **changes: Any) -> Case:
    """178 wines with 13 measurements, of 3 kinds; `digits` in other nets."""
    if name != "wine":
        return usual(name, **{"steps": 200, **changes})
    net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    return Case(name, net, data=table_loaders("wine"), **{"steps": 120, **changes})


def validation_of(change: Callable[[Tensor], Tensor]) -> Callable[[Case], None]:
    """Change the inputs of the validation data."""

    def inject(case: Case) -> None:
        train, validation = case.data
        x, y = validation.dataset.tensors
        case.data = train, DataLoader(TensorDataset(change(x), y), 250)

    return inject


def raw_pixels(x: Tensor) -> Tensor:
    """Undo the normalization: pixels from 0 to 16, columns with the deviations of a table."""
    if x.shape[1] == 64:
        images = digits()[0]
        return (x - images.min()) * 16 / (images.max() - images.min())
    return x * 100 + 300


def validate_probabilities(case: Case) -> None:
    class Probabilities(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            out = self(x).softmax(1)
            self.log("val_loss", F.cross_entropy(out, y))
            self.log("val_acc", (out.argmax(1) == y).float().mean())

    case.module = Probabilities


def validate_on_training_data(case: Case) -> None:
    train, _ = case.data
    x, y = train.dataset.tensors
    case.data = train, DataLoader(TensorDataset(x[:500].clone(), y[:500].clone()), 250)


VALIDATION_FAULTS = (
    Fault("train-val-mismatch/raw-pixels", (*IMAGES, "wine"), 60, validation_of(raw_pixels), twin=wine),
    Fault("softmax-before-cross-entropy/validation-only", (*IMAGES, "wine"), 50, validate_probabilities,
          twin=wine),
    Fault("train-val-overlap/copy", (*IMAGES, "wine"), 50, validate_on_training_data, twin=wine),
)  # fmt: skip
"""Appended to the faults of `faults.py`."""
