"""Fully connected networks on digits, in the ways that people write and train them."""

from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, loaders
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

__all__ = ["PROGRAMS"]


class MLP(nn.Module):
    def __init__(
        self, sizes: list[int], act: type[nn.Module] = nn.ReLU, norm: bool = False, drop: float = 0.0
    ):
        super().__init__()
        self.blocks = nn.ModuleList()
        for a, b in pairwise(sizes[:-1]):
            norms = [nn.LayerNorm(b)] if norm else []
            self.blocks.append(nn.Sequential(nn.Linear(a, b), *norms, act(), nn.Dropout(drop)))
        self.head = nn.Linear(*sizes[-2:])
        self.cut = -1

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for i, block in enumerate(self.blocks):
            x = block(x)
            x = x.detach() if i == self.cut else x
        return self.head(x)


class DigitsLit(LightningModule):
    """A classifier with torchmetrics, as in the templates."""

    def __init__(self, net: nn.Module, optimizer: Any) -> None:
        super().__init__()
        self.net, self.make_optimizer = net, optimizer
        self.val_accuracy = MulticlassAccuracy(10, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        self.log("train/loss", loss, prog_bar=True)
        return {"loss": loss, "preds": logits.argmax(1)}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.val_accuracy(logits, y)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", self.val_accuracy, on_epoch=True)

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.net)


class ByClass(Sampler[int]):
    """The order of a set that was written class by class."""

    def __init__(self, labels: Tensor) -> None:
        self.order = labels.argsort(stable=True).tolist()

    def __iter__(self) -> Any:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


def relu(fault: str) -> Setup:
    net = MLP([64, 128, 64, 10])
    lr = {"rate-0.4": 0.4, "rate-1e-7": 1e-7}.get(fault, 1e-3)
    x, y, x_val, y_val = digits()
    if fault == "labels-permuted":
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    if fault == "dead":
        nn.init.constant_(net.blocks[1][0].bias, -12.0)
    lit = DigitsLit(net, lambda m: torch.optim.Adam(m.parameters(), lr=lr))
    return Setup(lit, *loaders((x, y, x_val, y_val)), {"max_epochs": 8})


def sorted_digits(fault: str) -> Setup:
    lit = DigitsLit(MLP([64, 96, 10], nn.ELU), lambda m: torch.optim.SGD(m.parameters(), 0.1))
    x, y, x_val, y_val = digits()
    train, val = TensorDataset(x, y), TensorDataset(x_val, y_val)
    order: dict[str, Any] = {"sampler": ByClass(y)} if fault == "by-class" else {"shuffle": True}
    if fault == "one-class":
        order = {"sampler": ByClass(y).order[:140]}
    return Setup(lit, DataLoader(train, 25, **order), DataLoader(val, 150), {"max_epochs": 8})


def deep_norm(fault: str) -> Setup:
    net = MLP([64] + [64] * 8 + [10], nn.GELU, norm=True)
    net.cut = 5 if fault == "detach" else -1
    if fault == "frozen-norm-gain":
        nn.init.zeros_(net.blocks[3][1].weight)
        net.blocks[3][1].requires_grad_(False)

    def optimizer(m: MLP) -> Any:
        layers = [m.head] if fault == "head-only" else [m]
        decay = 60.0 if fault == "decay-60" else 0.01
        adam = torch.optim.AdamW(
            [p for layer in layers for p in layer.parameters()], 1e-3, weight_decay=decay
        )
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=10)
        if fault == "exponential-per-step":
            rate = torch.optim.lr_scheduler.ExponentialLR(adam, 0.8)
        return [adam], [{"scheduler": rate, "interval": "step" if "per-step" in fault else "epoch"}]

    return Setup(DigitsLit(net, optimizer), *loaders(digits()), {"max_epochs": 10})


def plain_deep(fault: str) -> Setup:
    act = {"sigmoid": nn.Sigmoid}.get(fault, nn.ReLU)
    net = MLP([64] + [48] * 9 + [10], act)
    for m in net.modules():
        if isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            nn.init.zeros_(m.bias)
            if fault == "small-normal":
                nn.init.normal_(m.weight, std=0.02)
            if fault == "large-normal":
                nn.init.normal_(m.weight, std=1.0)
    lit = DigitsLit(net, lambda m: torch.optim.SGD(m.parameters(), 0.01, momentum=0.9))
    return Setup(lit, *loaders(digits()), {"max_epochs": 7})


def tanh_deep(fault: str) -> Setup:
    net = MLP([64, 100, 100, 100, 10], nn.Tanh)
    for m in net.modules():
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight, gain=9.0 if fault == "gain-9" else 1.0)
    x, y, x_val, y_val = digits()
    if fault == "bytes":
        x, x_val = (x * 255).round(), (x_val * 255).round()
    lr = 3.0 if fault == "rate-3" else 0.05
    lit = DigitsLit(net, lambda m: torch.optim.SGD(m.parameters(), lr, momentum=0.9, nesterov=True))
    return Setup(lit, *loaders((x, y, x_val, y_val), 64), {"max_epochs": 12})


