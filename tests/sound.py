"""Sound networks of many kinds on real data: no check may fail one of them. Nothing here is a test."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision import models
from zoo import Residual, digits

from nnfoundations.datamodules import DigitsDataModule, MNISTDataModule, NoisyCurveDataModule
from nnfoundations.lightning_modules import Classifier, CurveRegressor, Regressor
from nnfoundations.models import MLP

Data = tuple[Tensor, Tensor]


def table(name: str) -> Data:
    """One of the tables of scikit-learn, with standardized columns."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0), torch.tensor(y)


def pixels() -> Data:
    x, y, *_ = digits()
    return x, y


def images(size: int = 8, channels: int = 1) -> Data:
    x, y = pixels()
    return F.interpolate(x.view(-1, 1, 8, 8), size).repeat(1, channels, 1, 1), y


def rows() -> Data:
    """An image as a sequence of its eight rows."""
    x, y = pixels()
    return x.view(-1, 8, 8), y


def words() -> Data:
    """Every fourth pixel as a word of a vocabulary of 17."""
    x, y = pixels()
    return ((x - x.min()) * 5).long().clamp(0, 16)[:, ::4], y


def next_words() -> Data:
    x, _ = words()
    return x[:, :-1], x[:, 1:]


def grey() -> Data:
    """Pixels between 0 and 1, to be reconstructed."""
    x, _ = pixels()
    x = (x - x.min()) / (x.max() - x.min())
    return x, x


def diabetes() -> Data:
    x, y = table("diabetes")
    y = y.float()[:, None]
    return x, (y - y.mean()) / y.std()


def cancer() -> Data:
    x, y = table("breast_cancer")
    return x, y.float()[:, None]


def grades() -> Data:
    """The digit itself as a number between 0 and 9."""
    x, y = pixels()
    return x, y.float()[:, None]


def above() -> Data:
    """Whether the digit is above 0, above 1, ... above 8."""
    x, y = pixels()
    return x, (y[:, None] > torch.arange(9)).float()


def properties() -> Data:
    """Even, prime, above 4: three labels that exclude none of the others."""
    x, y = pixels()
    prime = (y[:, None] == torch.tensor([2, 3, 5, 7])).any(1)
    return x, torch.stack((y % 2 == 0, prime, y > 4), 1).float()


ADAM = partial(torch.optim.Adam, lr=3e-3)
SLOW_ADAM, FAST_ADAM = partial(torch.optim.Adam, lr=1e-3), partial(torch.optim.Adam, lr=1e-2)
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
ADAGRAD = partial(torch.optim.Adagrad, lr=0.05)


class Net(LightningModule):
    """A plain LightningModule, as users write them."""

    def __init__(
        self, net: nn.Module, data: Callable[[], Data], loss: Callable[..., Tensor] = F.cross_entropy,
        *, optimizer: Callable[..., Any] = ADAM,
    ) -> None:  # fmt: skip
        super().__init__()
        self.net, self.data, self.loss, self.optimizer = net, data, loss, optimizer

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Data, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.loss(self(x), y)
        self.log("loss", loss)
        return loss

    def train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        return DataLoader(TensorDataset(*self.data()), 32, shuffle=True, generator=generator, drop_last=True)

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters())


def tower(depth: int, activation: type[nn.Module], gain: float) -> nn.Module:
    """Xavier's initial values, scaled so that the gradient reaches the first layer."""
    layers: list[nn.Module] = []
    for a, b in pairwise([64] + [32] * depth):
        layers += [nn.Linear(a, b), activation()]
        nn.init.xavier_normal_(layers[-2].weight, gain)
    return nn.Sequential(*layers, nn.Linear(32, 10))


def convolutions(norm: Callable[[], nn.Module]) -> nn.Module:
    """The bias of a convolution before batch norm changes nothing: its true gradient is 0."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), norm(), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1), norm(), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def black_margin() -> nn.Module:
    """Zero biases on zero pixels: half of the units stand at the kink of ReLU."""
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.ZeroPad2d(4), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 10),
    )  # fmt: skip
    for layer in net:
        if hasattr(layer, "bias"):
            nn.init.zeros_(layer.bias)
    return net


def dense(ins: int, outs: int, hidden: int = 32) -> nn.Module:
    return nn.Sequential(nn.Linear(ins, hidden), nn.ReLU(), nn.Linear(hidden, outs))


class FunctionalDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.hidden(x).relu(), 0.3, self.training))


class Reader(nn.Module):
    """A recurrent net that classifies by its last state."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


