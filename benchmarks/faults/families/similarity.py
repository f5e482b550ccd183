"""Pairs, triplets and views of digits, told apart by their distances."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, loaders
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


def tower(out: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, out))


def nearest(z: Tensor, y: Tensor) -> Tensor:
    """The share of samples whose nearest neighbour in the batch has the same label."""
    distance = torch.cdist(z, z) + torch.eye(len(z)) * 1e9
    return (y[distance.argmin(1)] == y).float().mean()


class Siamese(LightningModule):
    """Contrastive loss on pairs made in the batch."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.tower, self.fault = tower(8), fault
        if fault == "weights-0":
            for p in self.tower.parameters():
                nn.init.zeros_(p)

    def loss_of(self, batch: Any) -> Tensor:
        x, y = batch
        other = torch.randperm(len(x))
        same = (y == y[other]).float()
        gap = (self.tower(x) - self.tower(x)[other]).square().sum(1).add(1e-8).sqrt()
        if self.fault == "labels-swapped":
            same = 1 - same
        return (same * gap.square() + (1 - same) * (2 - gap).clamp(min=0).square()).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss_of(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", nearest(self.tower(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        lr = {"rate-3": 3.0, "rate-1e-8": 1e-8}.get(self.fault, 2e-3)
        return torch.optim.Adam(self.parameters(), lr)


def siamese(fault: str) -> Setup:
    return Setup(Siamese(fault), *loaders(digits(), 64), {"max_epochs": 20})


class Views(LightningModule):
    """Two noisy views of an image must find each other in the batch."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.tower, self.project, self.fault = tower(32), nn.Sequential(nn.ReLU(), nn.Linear(32, 16)), fault

    def loss_of(self, x: Tensor) -> Tensor:
        a, b = (
            self.project(self.tower(x.roll(int(s), 3) + 0.2 * torch.randn_like(x)))
            for s in torch.randint(-1, 2, (2,))
        )
        a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
        if self.fault == "second-view-only":
            a = a.detach()
            b = b.detach()
        score = a @ b.T / (1e-4 if self.fault == "temperature-1e-4" else 0.2)
        target = torch.arange(len(x))
        if self.fault == "targets-rolled":
            target = target[torch.randperm(len(x))]
        return F.cross_entropy(score, target) + 0 * self.project[1].bias.sum()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss_of(batch[0])
        return -loss if self.fault == "sign" else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch[0][:64]))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 2e-3)


def views(fault: str) -> Setup:
    return Setup(Views(fault), *loaders(digits(), 64), {"max_epochs": 15})


class Triplets(LightningModule):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.net, self.fault = (
            nn.Sequential(
                nn.Conv2d(1, 12, 3),
                nn.ReLU(),
                nn.Conv2d(12, 24, 3),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(384, 16),
            ),
            fault,
        )
        if fault == "conv-dead":
            nn.init.constant_(self.net[2].bias, -9.0)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        z = F.normalize(self.net(x), dim=1)
        gap = torch.cdist(
            z.detach() if self.fault == "both-detached" else z,
            z.detach() if self.fault == "both-detached" else z,
        )
        same = y[:, None] == y
        far = (gap + 1e-6 * torch.rand_like(gap)).masked_fill(~same, -1).max(1).values
        near = gap.masked_fill(same, 9).min(1).values
        if self.fault == "order":
            far, near = near, far
        loss = F.relu(far - near + 0.3).mean()
        return loss if loss.requires_grad else loss + 0 * self.net(x).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", nearest(F.normalize(self.net(batch[0]), dim=1), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-3)


def triplets(fault: str) -> Setup:
    return Setup(Triplets(fault), *loaders(digits(), 64), {"max_epochs": 8})


HIGH = ("learning-rate-too-high",)
PROGRAMS = (
    Program("digits-siamese", siamese, 0.9, 0.1, (
        Fault("weights-0", ("symmetric-weights", "no-gradient")),
        Fault("labels-swapped", ("labels-unrelated-to-inputs", "loss-sign-wrong")), Fault("rate-3", HIGH))),
    Program("digits-views", views, 2.2, 4.16, (
        Fault("second-view-only", ("graph-cut", "no-gradient")),
        Fault("temperature-1e-4", ("bad-output-scale", "bad-initialization")),
        Fault("targets-rolled", ("labels-unrelated-to-inputs",)),
        Fault("sign", ("loss-sign-wrong",))), "val_loss"),
    Program("digits-triplets", triplets, 0.9, 0.1, (
        Fault("both-detached", ("graph-cut", "no-gradient"), "net"), Fault("order", ("loss-sign-wrong",)),
        Fault("conv-dead", ("dead-units",), "net.2"))),
)  # fmt: skip
