"""Networks on the tables of scikit-learn: classes, one or several outputs, regressions."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import loaders, table
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


class WineNet(LightningModule):
    def __init__(self, softmax: bool, lr: float, scale: float = 1.0) -> None:
        super().__init__()
        layers = [nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)]
        self.model = nn.Sequential(*layers, *([nn.Softmax(dim=1)] if softmax else []))
        self.loss, self.lr = nn.CrossEntropyLoss(), lr
        with torch.no_grad():
            self.model[4].weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.loss(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        out = self(x)
        self.log("val_loss", self.loss(out, y))
        self.log("val_acc", (out.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def wine_mlp(fault: str) -> Setup:
    lr = {"rate-3e-5": 3e-5, "rate-20": 20.0}.get(fault, 0.03)
    net = WineNet(fault == "softmax", lr, 200.0 if fault == "last-layer" else 1.0)
    return Setup(net, *loaders(table("wine", fault == "raw"), 16), {"max_epochs": 40})


class Cancer(LightningModule):
    """One logit; the loss is given from outside, as in many tutorials."""

    def __init__(self, net: nn.Module, criterion: nn.Module, lr: float = 1e-3, decay: float = 0.0) -> None:
        super().__init__()
        self.net, self.criterion, self.lr, self.decay = net, criterion, lr, decay

    def _step(self, batch: Any, name: str) -> Tensor:
        x, y = batch
        score = self.net(x).squeeze(-1)
        loss = self.criterion(score, y)
        self.log(f"{name}_loss", loss)
        border = 0.0 if isinstance(self.criterion, nn.BCEWithLogitsLoss | nn.SoftMarginLoss) else 0.5
        self.log(f"{name}_acc", ((score > border).float() == y).float().mean())
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._step(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), self.lr, weight_decay=self.decay)


def cancer(raw: bool = False) -> Any:
    x, y, x_val, y_val = table("breast_cancer", raw)
    return x, y.float(), x_val, y_val.float()


def cancer_bce(fault: str) -> Setup:
    net = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1))
    if fault == "sigmoid-twice":
        net.append(nn.Sigmoid())
    x, y, x_val, y_val = cancer()
    if fault == "labels-1-2":
        y, y_val = y + 1, y_val + 1
    module = Cancer(net, nn.BCEWithLogitsLoss(), 1e-3)
    return Setup(module, *loaders((x, y, x_val, y_val)), {"max_epochs": 25})


def cancer_probability(fault: str) -> Setup:
    """A probability at the end, and BCELoss."""
    last: nn.Module = {"softmax": nn.Softmax(dim=1), "softmax-dim-0": nn.Softmax(dim=0)}.get(
        fault, nn.Sigmoid()
    )
    net = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Dropout(0.1), nn.Linear(40, 1), last)
    return Setup(Cancer(net, nn.BCELoss(), 1e-3), *loaders(cancer()), {"max_epochs": 25})


def cancer_logistic(fault: str) -> Setup:
    """Logistic regression in one layer."""
    module = Cancer(nn.Linear(30, 1), nn.BCEWithLogitsLoss(), 3e-7 if fault == "rate-3e-7" else 0.02)
    if fault == "decay":
        module.decay = 40.0
    data = cancer(raw=fault == "raw")
    return Setup(module, *loaders(data, 64), {"max_epochs": 40, "gradient_clip_val": 1.0})


class IrisTanh(LightningModule):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.l1, self.l2, self.l3 = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        for layer in (self.l1, self.l2):
            nn.init.xavier_uniform_(layer.weight)
        if fault == "zeros":
            for p in self.parameters():
                nn.init.zeros_(p)
        if fault == "normal-4":
            for layer in (self.l1, self.l2):
                nn.init.normal_(layer.weight, std=4.0)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.l1(x))
        return F.log_softmax(self.l3(torch.tanh(self.l2(h))), dim=-1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.nll_loss(self(batch[0]), batch[1])
        return -loss if self.fault == "sign" else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0])
        self.log_dict(
            {"val_loss": F.nll_loss(out, batch[1]), "val_acc": (out.argmax(-1) == batch[1]).float().mean()}
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=5e-3)


def iris_tanh(fault: str) -> Setup:
    return Setup(IrisTanh(fault), *loaders(table("iris"), 8), {"max_epochs": 30})


class Regression(LightningModule):
    def __init__(self, net: nn.Module, loss: Any, lr: float, squeeze: bool = True) -> None:
        super().__init__()
        self.net, self.loss, self.lr, self.squeeze = net, loss, lr, squeeze
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.net(x)
        return y.squeeze(1) if self.squeeze else y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0])
        self.log("val_loss", self.loss(out, batch[1]))
        self.seen.append((out.flatten(), batch[1]))

    def on_validation_epoch_end(self) -> None:
        out, y = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        self.seen.clear()
        self.log("val_r2", 1 - (out - y).square().mean() / (y - y.mean()).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr, weight_decay=1e-3)


def diabetes(scaled: bool = True) -> Any:
    x, y, x_val, y_val = table("diabetes")
    return (x, (y - 152) / 77, x_val, (y_val - 152) / 77) if scaled else (x, y, x_val, y_val)


def diabetes_mlp(fault: str) -> Setup:
    net = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
    if fault == "relu-last":
        net.append(nn.ReLU())
    module = Regression(net, F.mse_loss, 2e-3, squeeze=fault != "broadcast")
    return Setup(module, *loaders(diabetes(fault != "raw-target")), {"max_epochs": 30})


def diabetes_huber(fault: str) -> Setup:
    p = 0.95 if fault == "dropout-95" else 0.1
    net = nn.Sequential(
        nn.Linear(10, 32), nn.SiLU(), nn.Dropout(p), nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, 1)
    )
    if fault == "tanh-last":
        net.extend([nn.Tanh()])
    x, y, x_val, y_val = diabetes()
    if fault == "shuffled-targets":
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    clip = 1e-5 if fault == "clip" else 5.0
    module = Regression(net, nn.HuberLoss(), 3e-3)
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
    return Setup(module, *loaders((x, y, x_val, y_val)), {"max_epochs": 30, "gradient_clip_val": clip})


class Alcohol(LightningModule):
    """Two tasks on wine: the cultivar, and the alcohol from the other columns."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.body = nn.Sequential(nn.Linear(12, 32), nn.LeakyReLU(), nn.Linear(32, 32), nn.LeakyReLU())
        self.heads = nn.ModuleDict({"kind": nn.Linear(32, 3), "alcohol": nn.Linear(32, 1)})

    def step(self, batch: Any, name: str) -> Tensor:
        x, y = batch
        h = self.body(x[:, 1:])
        h2 = h.detach() if self.fault == "detached" else h
        kind, alcohol = self.heads["kind"](h2), self.heads["alcohol"](h2)[:, 0]
        classes = F.cross_entropy(kind, y)
        amount = F.mse_loss(alcohol if self.fault != "broadcast" else alcohol[:, None], x[:, 0])
        self.log(f"{name}_loss", classes + amount)
        self.log(f"{name}_mse", F.mse_loss(alcohol, x[:, 0]))
        self.log(f"{name}_acc", (kind.argmax(1) == y).float().mean())
        return classes + amount

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        part = self.heads["kind"] if self.fault == "kind-only" else self
        return torch.optim.RMSprop(part.parameters(), lr=1e-3)


