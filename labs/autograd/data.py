"""The four patterns of XOR, and the digits with a split of its own for each seed."""

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["DigitSplitsDataModule", "XORTableDataModule", "split_digits", "xor_table"]


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


Split = tuple[torch.Tensor, torch.Tensor]


def split_digits(seed: int) -> tuple[Split, Split]:
    """Split the digits of scikit-learn, stratified by class, and standardize each pixel.

    Mean and standard deviation are those of the training part. 0.1 is added to the standard deviation,
    because some pixels at the edge are nearly always blank.

    Args:
        seed: of the split.

    Returns:
        1,437 training samples and 360 others, each as x `(N, 64)` float32 and y `(N,)` int64.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16, y, test_size=360, stratify=y, random_state=seed)
    mean, deviation = parts[0].mean(0), parts[0].std(0) + 0.1
    train_x, test_x = (torch.from_numpy((part - mean) / deviation).float() for part in parts[:2])
    train_y, test_y = (torch.from_numpy(part).long() for part in parts[2:])
    return (train_x, train_y), (test_x, test_y)


class DigitSplitsDataModule(LightningDataModule):
    """The training part of the digits, with a split and an order of its own for each `--seed_everything`.

    Nothing is chosen, so there is no validation part.

    Args:
        batch_size: samples per batch.
    """

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        seed = torch.initial_seed() % 2**31
        self.save_hyperparameters({"batch_size": batch_size, "split_seed": seed})
        self.batch_size = batch_size
        self.data = TensorDataset(*split_digits(seed)[0])
        self.order = torch.Generator().manual_seed(seed)

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """The training samples, in a new order for each epoch."""
        return DataLoader(self.data, self.batch_size, shuffle=True, generator=self.order)
