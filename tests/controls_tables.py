"""Healthy runs that a rule once called faulty because of its updates, its first losses or its scale.

Most are small nets on tables. In each, the message contradicted itself. This file holds no tests.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from cases import Case, Control
from sklearn.datasets import load_breast_cancer, load_iris
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader, TensorDataset
from zoo import Module, digits, table, table_loaders

__all__ = ["TABLE_CONTROLS"]


def run_of(
    net: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: Callable[[Any], torch.optim.Optimizer],
    data: Any,
    steps: int = 260,
    **changes: Any,
) -> Case:
    case = Case("table", net, loss=loss, optimizer=optimizer, data=data, steps=steps)
    for key, value in changes.items():
        setattr(case, key, value)
    return case


def batches(x: Tensor, y: Tensor, size: int = 32) -> tuple[DataLoader[Any], None]:
    """Return training data, without validation."""
    return DataLoader(TensorDataset(x, y), size, shuffle=True, drop_last=True), None


def adam(rate: float) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: Adam(parameters, rate)


def mlp(*sizes: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    net = nn.Sequential()
    for a, b in pairwise(sizes):
        net.extend([nn.Linear(a, b), activation()])
    del net[-1]
    return net


def polynomial() -> Case:
    """The powers of x up to 4, as in an example of PyTorch; updates are half the weights."""
    x = torch.randn(1600)
    powers = torch.stack([x, x**2, x**3, x**4], 1)
    y = powers @ (5 * torch.randn(4, 1)) + 5
    return run_of(nn.Linear(4, 1), F.smooth_l1_loss, lambda p: SGD(p, 0.1), batches(powers, y))


def weak_signal() -> Case:
    """The inputs explain 4 % of the targets, so the loss hardly falls after the first steps."""
    x = torch.randn(1000, 5)
    y = 0.2 * x[:, :1] + torch.randn(1000, 1)
    return run_of(nn.Linear(5, 1), F.mse_loss, adam(0.05), batches(x, y, 50))


def line() -> Case:
    """Two parameters that must become 100 times larger."""
    x = torch.linspace(-2, 2, 640)[:, None]
    return run_of(nn.Linear(1, 1), F.mse_loss, adam(0.1), batches(x, 30 * x), steps=400)


class LayerLocal(Module):
    """Each layer has its own loss, which tells digits with the right label in them from others.

    Forward-forward (Hinton 2022), without a backward pass through several layers.
    """

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        right, wrong = self.labelled(x, y), self.labelled(x, y[torch.randperm(len(y))])
        total = x.new_zeros(())
        for layer in self.net:
            right, wrong = self.through(layer, right), self.through(layer, wrong)
            good, bad = right.square().mean(1), wrong.square().mean(1)
            total = total + F.softplus(torch.cat([2 - good, bad - 2])).mean()
        return total

    def labelled(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([3 * F.one_hot(y, 10).float(), x[:, 10:]], 1)

    def through(self, layer: nn.Module, x: Tensor) -> Tensor:
        x = x.detach()
        return F.relu(layer(x / (x.norm(2, 1, keepdim=True) + 1e-4)))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        return None


def layer_local() -> Case:
    net = nn.ModuleList([nn.Linear(64, 100), nn.Linear(100, 100)])
    return run_of(net, F.mse_loss, adam(0.03), batches(*digits()[:2], 128), module=LayerLocal)


def batch_of_one() -> Case:
    net = nn.Sequential(mlp(30, 50, 50, 1), nn.Sigmoid())
    return run_of(
        net,
        F.binary_cross_entropy,
        lambda p: torch.optim.RMSprop(p, 1e-3, 0.9),
        table_loaders("cancer", 1),
        600,
    )


def rare_positives() -> Case:
    """One in twenty counts fifty times: most batches have none, and the loss jumps at the others."""
    x, y = table("cancer")
    rare = y.eq(0).logical_and(torch.rand(len(y), 1) < 0.13).float()

    def weighted(out: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, target, pos_weight=torch.tensor(50.0))

    return run_of(mlp(30, 32, 1), weighted, adam(3e-3), batches(x, rare, 8), 400)


def hinge() -> Case:
    """In the end most batches have a loss of 0 and no gradient."""
    x = torch.randn(640, 10)
    return run_of(
        mlp(10, 64, 1),
        lambda out, y: F.relu(0.1 - out * y).mean(),
        adam(0.01),
        batches(x, x[:, :1].sign(), 16),
        500,
    )


def raw_table_before_norm() -> Case:
    """Columns of up to 1,680 enter a layer that batch normalization follows."""
    x, y = table("wine-raw")
    net = nn.Sequential()
    for width in (13, 32, 32):
        net.extend([nn.Linear(width, 32), nn.BatchNorm1d(32), nn.ReLU()])
    return run_of(
        net.append(nn.Linear(32, 3)), F.cross_entropy, adam(3e-3), batches(x, y),
        options={"limit_val_batches": 0},
    )  # fmt: skip


def deep_autoencoder() -> Case:
    """Ten layers with torch's own initial values: the first ones get almost no gradient for some steps."""
    x = digits()[0]
    net = mlp(64, 64, 64, 48, 32, 16, 32, 48, 64, 64, 64, activation=nn.GELU)
    return run_of(net, lambda out, y: (out - y).square().sum(1).mean(), adam(3e-3), batches(x, x, 64), 200)