class Encoder(nn.Module):
    """Torch's own transformer encoder over words."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(17, 32), nn.Parameter(torch.randn(16, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.words(x) + self.places).mean(1))


class LanguageModel(nn.Module):
    """Predicts each next word by causal attention; its key projection has a bias, which changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(17, 32), nn.Parameter(torch.randn(15, 32) * 0.02)
        self.norm, self.query, self.key, self.value = nn.LayerNorm(32), *(nn.Linear(32, 32) for _ in "qkv")
        self.up, self.head = dense(32, 32, 64), nn.Linear(32, 17)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x) + self.places
        n = self.norm(x)
        x = x + F.scaled_dot_product_attention(self.query(n), self.key(n), self.value(n), is_causal=True)
        return self.head(x + self.up(x)).transpose(1, 2)


class StochasticDepth(nn.Module):
    """Drop a whole branch of a sample, and scale the rest (Huang et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (torch.rand(len(x), 1, 1, 1) < 0.9) / 0.9


class ConvNeXtBlock(nn.Module):
    """As in timm: depthwise convolution, norm, pointwise layers, layer scale, stochastic depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 3, padding=1, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma, self.drop = nn.Parameter(torch.full((width,), 1e-6)), StochasticDepth()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        branch = self.gamma * self.down(F.gelu(self.up(branch)))
        return x + self.drop(branch.permute(0, 3, 1, 2))


def convnext() -> nn.Module:
    blocks = [ConvNeXtBlock(16) for _ in range(3)]
    return nn.Sequential(
        nn.Conv2d(1, 16, 2, 2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )


def autoencoder() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), dense(16, 64, 64))


def vgg() -> nn.Module:
    features = models.vgg.make_layers([16, "M", 32, "M", 64, 64, "M"], batch_norm=False)
    net = models.VGG(features, num_classes=10)
    net.avgpool = nn.AdaptiveAvgPool2d(2)
    net.classifier = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 10))
    return net


def mobile_net() -> nn.Module:
    """A quarter of the width, and five blocks, three of which have a residual connection."""
    blocks = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]]
    return models.MobileNetV2(10, width_mult=0.25, inverted_residual_setting=blocks)


def vision_transformer() -> nn.Module:
    net = models.VisionTransformer(16, 4, 2, 2, 32, 64, dropout=0.1, num_classes=10)
    nn.init.normal_(net.heads.head.weight, std=0.02)  # torchvision's zeros leave all else still at first
    return net


def log_probabilities(ins: int, outs: int) -> nn.Module:
    return nn.Sequential(dense(ins, outs), nn.LogSoftmax(1))


class Pretrained(nn.Module):
    """A backbone that is frozen and in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()).requires_grad_(False)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone.eval()(x))


class WarmUp(Net):
    """Its learning rate rises over 1,000 steps."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 1000))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@dataclass(frozen=True)
class Case:
    """`build` makes the model; `data` makes its DataModule, if it does not load its own data."""

    build: Callable[[], LightningModule]
    data: Callable[[], LightningDataModule] | None = None


def plain(net: Callable[[], nn.Module], *args: Any, **kwargs: Any) -> Case:
    return Case(lambda: Net(net(), *args, **kwargs))


def towers(*depths: int) -> dict[str, Case]:
    return {
        f"{kind.__name__.lower()} tower of depth {depth}": plain(partial(tower, depth, kind, gain), pixels)
        for kind, gain in ((nn.Sigmoid, 4.0), (nn.Tanh, 5 / 3))
        for depth in depths
    }


def selu() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(64, 10))


def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))


def bag(sparse: bool) -> nn.Module:
    return nn.Sequential(nn.EmbeddingBag(17, 32, sparse=sparse), dense(32, 10))


def curve() -> nn.Module:
    return MLP([1, 32, 1], activation="Tanh")


def small_digits() -> nn.Module:
    return MLP([64, 32, 10])


BINARY = F.binary_cross_entropy_with_logits
SMOOTHED = partial(F.cross_entropy, label_smoothing=0.1)
DIGITS = partial(DigitsDataModule, batch_size=32)
MNIST = partial(MNISTDataModule, batch_size=32, flatten=True)
TEN = partial(dense, 64, 10)
ON_DIABETES = partial(dense, 10, 1)
BATCH_NORM, GROUP_NORM = partial(nn.BatchNorm2d, 16), partial(nn.GroupNorm, 4, 16)
INSTANCE_NORM = partial(nn.InstanceNorm2d, 16, affine=True, track_running_stats=True)
SMALL = partial(images, 16, 3)

