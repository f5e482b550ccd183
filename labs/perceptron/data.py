"""The irises as the perceptron sees them: one species against the two others."""

from typing import Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.errors import OptionError

__all__ = ["SPECIES", "FlowersDataModule", "flowers"]

SPECIES = ("setosa", "versicolor", "virginica")
Scaling = Literal["raw", "standard", "min_max"]
Features = Literal["sepals", "all"]


def flowers(
    species: str = "setosa", scaling: Scaling = "raw", features: Features = "sepals"
) -> tuple[torch.Tensor, torch.Tensor]:
    """All 150 irises.

    Args:
        species: the class 1; the two others are the class 0.
        scaling: `raw` in cm; `standard`: mean 0 and standard deviation 1; `min_max`: from 0 to 1.
        features: `sepals`: their length and width; `all`: petals too.

    Returns:
        x `(150, 2)` or `(150, 4)` float32 and y `(150,)` int64.

    Raises:
        OptionError: there is no such species or scaling.
    """
    from sklearn.datasets import load_iris

    lengths, target = load_iris(return_X_y=True)
    if species not in SPECIES or scaling not in ("raw", "standard", "min_max"):
        raise OptionError(
            f"species is one of {', '.join(SPECIES)}, scaling raw, standard or min_max; "
            f"got {species} and {scaling}."
        )
    x = lengths[:, :2] if features == "sepals" else lengths
    if scaling == "standard":
        x = (x - x.mean(0)) / x.std(0)
    elif scaling == "min_max":
        x = (x - x.min(0)) / (x.max(0) - x.min(0))
    y = target == SPECIES.index(species)
    return torch.from_numpy(x).to(torch.float32), torch.from_numpy(y).to(torch.int64)


class FlowersDataModule(LightningDataModule):
    """All flowers as training data, one batch per epoch, in a new order each time.

    The question is about convergence on given data, so there is no validation part. The perceptron goes
    through the rows of a batch one by one. `--seed_everything` determines the orders.

    Args:
        species: see `flowers`.
        scaling: see `flowers`.
        features: see `flowers`.
    """

    def __init__(
        self, species: str = "setosa", scaling: Scaling = "raw", features: Features = "sepals"
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.data = TensorDataset(*flowers(species, scaling, features))
        self.order = torch.Generator().manual_seed(torch.initial_seed())

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """All flowers as one batch."""
        return DataLoader(self.data, batch_size=len(self.data), shuffle=True, generator=self.order)
