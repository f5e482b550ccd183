"""After well-known examples: a polynomial, a series with L-BFGS, and layers with losses of their own."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, eeg, loaders
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


class Polynomial(LightningModule):
    """Four powers of a number, fitted by one linear layer with fresh numbers in each batch."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fc, self.fault = nn.Linear(4, 1), fault
        self.register_buffer("wanted", torch.tensor([[4.6], [-1.2], [3.3], [-5.9]]))

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([x**i for i in range(1, 5)], 1)

    def step(self, batch: Any) -> tuple[Tensor, Tensor]:
        powers = self.features(batch[0])
        target = powers @ self.wanted + 2.1
        out = self.fc(powers)
        if self.fault == "broadcast":
            return F.smooth_l1_loss(out, target[:, 0]), F.smooth_l1_loss(out, target)
        loss = F.smooth_l1_loss(out, target)
        return loss, loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)[0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict(dict(zip(("val_loss", "val_error_loss"), self.step(batch), strict=True)))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), {"rate-40": 40.0, "rate-1e-6": 1e-6}.get(self.fault, 0.1))


def polynomial(fault: str) -> Setup:
    x = torch.rand(4096, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Setup(Polynomial(fault), *loaders((x[:3200], x[:3200], x[3200:], x[3200:])), {"max_epochs": 5})


class Series(LightningModule):
    """Two LSTM cells in a loop over the time steps, trained on the whole set by L-BFGS."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.LSTMCell(1, 16), nn.LSTMCell(16, 16), nn.Linear(16, 1)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        h, c, h2, c2 = (torch.zeros(len(x), 16) for _ in range(4))
        outputs = []
        for step in x.split(1, 1):
            h, c = self.first(step, (h, c))
            h2, c2 = self.second(h.detach() if self.fault == "detach" else h, (h2, c2))
            outputs.append(self.out(h2))
        return torch.cat(outputs, 1)

    def loss_of(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss_of(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), 1e-6 if self.fault == "rate-1e-6" else 0.5, max_iter=5)


def series(fault: str) -> Setup:
    windows = eeg()[:, 0].unfold(0, 25, 12)
    train, val = windows[:48], windows[50:]
    data = train[:, :-1], train[:, 1:], val[:, :-1], val[:, 1:]
    return Setup(Series(fault), *loaders(data, 48), {"max_epochs": 5})


class Forward(LightningModule):
    """Layers that tell right labels from wrong ones by the size of their outputs, each by its own loss."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layers = nn.ModuleList([nn.Linear(74, 96), nn.Linear(96, 96)])
        self.fault = fault

    def outputs(self, x: Tensor, y: Tensor) -> list[Tensor]:
        h, all_outputs = torch.cat([x.flatten(1), F.one_hot(y, 10).float()], 1), []
        for layer in self.layers:
            h = F.relu(layer(h / (h.norm(dim=1, keepdim=True) + 1e-4)))
            all_outputs.append(h)
            h = h.detach()
        return all_outputs

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        wrong = (y + torch.randint(1, 10, y.shape)) % 10
        if self.fault == "no-wrong-labels":
            wrong = y
        for optimizer, good, bad in zip(
            self.optimizers(), self.outputs(x, y), self.outputs(x, wrong), strict=True
        ):
            gap = torch.cat([2 - good.square().mean(1) * 10, bad.square().mean(1) * 10 - 2])
            optimizer.zero_grad()
            self.manual_backward(F.softplus(gap).mean())
            optimizer.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        each = [sum(h.square().mean(1) for h in self.outputs(x, torch.full_like(y, k))) for k in range(10)]
        self.log("val_acc", (torch.stack(each, 1).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        lr = {"rate-1e-7": 1e-7, "rate-3": 3.0}.get(self.fault, 0.01)
        return [torch.optim.Adam(layer.parameters(), lr) for layer in self.layers]


def forward_forward(fault: str) -> Setup:
    return Setup(Forward(fault), *loaders(digits(), 64), {"max_epochs": 25})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
PROGRAMS = (
    Program("polynomial", polynomial, 0.1, 2.2, (
        Fault("broadcast", ("shape-broadcast-in-loss",)), Fault("rate-40", HIGH),
        Fault("rate-1e-6", LOW)), "val_error_loss"),
    Program("eeg-cells", series, 0.4, 1.0, (
        Fault("detach", ("graph-cut",), "first"), Fault("rate-1e-6", LOW)), "val_loss"),
    Program("digits-forward-forward", forward_forward, 0.8, 0.1, (
        Fault("no-wrong-labels", ("labels-unrelated-to-inputs", "no-learning")), Fault("rate-1e-7", LOW),
        Fault("rate-3", HIGH))),
)  # fmt: skip
