"""Convolutional classifiers on digits, MNIST and Fashion-MNIST."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, images, loaders
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

__all__ = ["PROGRAMS"]


class LitImages(LightningModule):
    def __init__(self, backbone: nn.Module, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["backbone"])
        self.backbone = backbone
        self.train_scale = 1.0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        img, label = batch
        loss = F.cross_entropy(self.backbone(img), label)
        self.log("train_loss", loss, on_step=True)
        return loss * self.train_scale

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        img, label = batch
        prediction = self.backbone(img)
        loss = F.cross_entropy(prediction, label)
        self.log("val_acc", prediction.argmax(dim=1).eq(label).float().mean(), prog_bar=True)
        self.log("val_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)


class LeNet(nn.Module):
    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 60), nn.Linear(60, 42), nn.Linear(42, 10)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))
        x = self.fc3(x)
        return F.relu(x) if self.last else x


def lenet(fault: str) -> Setup:
    x, y, x_val, y_val = images("fashion")
    net = LeNet(fault == "relu-last")
    if fault == "conv-dead":
        nn.init.constant_(net.conv2.bias, -20.0)
    if fault == "constant-weights":
        for p in net.parameters():
            nn.init.constant_(p, 0.02)
    lit = LitImages(net, {"rate-0.1": 0.1, "rate-2e-7": 2e-7}.get(fault, 2e-3))
    return Setup(lit, *loaders((x, y, x_val, y_val), 50), {"max_epochs": 8})


def conv_bn(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


def mnist_bn(fault: str) -> Setup:
    net = nn.Sequential(
        conv_bn(1, 8, 2), conv_bn(8, 16, 2), conv_bn(16, 16), nn.Flatten(), nn.Linear(16 * 49, 10)
    )
    if fault == "momentum-1e-4":
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = 1e-4
    lit = LitImages(net, 1.0 if fault == "rate-1" else 5e-3)
    x, y, x_val, y_val = images("mnist")
    x = (x - 0.13) / 0.31
    x_val = x_val if fault == "val-bytes" else (x_val - 0.13) / 0.31
    x_val = x_val * 255 if fault == "val-bytes" else x_val
    return Setup(lit, *loaders((x, y, x_val, y_val), 40), {"max_epochs": 4})


class Block(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1), nn.GroupNorm(4, c), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class ResNet(nn.Module):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.stage1, self.stage2 = nn.Sequential(Block(16), Block(16)), nn.Sequential(Block(16), Block(16))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(F.relu(self.stem(x)))
        if self.fault == "detach":
            x = x.detach()
        if self.fault == "no-grad":
            with torch.no_grad():
                x = self.stage2(x)
        else:
            x = self.stage2(x)
        x = x.mean((0, 2)) if self.fault == "wrong-axis" else x.mean((2, 3))
        return self.fc(x)


class LitResNet(LitImages):
    """SGD with one cycle of the rate, in steps."""

    fault = ""

    def configure_optimizers(self) -> Any:
        sgd = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        steps = self.trainer.estimated_stepping_batches
        cycle = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.05, total_steps=int(steps))
        interval = "epoch" if self.fault == "cycle-per-epoch" else "step"
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": cycle, "interval": interval}}


def digits_resnet(fault: str) -> Setup:
    lit = LitResNet(ResNet(fault))
    lit.fault = fault
    return Setup(
        lit, *loaders(digits(), 32), {"max_epochs": 9, "gradient_clip_val": 1e-3 if fault == "clip" else 2.0}
    )


class Separable(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(cin, cin, 3, stride, padding=1, groups=cin)
        self.point = nn.Conv2d(cin, cout, 1)
        self.norm = nn.GroupNorm(1, cout)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.norm(self.point(self.depth(x))))


class MobileNet(nn.Module):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        blocks = [Separable(12, 24, 2), Separable(24, 32, 1), Separable(32, 48, 2)]
        self.stem = nn.Conv2d(1, 12, 3, 2, padding=1)
        self.blocks: Any = blocks if fault == "list" else nn.ModuleList(blocks)
        self.out = nn.Linear(48, 10)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = x.mean((2, 3))
        if self.fault == "softmax-dim-0":
            return self.out(x).softmax(0)
        return self.out(x)


def mobile(fault: str) -> Setup:
    lit = LitImages(MobileNet(fault), 5e-3)
    lit.train_scale = {"minus": -1.0, "loss-1e-45": 1e-45}.get(fault, 1.0)
    return Setup(lit, *loaders(images("fashion")), {"max_epochs": 10})


class Augmented(Dataset[Any]):
    """Shifts by a pixel and flips nothing, as digits need."""

    def __init__(self, x: Tensor, y: Tensor, mean: float, std: float, shift: int, fault: str = "") -> None:
        self.x, self.y, self.mean, self.std, self.shift, self.fault = x, y, mean, std, shift, fault

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x = self.x[0] if self.fault == "first-image" else self.x[i]
        by = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
        return (x.roll(by, (1, 2)) - self.mean) / self.std, self.y[i]


def augmented(fault: str) -> Setup:
    x, y, x_val, y_val = digits()
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.PReLU(),
        nn.Conv2d(16, 16, 3, stride=2),
        nn.PReLU(),
        nn.Flatten(),
        nn.Linear(144, 10),
    )
    train = Augmented(x, y, 0.3, 0.37, 0 if fault == "first-image" else 1, fault)
    mean, std = (0.0, 1 / 255) if fault == "val-bytes" else (0.3, 0.37)
    val = Augmented(x_val, y_val, mean, std, 0)
    loader = DataLoader(train, 32, shuffle=True, drop_last=True)
    return Setup(LitImages(net, 2e-3), loader, DataLoader(val, 200), {"max_epochs": 12})


class AllConv(nn.Module):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2), nn.GELU(),
            nn.Conv2d(12, 24, 3, stride=2), nn.GELU(), nn.Conv2d(24, 10, 3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        if self.fault == "view":
            return y.permute(1, 2, 3, 0).reshape(len(x), 10, -1).mean(2)
        y = y.flatten(2).mean(2)
        return y


def all_conv(fault: str) -> Setup:
    lit = LitImages(AllConv(fault), 1e-2, 5.0 if fault == "decay-5" else 1e-5)
    return Setup(lit, *loaders(images("mnist")), {"max_epochs": 12})


class Squeeze(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(c, c // 4), nn.Linear(c // 4, c)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()[:, :, None, None]


def squeeze_excite(fault: str) -> Setup:
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), Squeeze(16),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), Squeeze(32),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    if fault == "gate-closed":
        nn.init.constant_(net[2].up.bias, -18.0)
    lit = LitImages(net, {"rate-0.3": 0.3, "rate-1e-6": 1e-6}.get(fault, 3e-3))
    return Setup(lit, *loaders(digits()), {"max_epochs": 10})


def vgg(fault: str) -> Setup:
    """Eight convolutions without normalization, drawn for ReLU."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(
        ((1, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 32), (32, 32))
    ):
        act = nn.Sigmoid() if fault == "sigmoids" else nn.ReLU()
        layers += [nn.Conv2d(a, b, 3, padding=1), act, *([nn.MaxPool2d(2)] if i in (2, 4) else [])]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
            nn.init.zeros_(m.bias)
            m.weight.data.mul_({"he-times-5": 5.0, "he-by-10": 0.1}.get(fault, 1.0))
    return Setup(LitImages(net, 1e-3), *loaders(digits(), 64), {"max_epochs": 9})


