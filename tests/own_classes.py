"""Classes of a user's own, written as a module to be copied into a folder. Nothing here is a test."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset


class MyData(LightningDataModule):
    """Sums of four numbers."""

    def __init__(self, batch_size: int = 50):
        super().__init__()
        x = torch.linspace(-1, 1, 800).sin().reshape(200, 4)
        self.data, self.batch_size = TensorDataset(x, x.sum(1, keepdim=True)), batch_size

    def _loader(self):
        return DataLoader(self.data, batch_size=self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader


class MyModule(LightningModule):
    """A linear map; its mask is infinite on purpose."""

    def __init__(self, lr: float = 0.1, step_size: int = 0):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
        self.register_buffer("mask", torch.full((2,), float("-inf")))
        self.lr, self.step_size = lr, step_size

    def _loss(self, batch, name):
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log(name, loss)
        return loss

    def training_step(self, batch, batch_idx):
        return self._loss(batch, "train_loss")

    def validation_step(self, batch, batch_idx):
        self._loss(batch, "val_loss")

    def test_step(self, batch, batch_idx):
        self._loss(batch, "test_loss")

    def predict_step(self, batch, batch_idx):
        return self.net(batch[0])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        if not self.step_size:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.step_size)]