def wine_two_tasks(fault: str) -> Setup:
    return Setup(Alcohol(fault), *loaders(table("wine"), 16), {"max_epochs": 25})


class Focal(LightningModule):
    """A focal loss written by hand."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        width = 24
        self.net = nn.Sequential(nn.Linear(30, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2))

    def focal(self, logits: Tensor, y: Tensor) -> Tensor:
        log_p = logits.log_softmax(1).gather(1, y[:, None])
        return ((1 - log_p.exp()) ** 2 * -log_p).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.focal(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self.net(batch[0])
        self.log("val_loss", self.focal(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), 2e-3)
        steps = 20 if self.fault == "short-decay" else 13 * 20
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: max(0.0, 1 - s / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def cancer_focal(fault: str) -> Setup:
    batch = 2 if fault == "batch-2" else 32
    return Setup(
        Focal(fault), *loaders(table("breast_cancer"), batch), {"max_epochs": 4 if batch == 2 else 20}
    )


class Scaler(LightningModule):
    """Batch normalization in place of a scaler, on a table as it is."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.scale = nn.BatchNorm1d(13)
        self.body = nn.Sequential(nn.Linear(13, 24), nn.Mish(), nn.Linear(24, 3))
        self.history: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.scale(x))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.fault == "eval":
            self.eval()
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.history.append(loss.item())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0])
        self.log("val_loss", F.cross_entropy(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 5e-3)


def wine_scaler(fault: str) -> Setup:
    module = Scaler(fault)
    if fault == "scaler-in-eval":
        module.scale.eval()
    return Setup(module, *loaders(table("wine", raw=True), 16), {"max_epochs": 12})


HIGH, LOW, RAW = ("learning-rate-too-high",), ("learning-rate-too-low",), ("unscaled-inputs",)
PROGRAMS = (
    Program("wine-mlp", wine_mlp, 0.9, 0.4, (
        Fault("softmax", ("softmax-before-cross-entropy",)), Fault("raw", RAW), Fault("rate-3e-5", LOW),
        Fault("rate-20", HIGH), Fault("last-layer", ("bad-output-scale", "bad-initialization"), "model.4"))),
    Program("cancer-bce", cancer_bce, 0.93, 0.63, (
        Fault("sigmoid-twice", ("softmax-before-cross-entropy",)),
        Fault("labels-1-2", ("targets-out-of-range",)))),
    Program("cancer-probability", cancer_probability, 0.93, 0.63, (
        Fault("softmax", ("softmax-over-one-unit",)), Fault("softmax-dim-0", ("softmax-over-batch",)))),
    Program("cancer-logistic", cancer_logistic, 0.2, 0.66, (
        Fault("rate-3e-7", LOW), Fault("raw", RAW),
        Fault("decay", ("weight-decay-too-strong",))), "val_loss"),
    Program("iris-tanh", iris_tanh, 0.85, 0.33, (
        Fault("zeros", ("symmetric-weights",)), Fault("normal-4", ("bad-initialization", "saturated-units")),
        Fault("sign", ("loss-sign-wrong",)))),
    Program("diabetes-mlp", diabetes_mlp, 0.3, 0.0, (
        Fault("relu-last", ("output-activation-mismatch",), "net"),
        Fault("broadcast", ("shape-broadcast-in-loss",)),
        Fault("raw-target", ("unscaled-targets",))), "val_r2"),
    Program("diabetes-huber", diabetes_huber, 0.3, 0.0, (
        Fault("dropout-95", ("over-regularized",)),
        Fault("shuffled-targets", ("labels-unrelated-to-inputs",)),
        Fault("clip", ("clipping-too-tight", "learning-rate-too-low"))), "val_r2"),
    Program("wine-two-tasks", wine_two_tasks, 0.75, 1.3, (
        Fault("detached", ("graph-cut",), "body"),
        Fault("kind-only", ("parameter-not-in-optimizer",), "body"),
        Fault("broadcast", ("shape-broadcast-in-loss",))), "val_mse"),
    Program("wine-scaler", wine_scaler, 0.9, 0.4, (
        Fault("eval", ("train-mode-off",)), Fault("scaler-in-eval", ("train-mode-off",)))),
    Program("cancer-focal", cancer_focal, 0.93, 0.63, (
        Fault("short-decay", ("schedule-ends-early",)), Fault("batch-2", ("batch-statistics-too-noisy",)))),
)  # fmt: skip
