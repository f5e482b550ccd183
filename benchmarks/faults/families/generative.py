"""Autoencoders, a flow, a diffusion model and a generative adversarial network."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, images, loaders, table
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


class AutoEncoder(LightningModule):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 12))
        self.decoder = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 64))
        if fault == "sigmoid":
            self.decoder.append(nn.Sigmoid())
        if fault == "dead-code":
            nn.init.constant_(self.decoder[0].bias, -15.0)
        self.fault = fault

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        z = self.encoder(x)
        z = z.data if self.fault == "data" else z
        loss = F.mse_loss(self.decoder(z), x.flatten(1))
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x = batch[0] if self.fault != "val-unscaled" else batch[0] * 0.37 + 0.3
        self.log("val_loss", F.mse_loss(self.decoder(self.encoder(x)), x.flatten(1)))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 5.0 if self.fault == "rate-5" else 2e-3)


def autoencoder(fault: str) -> Setup:
    x, y, x_val, y_val = digits()
    x, x_val = (x - 0.3) / 0.37, (x_val - 0.3) / 0.37
    return Setup(AutoEncoder(fault), *loaders((x, y, x_val, y_val)), {"max_epochs": 12})


class VAE(LightningModule):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.SiLU())
        self.mean, self.log_var = nn.Linear(64, 6), nn.Linear(64, 6)
        self.decoder = nn.Sequential(nn.Linear(6, 64), nn.SiLU(), nn.Linear(64, 64))
        self.fault = fault

    def elbo(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.flatten(1)
        h = self.body(x)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        logits = self.decoder(z)
        if self.fault == "bytes":
            x = x * 255
        seen = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()
        divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean()
        weight = {"kl-x-100": 100.0, "kl-sign": -1.0}.get(self.fault, 1.0)
        return seen + weight * divergence, F.mse_loss(
            logits.sigmoid(), x / (255 if self.fault == "bytes" else 1)
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.elbo(batch[0])[0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, error = self.elbo(batch[0])
        self.log("val_loss", loss)
        self.log("val_mse", error)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-6 if self.fault == "rate-1e-6" else 2e-3)


def vae(fault: str) -> Setup:
    return Setup(VAE(fault), *loaders(digits(), 50), {"max_epochs": 15})


class ConvAutoEncoder(LightningModule):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 4, 2, 1), nn.ReLU())
        self.code = nn.Sequential(
            nn.Flatten(), nn.Linear(588, 24), nn.Linear(24, 588), nn.Unflatten(1, (12, 7, 7))
        )
        self.up = nn.Sequential(
            nn.ConvTranspose2d(12, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid()
        )
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.code(self.down(x)))

    def step(self, batch: Any) -> Tensor:
        x = batch[0]
        y = x * 255 if self.fault == "targets-in-bytes" else x
        return F.mse_loss(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.step(batch))
        self.log("val_mse", F.mse_loss(self(batch[0]), batch[0]))

    def configure_optimizers(self) -> Any:
        part = self.up if self.fault == "decoder-only" else self
        optimizer = torch.optim.Adam(part.parameters(), 3e-3)
        step = 1 if self.fault == "step-1" else 10_000
        rate = torch.optim.lr_scheduler.StepLR(optimizer, step, 0.7)
        return [optimizer], [{"scheduler": rate, "interval": "step"}]


def conv_autoencoder(fault: str) -> Setup:
    return Setup(ConvAutoEncoder(fault), *loaders(images("fashion"), 40), {"max_epochs": 6})


class Flow(LightningModule):
    """Affine coupling layers: an exact likelihood of the rows of a table."""

    def __init__(self, width: int, fault: str) -> None:
        super().__init__()
        half = width // 2
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(half, 32), nn.Tanh(), nn.Linear(32, 2 * half)) for _ in range(4)
        )
        self.fault = fault

    def nll(self, x: Tensor) -> Tensor:
        volume = torch.zeros(len(x))
        for net in self.nets:
            a, b = x.chunk(2, 1)
            scale, shift = net(a).chunk(2, 1)
            scale = scale if self.fault == "no-tanh" else scale.tanh()
            x = torch.cat([b * scale.exp() + shift, a], 1)
            volume = volume + scale.sum(1)
        density = -0.5 * x.square().sum(1) - x.shape[1] / 2 * math.log(2 * math.pi)
        return -(density + volume).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.nll(batch[0])
        return -loss if self.fault == "sign" else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.nll(batch[0]))

    def configure_optimizers(self) -> Any:
        lr = {"rate-1e-7": 1e-7, "rate-1": 1.0}.get(self.fault, 1e-3)
        return torch.optim.Adam(self.parameters(), lr, weight_decay=1e-4)


def table_flow(fault: str) -> Setup:
    return Setup(
        Flow(30, fault),
        *loaders(table("breast_cancer"), 32),
        {"max_epochs": 15, "gradient_clip_val": None if fault else 10.0},
    )


class Diffusion(LightningModule):
    """Predicts the noise in digits at a random time."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.time = nn.Embedding(50, 32)
        self.net = nn.Sequential(
            nn.Linear(96, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64)
        )
        if fault == "tanh-last":
            self.net.append(nn.Tanh())
        self.keep = torch.cumprod(1 - torch.linspace(1e-3, 0.12, 50), 0)
        self.fault = fault

    def step(self, x: Tensor) -> Tensor:
        x = 2 * x.flatten(1) - 1
        t = torch.randint(50, (len(x),))
        noise = torch.randn_like(x)
        keep = self.keep[t][:, None]
        noisy = keep.sqrt() * x + (1 - keep).sqrt() * noise
        wanted = torch.randn_like(x) if self.fault == "other-noise" else noise
        return F.mse_loss(self.net(torch.cat([noisy, self.time(t)], 1)), wanted)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch[0])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.step(batch[0]))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 0.3 if self.fault == "rate-0.3" else 2e-3)


