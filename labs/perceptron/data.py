"""The irises as a DataModule."""

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.labs.perceptron.flowers import Features, Scaling, flowers

__all__ = ["FlowersDataModule"]


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
        self.data = TensorDataset(*map(torch.from_numpy, flowers(species, scaling, features)))
        self.order = torch.Generator().manual_seed(torch.initial_seed())

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """All flowers as one batch."""
        return DataLoader(self.data, batch_size=len(self.data), shuffle=True, generator=self.order)