class ByHand(LightningModule):
    """Manual optimization, with gradients gathered over two batches."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.fault = fault
        self.net = MLP([64, 80, 80, 10], nn.LeakyReLU)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        x, y = batch
        if self.fault != "no-zero-grad" and batch_idx % 2 == 0:
            optimizer.zero_grad()
        self.manual_backward(F.cross_entropy(self.net(x), y) / 2)
        if batch_idx % 2 == 1:
            if self.fault == "zero-before-step":
                optimizer.zero_grad()
            optimizer.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self.net(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        parameters = self.net.parameters()
        if self.fault == "old-parameters":
            parameters, self.net = self.net.parameters(), MLP([64, 80, 80, 10], nn.LeakyReLU)
        return torch.optim.SGD(parameters, 0.1)


def by_hand(fault: str) -> Setup:
    return Setup(ByHand(fault), *loaders(digits(), 16), {"max_epochs": 10})


class Dropped(DigitsLit):
    """A module that validates inside the epoch by hand and forgets to switch back."""

    def __init__(self, fault: str) -> None:
        drop = 0.97 if fault == "dropout-97" else 0.3
        net = MLP([64, 128, 128, 10], nn.SiLU, drop=drop)
        super().__init__(net, lambda m: torch.optim.NAdam(m.parameters(), 1e-3))
        self.fault = fault

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.fault == "dropout-in-eval":
            self.net.train()
        super().validation_step(batch, batch_idx)


def dropped(fault: str) -> Setup:
    x, y, x_val, y_val = digits()
    if fault == "val-times-255":
        x_val = x_val * 255
    if fault == "val-not-centred":
        x, x_val = (x - 0.3) / 0.37, x_val
    lit = Dropped(fault)
    return Setup(lit, *loaders((x, y, x_val, y_val)), {"max_epochs": 12})


class Wide(DigitsLit):
    def __init__(self) -> None:
        net = MLP([64, 512, 512, 10])
        super().__init__(net, lambda m: torch.optim.Adam(m.parameters(), 1e-3))


def wide(fault: str) -> Setup:
    x, y, x_val, y_val = digits()
    noise = torch.Generator().manual_seed(5)
    hidden = torch.rand(len(y), generator=noise) < (0.5 if fault == "half-the-labels-random" else 0)
    y = torch.where(hidden, torch.randint(10, y.shape, generator=noise), y)
    if fault == "50-samples":
        x, y = x[:50], y[:50]
    epochs = {"50-samples": 100, "half-the-labels-random": 25}.get(fault, 5)
    return Setup(Wide(), *loaders((x, y, x_val, y_val), 32), {"max_epochs": epochs})


RATES = ("learning-rate-too-high",)
PROGRAMS = (
    Program("digits-mlp", relu, 0.93, 0.1, (
        Fault("rate-0.4", RATES), Fault("rate-1e-7", ("learning-rate-too-low",)),
        Fault("labels-permuted", ("labels-unrelated-to-inputs", "overfitting")),
        Fault("dead", ("dead-units",), "blocks.1"))),
    Program("digits-elu", sorted_digits, 0.9, 0.1, (
        Fault("by-class", ("batches-not-shuffled",)),
        Fault("one-class", ("constant-targets", "batches-not-shuffled", "one-class-predicted")))),
    Program("digits-layernorm-8", deep_norm, 0.93, 0.1, (
        Fault("detach", ("graph-cut",), "blocks"),
        Fault("head-only", ("parameter-not-in-optimizer",), "blocks"),
        Fault("decay-60", ("weight-decay-too-strong",)),
        Fault("frozen-norm-gain", ("no-gradient", "graph-cut", "no-learning"), "blocks.3"),
        Fault("exponential-per-step", ("schedule-interval", "schedule-ends-early")))),
    Program("digits-relu-10", plain_deep, 0.88, 0.1, (
        Fault("sigmoid", ("vanishing-gradients",)),
        Fault("small-normal", ("bad-initialization", "vanishing-gradients")),
        Fault("large-normal", ("bad-initialization", "exploding-gradients")))),
    Program("digits-tanh-4", tanh_deep, 0.93, 0.1, (
        Fault("gain-9", ("bad-initialization", "saturated-units")), Fault("bytes", ("unscaled-inputs",)),
        Fault("rate-3", RATES))),
    Program("digits-by-hand", by_hand, 0.9, 0.1, (
        Fault("no-zero-grad", ("gradients-not-zeroed",)),
        Fault("zero-before-step", ("graph-cut", "no-gradient", "gradients-not-zeroed")),
        Fault("old-parameters", ("parameter-not-in-optimizer",)))),
    Program("digits-dropout", dropped, 0.93, 0.1, (
        Fault("dropout-97", ("over-regularized",)),
        Fault("dropout-in-eval", ("train-val-mismatch", "validation-loss-differs"), chance=2.3),
        Fault("val-times-255", ("train-val-mismatch",), chance=2.3),
        Fault("val-not-centred", ("train-val-mismatch",), chance=2.3))),
    Program("digits-wide", wide, 0.93, 0.1, (
        Fault("50-samples", ("overfitting",)), Fault("half-the-labels-random", ("overfitting",)))),
)  # fmt: skip