def few_images(fault: str) -> Setup:
    """A small network with dropout; the fault gives it 40 images."""
    x, y, x_val, y_val = images("fashion", 2000)
    n = 40 if fault == "40-images" else len(x)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Dropout2d(0.1), nn.Flatten(), nn.Linear(16 * 144, 10)
    )
    lit = LitImages(net, 1e-3)
    return Setup(lit, *loaders((x[:n], y[:n], x_val, y_val), 20), {"max_epochs": 120 if n == 40 else 4})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
INIT = ("bad-initialization",)
PROGRAMS = (
    Program("fashion-lenet", lenet, 0.66, 0.1, (
        Fault("relu-last", ("output-activation-mismatch",)), Fault("conv-dead", ("dead-units",), "conv2"),
        Fault("constant-weights", ("symmetric-weights",)), Fault("rate-0.1", HIGH), Fault("rate-2e-7", LOW))),
    Program("mnist-batchnorm", mnist_bn, 0.9, 0.1, (
        Fault("momentum-1e-4", ("batch-statistics-too-noisy", "train-val-mismatch"), chance=2.3),
        Fault("rate-1", HIGH), Fault("val-bytes", ("train-val-mismatch",), chance=2.3))),
    Program("digits-resnet", digits_resnet, 0.8, 0.1, (
        Fault("detach", ("graph-cut",), "stage1"), Fault("no-grad", ("graph-cut",), "stage"),
        Fault("cycle-per-epoch", ("schedule-interval",)), Fault("clip", ("clipping-too-tight",)))),
    Program("fashion-mobile", mobile, 0.7, 0.1, (
        Fault("list", ("parameter-not-in-optimizer",)),
        Fault("softmax-dim-0", ("softmax-over-batch", "softmax-before-cross-entropy", "samples-mixed")),
        Fault("minus", ("loss-sign-wrong",)), Fault("loss-1e-45", ("gradient-underflow", "no-gradient")))),
    Program("digits-shifted", augmented, 0.9, 0.1, (
        Fault("first-image", ("constant-inputs",)), Fault("val-bytes", ("train-val-mismatch",)))),
    Program("mnist-all-conv", all_conv, 0.84, 0.1, (
        Fault("view", ("samples-mixed",)), Fault("decay-5", ("weight-decay-too-strong", "no-learning")))),
    Program("digits-squeeze", squeeze_excite, 0.92, 0.1, (
        Fault("gate-closed", ("saturated-units", "vanishing-gradients", "no-learning", "no-gradient"), "2"),
        Fault("rate-0.3", HIGH), Fault("rate-1e-6", LOW))),
    Program("digits-vgg", vgg, 0.9, 0.1, (
        Fault("sigmoids", ("vanishing-gradients",)), Fault("he-times-5", INIT),
        Fault("he-by-10", (*INIT, "vanishing-gradients")))),
    Program("fashion-few", few_images, 0.74, 0.1, (
        Fault("40-images", ("overfitting",)),)),
)  # fmt: skip