def positive_outputs() -> Case:
    net = mlp(10, 64, 64, 1).append(nn.ReLU())
    return run_of(
        net,
        lambda out, y: F.mse_loss(out, y + 3),
        adam(3e-3),
        table_loaders("diabetes"),
        options={"limit_val_batches": 0},
    )


def with_dead_units(net: nn.Sequential, dead: int) -> nn.Sequential:
    """Let only some units of the first layer respond to an input from 0 to 1."""
    with torch.no_grad():
        net[0].weight.copy_(torch.where(torch.arange(len(net[0].weight)) < dead, -0.5, 1.5)[:, None])
        net[0].bias.zero_()
    return net


def one_petal() -> Case:
    """The signs of their weights decide that eight of ten units are dead, and two suffice."""
    x, y = torch.as_tensor(load_iris().data[:, 2:], dtype=torch.float32).split(1, dim=1)
    data = batches((x - x.min()) / (x.max() - x.min()), y)
    return run_of(with_dead_units(mlp(1, 10, 10, 1), 8), F.mse_loss, adam(0.01), data)


def one_column_of_cancer() -> Case:
    """Ten of twelve units are dead; the worst perimeter alone tells most tumours apart."""
    x, y = load_breast_cancer(return_X_y=True)
    column = torch.as_tensor(x[:, 22:23], dtype=torch.float32)
    data = batches((column - column.min()) / (column.max() - column.min()), torch.as_tensor(y))
    return run_of(with_dead_units(mlp(1, 12, 2), 10), F.cross_entropy, adam(0.03), data)


class Averaged(nn.Module):
    """A network and the moving average of its weights, whose outputs it predicts (Grill et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.online, self.average = mlp(13, 32, 16), mlp(13, 32, 16)
        self.average.load_state_dict(self.online.state_dict())
        self.predict = mlp(16, 32, 16)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.online.parameters(), strict=True):
                slow.lerp_(fast, 0.05)
            seen = self.average(x + 0.1 * torch.randn_like(x))
        return torch.cat([self.predict(self.online(x)), seen], 1)


def moving_average() -> Case:
    """The averaged weights belong to the optimizer too, and get no gradient on purpose."""

    def apart(out: Tensor, _: Tensor) -> Tensor:
        a, b = F.normalize(out[:, :16], dim=1), F.normalize(out[:, 16:], dim=1)
        return (a - b).square().sum(1).mean()

    return run_of(
        Averaged(), apart, adam(1e-3), batches(*table("wine")), 150, options={"limit_val_batches": 0}
    )


class TakingTurns(nn.Module):
    """One recurrent layer reads the rows of an image, another its columns, in every other batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = nn.GRU(8, 32, batch_first=True), nn.GRU(8, 32, batch_first=True)
        self.head, self.calls = nn.Linear(32, 10), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = x.view(-1, 8, 8)
        states = self.rows(x)[0] if self.calls % 2 else self.columns(x.transpose(1, 2))[0]
        return self.head(states[:, -1])


def taking_turns() -> Case:
    x, y = digits()[:2]
    return run_of(TakingTurns(), F.cross_entropy, adam(3e-3), batches(x, y, 64), 200)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn, self.head = (
            nn.Embedding(40, 64),
            nn.LSTM(64, 64, batch_first=True),
            nn.Linear(64, 40),
        )
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(x))[0]).transpose(1, 2)


def language() -> Case:
    """A rate of 20 with clipped gradients, as in an example of PyTorch, on sequences of a random grammar."""
    probabilities = torch.softmax(2.5 * torch.randn(40, 40), 1)
    words = [torch.randint(0, 40, (320,))]
    for _ in range(20):
        words.append(torch.multinomial(probabilities[words[-1]], 1)[:, 0])
    x = torch.stack(words, 1)
    return run_of(
        Words(), F.cross_entropy, lambda p: SGD(p, 20.0), batches(x[:, :-1], x[:, 1:], 20), 200,
        options={"gradient_clip_val": 0.25},
    )  # fmt: skip


TABLE_CONTROLS = (
    Control("healthy/polynomial", "learning rate too high", polynomial),
    Control("healthy/weak-signal", "learning rate too high", weak_signal),
    Control("healthy/line", "learning rate too high", line),
    Control("healthy/layer-local-losses", "learning rate too high", layer_local),
    Control("healthy/batch-of-one", "learning rate too high", batch_of_one),
    Control("healthy/rare-positives", "learning rate too high", rare_positives),
    Control("healthy/language-at-a-rate-of-20", "learning rate too high", language),
    Control("healthy/hinge-loss", "no gradient", hinge),
    Control("healthy/positive-outputs", "no gradient", positive_outputs),
    Control("healthy/raw-table-before-norm", "bad initialization", raw_table_before_norm),
    Control("healthy/deep-autoencoder", "vanishing gradients", deep_autoencoder),
    Control("healthy/moving-average", "graph cut", moving_average),
    Control("healthy/recurrent-layers-in-turn", "exploding gradients", taking_turns),
    Control("healthy/one-petal", "dead units", one_petal),
    Control("healthy/one-column-of-cancer", "dead units", one_column_of_cancer),
)
"""Appended to the controls of `controls.py`."""
