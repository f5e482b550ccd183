"""Describe a data set: a table of its classes and a figure with samples of each."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nnfoundations.datamodules._data_module import TensorDataModule

__all__ = ["Description", "describe"]

PER_CLASS = 10


class Description(NamedTuple):
    """A table and a figure of a data set.

    Args:
        table: plain text: facts, then the samples of each class in each part.
        figure: training samples, with one row or colour per class.
    """

    table: str
    figure: Figure


def describe(
    data: TensorDataModule, inputs: Tensor, labels: Tensor, parts: tuple[Tensor, Tensor, Tensor]
) -> Description:
    """Describe a data set; `parts` are the rows of the training, validation and test part."""
    return Description(
        _table(data, [torch.bincount(labels[rows], minlength=data.num_classes).tolist() for rows in parts]),
        (_pictures if len(data.shape) == 3 else _planes)(data, inputs, labels, parts[0]),
    )


def _table(data: TensorDataModule, counts: list[list[int]]) -> str:
    rows: list[tuple[str, ...]] = [("class", "train", "val", "test")]
    rows += [
        (name, *map(str, row)) for name, row in zip(data.class_names, zip(*counts, strict=True), strict=True)
    ]
    rows += [("all", *(str(sum(part)) for part in counts))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{row[0]:{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    kind = "uint8 pixels" if len(data.shape) == 3 else "numbers"
    facts = [
        f"{data.name}: {data.num_classes} classes, {' x '.join(map(str, data.shape))} {kind}",
        f"mean {data.mean}, standard deviation {data.std}",
    ]
    if data.files:
        facts.append(f"files in {data.path}")
    return "\n".join(facts + lines)


def _pictures(data: TensorDataModule, images: Tensor, labels: Tensor, train: Tensor) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.6 * PER_CLASS + 1.2, 0.62 * data.num_classes), layout="constrained")
    axes = figure.subplots(data.num_classes, PER_CLASS, squeeze=False)
    for kind, row in enumerate(axes):
        chosen = train[labels[train] == kind][:PER_CLASS]
        for axis in row:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, image in zip(row, images[chosen], strict=False):
            picture = image.permute(1, 2, 0) if len(image) > 1 else image[0]
            axis.imshow(picture.numpy(), cmap="gray")
        row[0].set_ylabel(data.class_names[kind], rotation=0, ha="right", va="center", size=9)
    return figure


def _planes(data: TensorDataModule, points: Tensor, labels: Tensor, train: Tensor) -> Figure:
    """Draw one scatter plot per pair of features."""
    from matplotlib.figure import Figure

    pairs = list(combinations(range(data.shape[0]), 2))
    columns = min(3, len(pairs))
    figure = Figure(figsize=(3.6 * columns + 0.6, 3.4 * -(-len(pairs) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(pairs) // columns), columns, squeeze=False)
    for axis, (i, j) in zip(axes.flat, pairs, strict=True):
        for kind, name in enumerate(data.class_names):
            chosen = points[train[labels[train] == kind]].numpy()
            axis.scatter(chosen[:, i], chosen[:, j], s=8, alpha=0.7, label=name)
        axis.set(xlabel=data.feature_names[i], ylabel=data.feature_names[j])
    axes[0, 0].legend(fontsize=8)
    return figure
