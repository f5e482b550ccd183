"""Forecasts of series: recurrent networks, and causal convolutions."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import eeg, elevation, google, loaders, split
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


class Forecast(LightningModule):
    """The next value of each channel from a window."""

    def __init__(self, channels: int, fault: str, cell: str = "LSTM") -> None:
        super().__init__()
        self.rnn: Any = getattr(nn, cell)(channels, 24, batch_first=True)
        self.head = nn.Linear(24, channels)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        out = self(batch[0])
        loss = (
            F.l1_loss(out, batch[1])
            if self.fault != "flat-loss"
            else F.l1_loss(out.detach(), batch[1]) + 0 * out.sum()
        )
        return -loss if self.fault == "sign" else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0])
        self.log("val_loss", F.l1_loss(out, batch[1]))
        self.log(
            "val_r2", 1 - (out - batch[1]).square().mean() / (batch[1] - batch[1].mean(0)).square().mean()
        )

    def configure_optimizers(self) -> Any:
        lr = {"rate-1e-7": 1e-7, "rate-2": 2.0}.get(self.fault, 1e-2)
        return torch.optim.Adam(self.parameters(), lr=lr)


def eeg_forecast(fault: str) -> Setup:
    windows = eeg().unfold(0, 17, 1).transpose(1, 2)
    if fault == "microvolts":
        windows = windows * 3000
    train, val = windows[:580], windows[600:]
    x, y, x_val, y_val = train[:, :16], train[:, 16], val[:, :16], val[:, 16]
    if fault == "one-flat-target":
        y = torch.zeros_like(y)
    return Setup(Forecast(4, fault), *loaders((x, y, x_val, y_val), 20), {"max_epochs": 15})


def share_forecast(fault: str) -> Setup:
    """The price after three weeks of prices, as a difference from the last price of the window."""
    prices = google().log()
    windows = prices.unfold(0, 16, 1).transpose(1, 2)
    start = windows[:, :1]
    scaled = (windows - start) * 20
    x, y = scaled[:, :15], scaled[:, 15]
    if fault == "dollars":
        x = windows.exp()[:, :15]
    if fault == "target-in-dollars":
        y = windows.exp()[:, 15] - windows.exp()[:, 0]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    data = x[order[:750]], y[order[:750]], x[order[750:]], y[order[750:]]
    return Setup(Forecast(4, fault, "GRU"), *loaders(data, 25), {"max_epochs": 12})


class TCN(LightningModule):
    """Dilated causal convolutions over profiles of a map; each point from those before it."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.convs = nn.ModuleList(nn.Conv1d(24 if i else 1, 24, 3, dilation=2**i) for i in range(3))
        self.out = nn.Conv1d(24, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, None]
        for i, conv in enumerate(self.convs):
            pad = 2 * 2**i
            h = F.elu(conv(F.pad(h, (pad // 2, pad // 2) if self.fault == "same-padding" else (pad, 0))))
        return self.out(h)[:, 0]

    def loss_of(self, batch: Any) -> Tensor:
        (x,) = batch
        target = x[:, :-1] if self.fault == "no-shift" else x[:, 1:]
        return F.mse_loss(self(x[:, :-1]), target)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss_of(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), lr=5e-3)
        decay = 0.01 if self.fault == "gamma" else 0.9
        return [adam], [torch.optim.lr_scheduler.StepLR(adam, 1, gamma=decay)]


def profile_tcn(fault: str) -> Setup:
    rows = elevation(32, 16)[:, 0, ::8].reshape(-1, 32)
    rows = (rows - rows.mean(1, keepdim=True)) / 40
    train, val, _, _ = (*split(rows, rows)[::2], None, None)
    pair = torch.utils.data.TensorDataset(train), torch.utils.data.TensorDataset(val)
    make = torch.utils.data.DataLoader
    return Setup(TCN(fault), make(pair[0], 16, shuffle=True), make(pair[1], 200), {"max_epochs": 8})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
PROGRAMS = (
    Program("eeg-lstm", eeg_forecast, 0.75, 0.0, (
        Fault("flat-loss", ("graph-cut", "no-gradient")), Fault("sign", ("loss-sign-wrong",)),
        Fault("microvolts", ("unscaled-inputs", "unscaled-targets")), Fault("rate-1e-7", LOW),
        Fault("one-flat-target", ("constant-targets",))), "val_r2"),
    Program("share-gru", share_forecast, 0.75, 0.0, (
        Fault("dollars", ("unscaled-inputs",)), Fault("target-in-dollars", ("unscaled-targets",)),
        Fault("rate-2", HIGH)), "val_r2"),
    Program("profile-tcn", profile_tcn, 0.12, 0.6, (
        Fault("same-padding", ("causal-leak",), flatters=True),
        Fault("no-shift", ("targets-equal-inputs",), flatters=True),
        Fault("gamma", ("schedule-ends-early",))), "val_loss"),
)  # fmt: skip
