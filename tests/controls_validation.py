"""Healthy runs whose data resemble faulty ones: their order, their duplicates, and their preparation.

This file holds no tests; `controls.py` lists these runs with all others.
"""

from collections.abc import Iterator
from typing import Any

import torch
from cases import Case, Control, usual
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, TensorDataset
from zoo import MLP, Module, digits

__all__ = ["VALIDATION_CONTROLS"]


class SomeClasses(Sampler[list[int]]):
    """Batches of 16 images of each of 4 classes, as metric learning draws them."""

    def __init__(self, labels: Tensor) -> None:
        self.labels, self.generator = labels, torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return len(self.labels) // 64

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            batch: list[int] = []
            for label in torch.randperm(10, generator=self.generator)[:4]:
                rows = (self.labels == label).nonzero().squeeze(1)
                batch += rows[torch.randperm(len(rows), generator=self.generator)[:16]].tolist()
            yield batch


def some_classes() -> Case:
    x, y, xv, yv = digits()
    data = (
        DataLoader(TensorDataset(x, y), batch_sampler=SomeClasses(y)),
        DataLoader(TensorDataset(xv, yv), 250),
    )
    return usual("mlp", net=MLP(3), data=data, steps=260)


class Noisy(Module):
    """Augments its training images with noise as large as the images, after dropout of a third of them."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return super().training_step((F.dropout(x, 0.3) + torch.randn_like(x), y), batch_idx)


def noisy_inputs() -> Case:
    return usual("mlp", net=MLP(3, 256), module=Noisy, steps=260)


class Masked(Module):
    """Nodes of one set: training and validation see all of them, and masks choose whose labels count."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, training = batch
        loss = self.loss(self(x)[training], y[training])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y, training = batch
        out = self(x)[~training]
        self.log("val_loss", self.loss(out, y[~training]))
        self.log("val_acc", (out.argmax(1) == y[~training]).float().mean())


def one_set_with_masks() -> Case:
    x, y, xv, yv = digits()
    inputs, labels = torch.cat([x, xv]), torch.cat([y, yv])
    whole = TensorDataset(inputs, labels, torch.arange(len(labels)) < len(x))
    data = DataLoader(whole, len(labels)), DataLoader(whole, len(labels))
    return usual("mlp", net=MLP(2, 32), module=Masked, data=data, steps=60)


def few_patterns() -> Case:
    """Images of nine black or white pixels: many images of both sets are equal."""
    x, y, xv, yv = digits()

    def patterns(images: Tensor) -> Tensor:
        return (F.adaptive_avg_pool2d(images.view(-1, 1, 8, 8), 3) > 0).float().flatten(1)

    data = (
        DataLoader(TensorDataset(patterns(x), y), 64, shuffle=True),
        DataLoader(TensorDataset(patterns(xv), yv), 250),
    )
    net = nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 10))
    return usual("mlp", net=net, data=data, steps=200)


VALIDATION_CONTROLS = (
    Control("healthy/some-classes-in-each-batch", "batches not shuffled", some_classes),
    Control("healthy/noisy-training-inputs", "validation prepared otherwise", noisy_inputs),
    Control("healthy/one-set-with-masks", "overlap", one_set_with_masks),
    Control("healthy/few-patterns", "overlap", few_patterns),
)
"""Appended to the controls of `controls.py`."""
