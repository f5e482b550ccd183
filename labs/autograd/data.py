"""The four patterns of XOR, and digits that are split anew for each seed."""

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.datamodules import DigitsDataModule

__all__ = ["DigitSplitsDataModule", "XORTableDataModule", "xor_table"]


def xor_table() -> tuple[torch.Tensor, torch.Tensor]:
    """The truth table.

    Returns:
        x `(4, 2)` float32 with entries -1 and 1, and y `(4,)` int64: 1 if the signs differ.
    """
    x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    return x, (x[:, 0] != x[:, 1]).long()


class XORTableDataModule(LightningDataModule):
    """The four patterns as one batch, several times per epoch. There is nothing else to validate on.

    Args:
        steps: batches per epoch.
    """

    def __init__(self, steps: int = 10) -> None:
        super().__init__()
        self.save_hyperparameters()
        x, y = xor_table()
        self.data = TensorDataset(x.repeat(steps, 1), y.repeat(steps))

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """The batches, all equal."""
        return DataLoader(self.data, batch_size=4)


class DigitSplitsDataModule(DigitsDataModule):
    """The digits, with a stratified split and an order of their own for each `--seed_everything`.

    Args:
        batch_size: samples per batch.
    """

    def __init__(self, batch_size: int = 32) -> None:
        seed = torch.initial_seed() % 2**31
        super().__init__(batch_size=batch_size, seed=seed, split_seed=seed)
        self.save_hyperparameters({"split_seed": seed})  # for whoever reads the checkpoint
