"""A regression data set: a function of one number with noise and some outliers."""

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.datamodules._arguments import check_at_least, check_share, resolve_seed

__all__ = ["NoisyCurveDataModule"]


class NoisyCurveDataModule(LightningDataModule):
    r"""Points of f(x) = sin 2x + x / 2 with x uniform in [-2, 2], as batches `(x, y)`, both float32 `(N, 1)`.

    y has Gaussian noise. In training a share of the points are outliers, moved up by 3. Validation and test
    points have noise but no outliers, because f is to be learnt.

    Args:
        batch_size: training points per batch, at least 1; validation and test are one batch each.
        points: training points, at least 1; half as many for validation and for test.
        noise: standard deviation of the noise, at least 0.
        outliers: share of the training points that are outliers, 0 to 1.
        seed: random seed of the training order, not negative. None: the seed of Lightning's
            `seed_everything`, or 0 if it was not called.
        split_seed: random seed of the points, not negative.

    Raises:
        ValueError: an argument is out of range.
    """

    shape = (1,)

    def __init__(
        self,
        *,
        batch_size: int = 32,
        points: int = 256,
        noise: float = 0.1,
        outliers: float = 0.1,
        seed: int | None = None,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("points", points, 1),
            ("noise", noise, 0),
            ("split_seed", split_seed, 0),
        ):
            check_at_least(name, value, least)
        check_share("outliers", outliers)
        seed = resolve_seed(seed)
        self.batch_size, self.points, self.noise, self.outliers = batch_size, points, noise, outliers
        self.seed, self.split_seed = seed, split_seed
        self.save_hyperparameters()
        self._parts: dict[str, TensorDataset] = {}

    @staticmethod
    def function(x: Tensor) -> Tensor:
        """Return f(x) without noise.

        Args:
            x: any shape.

        Returns:
            Same shape as x.
        """
        return torch.sin(2 * x) + x / 2

    def setup(self, stage: str | None = None) -> None:
        """Draw the points; for "fit" and "validate" none of the test part."""
        half = -(-self.points // 2)
        sizes = {"train": self.points, "val": half}
        if stage not in ("fit", "validate"):
            sizes["test"] = half
        if set(sizes) <= set(self._parts):
            return
        generator = np.random.default_rng(self.split_seed)
        for name, points in sizes.items():
            x = torch.from_numpy(generator.uniform(-2, 2, (points, 1))).float()
            y = (
                self.function(x)
                + self.noise * torch.from_numpy(generator.standard_normal((points, 1))).float()
            )
            if name == "train":
                moved = generator.permutation(points)[: round(self.outliers * points)]
                y[torch.from_numpy(moved)] += 3
            self._parts[name] = TensorDataset(x, y)

    def points_of(self, part: str) -> tuple[Tensor, Tensor]:
        """Return all points of a part.

        Args:
            part: "train", "val" or "test".

        Returns:
            x and y, both `(n, 1)` float32.
        """
        self.setup("test" if part == "test" else "fit")
        x, y = self._parts[part].tensors
        return x, y

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(self._parts["train"], self.batch_size, shuffle=True, generator=generator)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._parts["val"], self.points)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._parts["test"], self.points)

    predict_dataloader = test_dataloader
