"""Sets in the plane, drawn from a formula: what a network must bend for, to be seen at a glance."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from nnfoundations.datamodules._arguments import check_at_least
from nnfoundations.datamodules._data_module import LabelledSet
from nnfoundations.datamodules._drawn_test import DrawnTestDataModule

Array = npt.NDArray[np.float64]

POINTS = 2000


class ToyDataModule(DrawnTestDataModule):
    """2,000 points of the plane, as many of each class; `split_seed` also draws the points.

    Args:
        noise: Standard deviation of the Gaussian that each point is moved by, along each axis; at least 0.
            None: that of the set.

    Other arguments: see TensorDataModule and DrawnTestDataModule.
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
        """Where points of a class lie without noise. Args: t: evenly drawn from [0, 1), ascending."""

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
    """Four clouds at (+-1, +-1); class 1 where the signs differ. No line parts them.

    Source: M. Minsky and S. Papert 1969.
    """

    name = "xor"
    default_noise = 0.25
    mean, std = (0.0, 0.0), (1.0308, 1.0308)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        x = np.where(t < 0.5, -1.0, 1.0)
        return x, (-x if kind else x)


class BlobsDataModule(ToyDataModule):
    """Four round clouds on a circle of radius 2, a class each: planes part them."""

    name = "blobs"
    num_classes = 4
    class_names = ("0", "1", "2", "3")
    default_noise = 0.5
    mean, std = (0.0, 0.0), (1.5, 1.5)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        angle = np.full_like(t, math.pi * (2 * kind + 1) / 4)
        return 2 * np.cos(angle), 2 * np.sin(angle)


class MoonsDataModule(ToyDataModule):
    """Two half circles of radius 1, one dipping into the other."""

    name = "moons"
    default_noise = 0.1
    mean, std = (0.5, 0.25), (0.8718, 0.5019)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        x, y = np.cos(math.pi * t), np.sin(math.pi * t)
        return (1 - x, 0.5 - y) if kind else (x, y)


class CirclesDataModule(ToyDataModule):
    """Two circles around the origin: radius 1, and inside it 0.5."""

    name = "circles"
    default_noise = 0.08
    mean, std = (0.0, 0.0), (0.5647, 0.5647)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        radius = 0.5 if kind else 1.0
        return radius * np.cos(2 * math.pi * t), radius * np.sin(2 * math.pi * t)


class SpiralsDataModule(ToyDataModule):
    """Two spirals of one and a half turns around each other, from the origin to radius 1.

    Source: K. Lang and M. Witbrock 1988.
    """

    name = "spirals"
    default_noise = 0.02
    mean, std = (0.0, 0.0), (0.5, 0.5)

    def curve(self, kind: int, t: Array) -> tuple[Array, Array]:
        radius = np.sqrt(t)  # as many points on each piece of its length, nearly
        angle = 3 * math.pi * radius + math.pi * kind
        return radius * np.cos(angle), radius * np.sin(angle)
