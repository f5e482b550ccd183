"""Faults of the data: how validation is prepared, the order and the labels of samples, and single batches.

This file holds no tests; `faults.py` lists these faults with all others.
"""

from collections.abc import Callable
from typing import Any

import torch
from cases import Case, Fault, usual
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset
from zoo import digits, loaders, table_loaders

__all__ = ["VALIDATION_FAULTS"]

IMAGES = ("mlp", "cnn")


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


def validate_squares(case: Case) -> None:
    class Squares(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            out = self(x)
            self.log("val_loss", F.mse_loss(out.softmax(1), F.one_hot(y, out.shape[1]).float()))
            self.log("val_acc", (out.argmax(1) == y).float().mean())

    case.module = Squares


def validate_on_training_data(case: Case) -> None:
    train, _ = case.data
    x, y = train.dataset.tensors
    case.data = train, DataLoader(TensorDataset(x[:500].clone(), y[:500].clone()), 250)


def sorted_by_class(case: Case) -> None:
    train, validation = case.data
    x, y = train.dataset.tensors
    order = torch.argsort(y, stable=True)
    case.data = DataLoader(TensorDataset(x[order], y[order]), train.batch_size), validation


def of_training_batches(change: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]) -> Any:
    """Change each training batch; `change` gets the inputs, the targets and the step."""

    def inject(case: Case) -> None:
        class Changed(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
            def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                if not self.trainer.training:
                    return batch
                return change(*batch, self.trainer.global_step)

        case.module = Changed

    return inject


def permuted(x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
    return x, y[torch.randperm(len(y))]


def huge_at_100(x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
    return (x * 1e4 if step == 100 else x), y


def other_labels(case: Case) -> None:
    """The labels are shuffled once, without the inputs, before the split."""
    train, validation = case.data
    generator = torch.Generator().manual_seed(1)
    data = []
    for loader in (train, validation):
        x, y = loader.dataset.tensors
        data.append(TensorDataset(x, y[torch.randperm(len(y), generator=generator)]))
    case.data = DataLoader(data[0], train.batch_size, shuffle=True), DataLoader(data[1], 250)


def some_random(case: Case) -> None:
    """30 % of the training labels are drawn at random."""
    train, validation = case.data or loaders()
    x, y = train.dataset.tensors
    generator = torch.Generator().manual_seed(1)
    chosen = torch.rand(len(y), generator=generator) < 0.3
    labels = torch.where(chosen, torch.randint(0, 10, y.shape, generator=generator), y)
    case.data = DataLoader(TensorDataset(x, labels), train.batch_size, shuffle=True), validation


def rare(name: str, weight: float = 24.0) -> Case:
    """One of 25 samples shows a nine that is drawn into a crowd of other digits."""
    x, y, xv, yv = digits()
    data = []
    for images, labels in ((x, y), (xv, yv)):
        nines, others = images[labels == 9][::4], images[labels != 9]
        inputs = torch.cat([nines, others])
        targets = torch.cat([torch.ones(len(nines)), torch.zeros(len(others))])
        inputs = inputs + 1.5 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0))
        data.append(TensorDataset(inputs, targets[:, None]))
    case = usual(name, steps=220, data=(DataLoader(data[0], 64, shuffle=True), DataLoader(data[1], 250)))
    case.net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    case.optimizer = lambda parameters: Adam(parameters, 3e-4, weight_decay=1e-3)
    case.loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))
    return case


def unweighted(case: Case) -> None:
    case.loss = nn.BCEWithLogitsLoss()


def dropped(name: str, p: float = 0.5) -> Case:
    """A dropout layer after each activation."""
    case = wine(name, steps=200)
    layers: list[nn.Module] = []
    for layer in case.net:
        layers += [layer, nn.Dropout(p)] if isinstance(layer, nn.ReLU) else [layer]
    case.net = nn.Sequential(*layers)
    return case


def drop_nearly_all(case: Case) -> None:
    for layer in case.net:
        if isinstance(layer, nn.Dropout):
            layer.p = 0.95


def table(name: str) -> Case:
    if name == "cancer":
        net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 1))
        return Case(name, net, loss=F.binary_cross_entropy_with_logits, data=table_loaders("cancer"))
    return wine(name)


def three_columns(x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
    factor = torch.ones(x.shape[1])
    factor[2:5] = 1000.0
    return x * factor, y


def longer(name: str) -> Case:
    return wine(name, steps=400)


def normalized(name: str) -> Case:
    """Two layers with batch normalization; `cnn-batchnorm` has three."""
    case = wine(name, steps=220)
    if name == "mlp":
        layers = [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64)]
        case.net = nn.Sequential(*layers, nn.ReLU(), nn.Linear(64, 10))
    if name == "wine":
        case.net = nn.Sequential(nn.Linear(13, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    return case


def batch_of_two(case: Case) -> None:
    train, validation = case.data
    case.data = DataLoader(train.dataset, 2, shuffle=True, drop_last=True), validation


def slow_statistics(case: Case) -> None:
    for layer in case.net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = 0.0005


VALIDATION_FAULTS = (
    Fault("train-val-mismatch/raw-pixels", (*IMAGES, "wine"), 60, validation_of(raw_pixels), twin=wine),
    Fault("softmax-before-cross-entropy/validation-only", (*IMAGES, "wine"), 50, validate_probabilities,
          twin=wine),
    Fault("validation-loss-differs/squares", (*IMAGES, "wine"), 50, validate_squares, twin=wine),
    Fault("train-val-overlap/copy", (*IMAGES, "wine"), 50, validate_on_training_data, twin=wine),
    Fault("batches-not-shuffled/sorted-by-class", (*IMAGES, "wine"), 30, sorted_by_class, twin=wine),
    Fault("bad-batch/times-10000", IMAGES, 140, of_training_batches(huge_at_100), twin=wine),
    Fault("labels-unrelated-to-inputs/permuted-in-batches", IMAGES, 400, of_training_batches(permuted),
          twin=longer),
    Fault("labels-unrelated-to-inputs/shuffled-once", (*IMAGES, "residual"), 400, other_labels, twin=longer),
    Fault("noisy-labels/thirty-per-cent", ("cnn", "recurrent", "transformer"), 400, some_random,
          twin=longer),
    Fault("batch-statistics-too-noisy/batch-of-two", ("mlp", "wine"), 220, batch_of_two, twin=normalized),
    Fault("batch-statistics-too-noisy/slow-statistics", ("cnn-batchnorm", "mlp"), 220, slow_statistics,
          twin=normalized),
    Fault("over-regularized/dropout", ("wine", "cnn"), 210, drop_nearly_all, twin=dropped),
    Fault("unscaled-inputs/three-columns", ("cancer", "wine"), 3, of_training_batches(three_columns),
          twin=table),
    Fault("one-class-predicted/rare-class", ("mlp",), 220, unweighted, twin=rare),
)  # fmt: skip
"""Appended to the faults of `faults.py`."""