def diffusion(fault: str) -> Setup:
    return Setup(Diffusion(fault), *loaders(digits()), {"max_epochs": 15})


class GAN(LightningModule):
    """Generator and discriminator in turns; the metric compares means and spreads of the pixels."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.g = nn.Sequential(
            nn.Linear(16, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 64),
            nn.Sigmoid(),
        )
        self.d = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(64, 1))
        self.fault = fault

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real = batch[0].flatten(1)
        g_opt, d_opt = self.optimizers()
        fake = self.g(torch.randn(len(real), 16))
        scores = torch.cat([self.d(real), self.d(fake.detach())])[:, 0]
        labels = torch.cat([torch.ones(len(real)), torch.zeros(len(real))])
        d_opt.zero_grad()
        self.manual_backward(F.binary_cross_entropy_with_logits(scores, labels))
        d_opt.step()
        judged = self.d(fake.detach() if self.fault == "detach" else fake)[:, 0]
        g_opt.zero_grad()
        loss = F.binary_cross_entropy_with_logits(judged, torch.ones(len(real)))
        self.manual_backward(loss)
        g_opt.step()
        self.log("g_loss", loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        real, fake = batch[0].flatten(1), self.g(torch.randn(400, 16))
        distance = (real.mean(0) - fake.mean(0)).square().mean() + (real.std(0) - fake.std(0)).square().mean()
        self.log("val_distance", distance)

    def configure_optimizers(self) -> Any:
        lr = {"rate-1": 1.0, "rate-1e-7": 1e-7}.get(self.fault, 1e-3)
        generator = self.d if self.fault == "wrong-parameters" else self.g
        return [
            torch.optim.Adam(generator.parameters(), lr, betas=(0.5, 0.99)),
            torch.optim.Adam(self.d.parameters(), 4e-3, betas=(0.5, 0.99)),
        ]


def gan(fault: str) -> Setup:
    return Setup(GAN(fault), *loaders(digits(), 64), {"max_epochs": 40})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
PROGRAMS = (
    Program("digits-autoencoder", autoencoder, 0.25, 1.0, (
        Fault("sigmoid", ("output-activation-mismatch",)), Fault("dead-code", ("dead-units",), "decoder"),
        Fault("data", ("graph-cut",), "encoder"), Fault("rate-5", HIGH)), "val_loss"),
    Program("digits-vae", vae, 0.06, 0.085, (
        Fault("bytes", ("targets-out-of-range",)), Fault("kl-x-100", ("over-regularized", "no-learning")),
        Fault("kl-sign", ("loss-sign-wrong", "non-finite")), Fault("rate-1e-6", LOW)), "val_mse"),
    Program("fashion-conv-autoencoder", conv_autoencoder, 0.04, 0.09, (
        Fault("targets-in-bytes", ("output-activation-mismatch",)),
        Fault("decoder-only", ("parameter-not-in-optimizer",), "down"),
        Fault("step-1", ("schedule-interval", "schedule-ends-early"))), "val_mse"),
    Program("cancer-flow", table_flow, 20.0, 45.0, (
        Fault("sign", ("loss-sign-wrong", "non-finite")), Fault("rate-1e-7", LOW),
        Fault("rate-1", HIGH)), "val_loss"),
    Program("digits-diffusion", diffusion, 0.5, 1.0, (
        Fault("tanh-last", ("output-activation-mismatch",)),
        Fault("other-noise", ("labels-unrelated-to-inputs",)), Fault("rate-0.3", HIGH)), "val_loss"),
    Program("digits-gan", gan, 0.06, 0.173, (
        Fault("detach", ("graph-cut",), "g"), Fault("wrong-parameters", ("parameter-not-in-optimizer",), "g"),
        Fault("rate-1", HIGH), Fault("rate-1e-7", LOW)), "val_distance"),
)  # fmt: skip
