"""The networks and the data that diagnostics are tested with: real digits, each run takes a second or two.

This file holds no tests. `NETS` lists the networks, `run` trains one with diagnostics.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.callbacks import Diagnostics


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """1,297 training and 500 validation images with their labels, standardized, always in the same order."""
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    images, labels = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y)[order]
    images = (images - images[:1297].mean()) / images[:1297].std()
    return images[:1297], labels[:1297], images[1297:], labels[1297:]


@cache
def table(name: str) -> tuple[Tensor, Tensor]:
    """A table from scikit-learn: `cancer`, `diabetes` or `wine`, standardized; `wine-raw` is as it is.

    Classes of `cancer` are a column of 0 and 1, those of `wine` are indices, and `diabetes` is a regression.
    """
    if name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
    else:
        x, y = (load_breast_cancer if name == "cancer" else load_wine)(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    inputs, targets = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y)[order]
    if name != "wine-raw":
        inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    if name.startswith("wine"):
        return inputs, targets
    targets = targets.float()[:, None]
    return inputs, (targets - targets.mean()) / targets.std() if name == "diabetes" else targets


def table_loaders(name: str, batch_size: int = 32) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Four fifths of the rows for training, the others for validation."""
    x, y = table(name)
    n, generator = len(x) * 4 // 5, torch.Generator().manual_seed(0)
    train, validation = TensorDataset(x[:n], y[:n]), TensorDataset(x[n:], y[n:])
    return (
        DataLoader(train, batch_size, shuffle=True, drop_last=True, generator=generator),
        DataLoader(validation, 250),
    )


class MLP(nn.Sequential):
    """`depth` hidden layers. Initial values are He's for ReLU and Xavier's for other activations."""

    def __init__(self, depth: int = 8, width: int = 64, activation: type[nn.Module] = nn.ReLU) -> None:
        sizes = [64, *[width] * depth]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), activation()]
        super().__init__(*layers, nn.Linear(width, 10))
        for layer in self:
            if isinstance(layer, nn.Linear):
                if activation is nn.ReLU:
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                else:
                    nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)


def he(net: nn.Module) -> nn.Module:
    """Set initial values for ReLU (He et al. 2015)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net


class CNN(nn.Sequential):
    def __init__(self, norm: bool = False, depth: int = 3) -> None:
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
        for i in range(depth):
            layers.append(nn.Conv2d(1 if i == 0 else 16, 16, 3, padding=1, bias=not norm))
            layers += [nn.BatchNorm2d(16)] if norm else []
            layers.append(nn.ReLU())
        super().__init__(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10))
        he(self)


class Residual(nn.Module):
    """The last scale of each branch starts at 0, as is good practice."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            nn.init.zeros_(self.bn2.weight)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.blocks = nn.Sequential(*(self.Block(16) for _ in range(blocks)))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x.view(-1, 1, 8, 8))).mean((2, 3)))


class LSTM(nn.Module):
    """Reads an image row by row: 8 time steps."""

    def __init__(self, width: int = 64, layers: int = 1) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, width, layers, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.view(-1, 8, 8))[0][:, -1])


class RNN(nn.Module):
    """Reads an image pixel by pixel: 64 time steps.

    With ReLU the recurrent weights start as the identity (Le et al. 2015).
    """

    def __init__(self, width: int = 64, nonlinearity: str = "tanh") -> None:
        super().__init__()
        self.rnn = nn.RNN(1, width, batch_first=True, nonlinearity=nonlinearity)
        if nonlinearity == "relu":
            nn.init.eye_(self.rnn.weight_hh_l0)
            nn.init.zeros_(self.rnn.bias_hh_l0)
        else:
            nn.init.orthogonal_(self.rnn.weight_hh_l0)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.view(-1, 64, 1))[0][:, -1])


class Transformer(nn.Module):
    """Takes the rows of an image as tokens."""

    def __init__(self, width: int = 32, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(torch.randn(8, width) * 0.1)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x.view(-1, 8, 8)) + self.position).mean(1))


class Autoencoder(nn.Sequential):
    def __init__(self, bottleneck: int = 8) -> None:
        super().__init__(
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, bottleneck), nn.ReLU(),
            nn.Linear(bottleneck, 64), nn.ReLU(), nn.Linear(64, 64),
        )  # fmt: skip


NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": MLP,
    "cnn": CNN,
    "cnn-batchnorm": lambda: CNN(norm=True),
    "residual": Residual,
    "recurrent": LSTM,
    "transformer": Transformer,
    "autoencoder": Autoencoder,
}


class Module(LightningModule):
    """A classifier as a user would write it; with an `Autoencoder` the image is the target."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.optimizer = optimizer or (lambda parameters: torch.optim.Adam(parameters, 1e-3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def target(self, x: Tensor, y: Tensor) -> Tensor:
        return x if isinstance(self.net, Autoencoder) else y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.loss(self(x), self.target(x, y))
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        out = self(x)
        self.log("val_loss", self.loss(out, self.target(x, y)))
        if out.shape[1] == 10:
            self.log("val_acc", (out.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        return self.optimizer(p for p in self.parameters() if p.requires_grad)


def loaders(
    train: int | None = None, batch_size: int = 64, validation: int = 500, seed: int = 0
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    x, y, xv, yv = digits()
    generator = torch.Generator().manual_seed(seed)
    return (
        DataLoader(
            TensorDataset(x[:train], y[:train]),
            batch_size,
            shuffle=True,
            drop_last=False,
            generator=generator,
        ),
        DataLoader(TensorDataset(xv[:validation], yv[:validation]), 250),
    )


def run(
    module: LightningModule,
    steps: int = 260,
    data: tuple[Any, Any] | None = None,
    folder: Any = None,
    diagnostics: Diagnostics | None = None,
    **options: Any,
) -> Diagnostics:
    """Train with a real Trainer and diagnostics with an unlimited time budget; return the diagnostics."""
    diagnostics = diagnostics or Diagnostics(budget=1.0, verbose=False)
    callbacks = [diagnostics, *options.pop("callbacks", [])]
    train, validation = data or loaders()
    trainer = Trainer(
        accelerator=options.pop("accelerator", "cpu"),
        max_steps=steps,
        max_epochs=-1,
        logger=options.pop("logger", False),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
        **options,
    )
    trainer.fit(module, train, validation)
    return diagnostics
