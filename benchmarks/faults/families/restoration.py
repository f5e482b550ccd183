"""Images from images: noise taken off photographs, and a map at twice its resolution."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import elevation, loaders, photo, split
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


class UNet(nn.Module):
    def __init__(self, channels: int, width: int = 12, fault: str = "") -> None:
        super().__init__()
        self.inc = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, padding=1), nn.ReLU())
        self.mid = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.out = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, channels, 1)
        )
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        a = self.inc(x)
        b = self.up(self.mid(self.down(a)))
        return self.out(torch.cat([a, b], 1))


class Restore(LightningModule):
    """Takes noise off images: the network predicts the clean image, or what to add."""

    def __init__(self, net: nn.Module, noise: float, lr: float, residual: bool, fault: str = "") -> None:
        super().__init__()
        self.net, self.noise, self.lr, self.residual, self.fault = net, noise, lr, residual, fault

    def spoil(self, x: Tensor) -> Tensor:
        return x + self.noise * torch.randn_like(x)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x) if self.residual else self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0]
        loss = F.l1_loss(self(self.spoil(x)), x)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x = batch[0]
        self.log("val_loss", F.l1_loss(self(self.spoil(x)), x))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), self.lr)


def photo_unet(fault: str) -> Setup:
    net = UNet(3)
    if fault == "normal-1":
        for p in net.parameters():
            nn.init.normal_(p)
    if fault == "relu-off":
        nn.init.constant_(net.inc[0].bias, -10.0)
        nn.init.constant_(net.mid[0].bias, -10.0)
    x, _, x_val, _ = split(photo(), photo())
    lr = {"rate-1": 1.0, "rate-1e-8": 1e-8}.get(fault, 2e-3)
    return Setup(Restore(net, 0.15, lr, False, fault), *loaders((x, x, x_val, x_val), 16), {"max_epochs": 5})


class Sharper(LightningModule):
    """Twice the resolution of cuts of a map."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.tail = nn.Sequential(nn.Conv2d(16, 4, 3, padding=1), nn.PixelShuffle(2))
        self.fault = fault

    def forward(self, small: Tensor) -> Tensor:
        rough = F.interpolate(small, scale_factor=2, mode="nearest")
        if self.fault == "no-residual-dead":
            return F.relu(self.tail(self.body(small)) - 40)
        h = self.body(small)
        return rough + self.tail(h.detach() if self.fault == "detach" else h)

    def step(self, batch: Any) -> Tensor:
        x = batch[0]
        return F.mse_loss(self(F.avg_pool2d(x, 2)), x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.step(batch)
        return loss.sqrt() * 0 if self.fault == "times-0" else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.step(batch)
        self.log_dict({"val_loss": loss, "val_mse": loss / (900 if self.fault == "metres" else 1)})

    def configure_optimizers(self) -> Any:
        lr = 1e-8 if self.fault == "rate-1e-8" else 3e-3
        return torch.optim.Adam(self.parameters(), lr)


def map_sharper(fault: str) -> Setup:
    cuts = elevation()
    cuts = (cuts - cuts.mean((1, 2, 3), keepdim=True)) / 30
    if fault == "metres":
        cuts = elevation()
    x, _, x_val, _ = split(cuts, cuts)
    return Setup(Sharper(fault), *loaders((x, x, x_val, x_val), 16), {"max_epochs": 8})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
PROGRAMS = (
    Program("photo-unet", photo_unet, 0.09, 0.25, (
        Fault("normal-1", ("bad-initialization",)), Fault("relu-off", ("dead-units",), "inc"),
        Fault("rate-1", HIGH), Fault("rate-1e-8", LOW)), "val_loss"),
    Program("map-sharper", map_sharper, 0.035, 0.166, (
        Fault("detach", ("graph-cut",), "body"), Fault("times-0", ("no-gradient",)),
        Fault("no-residual-dead", ("no-gradient", "dead-units")),
        Fault("metres", ("unscaled-inputs", "unscaled-targets")), Fault("rate-1e-8", LOW)), "val_mse"),
)  # fmt: skip
