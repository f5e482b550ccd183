"""Data sets in the plane, drawn from a formula, whose decision boundary can be plotted."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from nnfoundations.datamodules._arguments import check_at_least
from nnfoundations.datamodules._data_module import LabelledSet
from nnfoundations.datamodules._single_split import SingleSplitDataModule

__all__ = [
    "BlobsDataModule",
    "CirclesDataModule",
    "MoonsDataModule",
    "SpiralsDataModule",
    "ToyDataModule",
    "XORDataModule",
]

Array = npt.NDArray[np.float64]

POINTS = 2000


class ToyDataModule(SingleSplitDataModule):
    """2,000 points of the plane, the same number in each class; `split_seed` also draws the points.

    Args:
        root: not used.
        noise: standard deviation of the Gaussian noise on each coordinate, at least 0. None: the default of
            the data set.
        arguments: those of TensorDataModule and SingleSplitDataModule.
    """

    shape = (2,)
    num_classes = 2
    class_names: ClassVar[tuple[str, ...]] = ("0", "1")
    feature_names = ("x1", "x2")
    default_noise: ClassVar[float]

    def __init__(self, root: str | None = None, *, noise: float | None = None, **arguments: Any) -> None:
        if noise is not None:
            check_at_least("noise", noise, 0)
        self.noise = self.default_noise if noise is None else noise
        super().__init__(root, **arguments)

    @abstractmethod
    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        """Return the points of a class without noise.

        Args:
            kind: the class.
            t: uniform draws from [0, 1), ascending, `(n,)`.

        Returns:
            x and y, both `(n,)`.
        """

    def read(self) -> LabelledSet:
        generator = np.random.default_rng((self.split_seed, 4))
        each = POINTS // self.num_classes
        classes = []
        for kind in range(self.num_classes):
            t = (np.arange(each) + generator.random(each)) / each
            classes.append(np.stack(self.curve(kind, t), axis=1))
        points = np.concatenate(classes)
        points += self.noise * generator.standard_normal(points.shape)
        labels = torch.arange(self.num_classes).repeat_interleave(each)
        return self.split(torch.from_numpy(points).to(torch.float32), labels)


class XORDataModule(ToyDataModule):
    """Four clouds at (+-1, +-1); class 1 if the signs differ. No line separates the classes.

    Source: M. Minsky and S. Papert 1969.
    """

    name = "xor"
    default_noise = 0.25
    mean, std = (0.0, 0.0), (1.0308, 1.0308)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        x = np.where(t < 0.5, -1.0, 1.0)
        return x, (-x if kind else x)


class BlobsDataModule(ToyDataModule):
    """Four round clouds on a circle of radius 2, one per class, which are linearly separable."""

    name = "blobs"
    num_classes = 4
    class_names = ("0", "1", "2", "3")
    default_noise = 0.5
    mean, std = (0.0, 0.0), (1.5, 1.5)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        angle = np.full_like(t, math.pi * (2 * kind + 1) / 4)
        return 2 * np.cos(angle), 2 * np.sin(angle)


class MoonsDataModule(ToyDataModule):
    """Two interleaving half circles of radius 1."""

    name = "moons"
    default_noise = 0.1
    mean, std = (0.5, 0.25), (0.8718, 0.5019)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        x, y = np.cos(math.pi * t), np.sin(math.pi * t)
        return (1 - x, 0.5 - y) if kind else (x, y)


class CirclesDataModule(ToyDataModule):
    """Two circles around the origin, of radius 1 and 0.5."""

    name = "circles"
    default_noise = 0.08
    mean, std = (0.0, 0.0), (0.5647, 0.5647)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        radius = 0.5 if kind else 1.0
        return radius * np.cos(2 * math.pi * t), radius * np.sin(2 * math.pi * t)


class SpiralsDataModule(ToyDataModule):
    """Two intertwined spirals of one and a half turns, from the origin to radius 1.

    Source: K. Lang and M. Witbrock 1988.
    """

    name = "spirals"
    default_noise = 0.02
    mean, std = (0.0, 0.0), (0.5, 0.5)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        radius = np.sqrt(t)  # spreads the points almost evenly along the spiral
        angle = 3 * math.pi * radius + math.pi * kind
        return radius * np.cos(angle), radius * np.sin(angle)