FAST = {
    "softmax regression, Iris": plain(partial(nn.Linear, 4, 3), partial(table, "iris"), optimizer=SGD),
    "logistic regression, breast cancer": plain(partial(nn.Linear, 30, 1), cancer, BINARY, optimizer=SGD),
    "linear regression, diabetes": plain(partial(nn.Linear, 10, 1), diabetes, F.mse_loss, optimizer=SGD),
    **towers(4),
    "convolution with bias before batch norm": plain(
        partial(convolutions, BATCH_NORM), images, optimizer=SGD
    ),
    "dropout of a half": plain(dropout, pixels),
    "functional dropout": plain(FunctionalDropout, pixels, optimizer=SGD),
    "alpha dropout": plain(selu, pixels),
    "embeddings": plain(partial(bag, False), words, optimizer=FAST_ADAM),
    "LSTM of two layers, dropout": plain(
        lambda: Reader(nn.LSTM(8, 32, 2, batch_first=True, dropout=0.2)), rows
    ),
    "ordinal regressor": plain(partial(dense, 64, 1), grades, F.mse_loss),
    "Huber": plain(ON_DIABETES, diabetes, F.huber_loss, optimizer=FAST_ADAM),
    "negative log-likelihood, wine": plain(
        partial(log_probabilities, 13, 3), partial(table, "wine"), F.nll_loss
    ),
    "several labels": plain(partial(dense, 64, 3), properties, BINARY),
    "label smoothing": plain(TEN, pixels, SMOOTHED),
    "Classifier, digits": Case(lambda: Classifier(small_digits()), DIGITS),
}

SLOW = {
    **towers(8, 12),
    "group norm": plain(partial(convolutions, GROUP_NORM), images),
    "instance norm with running statistics": plain(partial(convolutions, INSTANCE_NORM), images),
    "convolutions with black margins": plain(black_margin, pixels),
    "embeddings with sparse gradients": plain(partial(bag, True), words, optimizer=ADAGRAD),
    "frozen backbone": plain(Pretrained, pixels, optimizer=SGD),
    "residual branches that begin at 0": plain(Residual, pixels, optimizer=SGD),
    "warm-up of 1,000 steps": Case(lambda: WarmUp(TEN(), pixels, optimizer=SGD)),
    "RNN": plain(lambda: Reader(nn.RNN(8, 32, batch_first=True)), rows),
    "GRU": plain(lambda: Reader(nn.GRU(8, 32, batch_first=True)), rows),
    "transformer encoder": plain(Encoder, words),
    "transformer encoder without dropout": plain(partial(Encoder, 0.0), words),
    "language model": plain(LanguageModel, next_words),
    "ConvNeXt blocks": plain(convnext, images),
    "autoencoder": plain(autoencoder, grey, F.mse_loss),
    "autoencoder, cross-entropy of grey pixels": plain(autoencoder, grey, BINARY),
    "ordinal regressor of thresholds": plain(partial(dense, 64, 9), above, BINARY),
    "half the squared error": plain(
        ON_DIABETES, diabetes, lambda p, y: 0.5 * F.mse_loss(p, y), optimizer=FAST_ADAM
    ),
    "absolute error": plain(ON_DIABETES, diabetes, F.l1_loss, optimizer=FAST_ADAM),
    "several labels, soft margin": plain(partial(dense, 64, 3), properties, F.multilabel_soft_margin_loss),
    "Classifier, L1 penalty": Case(lambda: Classifier(small_digits(), l1=1e-3), DIGITS),
    "Classifier, MNIST": Case(lambda: Classifier(MLP([784, 64, 10])), MNIST),
    "Regressor, noisy curve": Case(lambda: Regressor(curve()), NoisyCurveDataModule),
    "CurveRegressor, noisy curve": Case(lambda: CurveRegressor(curve()), NoisyCurveDataModule),
    "ResNet-18": plain(partial(models.resnet18, num_classes=10), SMALL, optimizer=SLOW_ADAM),
    "VGG": plain(vgg, SMALL, optimizer=SLOW_ADAM),
    "MobileNetV2": plain(mobile_net, SMALL, optimizer=SLOW_ADAM),
    "DenseNet": plain(partial(models.DenseNet, 8, (2, 2, 2), 16, num_classes=10), SMALL),
    "vision transformer": plain(vision_transformer, SMALL),
}

SOUND = FAST | SLOW
