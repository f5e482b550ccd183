"""Healthy runs that resemble faulty ones. Diagnostics must find nothing in any of them.

This file holds no tests; `test_diagnostics_faults.py` runs them.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from architectures import GPT, Cell, Grid, HeadOnly, Margins, layer_scale, sparse, splines
from cases import Case, Control, usual
from controls_schedule import SCHEDULE_CONTROLS
from controls_tables import TABLE_CONTROLS
from controls_validation import VALIDATION_CONTROLS
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader, TensorDataset
from zoo import CNN, LSTM, MLP, Autoencoder, Module, Residual, Transformer, digits, loaders


def adam(rate: float) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: Adam(parameters, rate)


def sgd(rate: float) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: SGD(parameters, rate, momentum=0.9)


def of(net: nn.Module, optimizer: Any = None, **changes: Any) -> Case:
    name = "autoencoder" if isinstance(net, Autoencoder) else "mlp"
    changes.setdefault("steps", 260)
    return usual(name, net=net, **({"optimizer": optimizer} if optimizer else {}), **changes)


def sigmoid_mlp(depth: int) -> nn.Module:
    return MLP(depth, activation=nn.Sigmoid)


class Scheduled(Module):
    """`factor` gives the learning rate of a step as a multiple of the optimizer's."""

    @staticmethod
    def factor(step: int) -> float:
        return 1.0

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [{"scheduler": LambdaLR(optimizer, self.factor), "interval": "step"}]


class WarmUpAndCosine(Scheduled):
    @staticmethod
    def factor(step: int) -> float:
        import math

        return (
            max(step, 1) / 100 if step < 100 else 0.5 * (1 + math.cos(math.pi * min(1, (step - 100) / 300)))
        )


class CosineEnd(Scheduled):
    @staticmethod
    def factor(step: int) -> float:
        import math

        return 0.5 * (1 + math.cos(math.pi * min(1, step / 270))) if step < 270 else 0.0


def trained(net: nn.Module, rate: float = 3e-3, epochs: int = 12) -> nn.Module:
    """Train a net with a plain loop, without Lightning."""
    x, y, _, _ = digits()
    optimizer = Adam(net.parameters(), rate)
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net


def frozen_backbone() -> Case:
    net = trained(CNN(norm=True), epochs=4)
    for p in net.parameters():
        p.requires_grad_(False)
    net[12] = nn.Linear(256, 10)

    class HeadOnly(Module):
        def on_train_epoch_start(self) -> None:
            self.net[:12].eval()

    return of(net, module=HeadOnly)


class Adapter(nn.Module):
    """LoRA: the frozen layer plus B A x, with B = 0 at the start (Hu et al. 2021)."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.A = nn.Linear(layer.in_features, rank, bias=False)
        self.B = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.B.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.B(self.A(x))


def lora() -> Case:
    net = trained(MLP(4), epochs=3)
    for i, layer in enumerate(net):
        if isinstance(layer, nn.Linear):
            net[i] = Adapter(layer)
    return of(net, adam(1e-3))


def with_dropout() -> Case:
    net = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10),
    )  # fmt: skip
    return of(net)


def smoothed(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out, y, label_smoothing=0.1)


class Mixup(Module):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        share = float(torch.distributions.Beta(0.4, 0.4).sample())
        other = torch.randperm(len(x))
        out = self(share * x + (1 - share) * x[other])
        return share * F.cross_entropy(out, y) + (1 - share) * F.cross_entropy(out, y[other])


def changed_batch(step: int, change: Callable[[Tensor], Tensor]) -> type[Module]:
    class Once(Module):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            if self.trainer.training and self.trainer.global_step == step:
                return change(batch[0]), batch[1]
            return batch

    return Once


class OneBigStep(Scheduled):
    @staticmethod
    def factor(step: int) -> float:
        return 150.0 if step == 60 else 1.0


def imbalanced() -> Case:
    x, y, xv, yv = digits()
    keep = (y != 3) | (torch.rand(len(y), generator=torch.Generator().manual_seed(0)) < 0.1)
    weight = torch.ones(10)
    weight[3] = 10
    data = (
        DataLoader(TensorDataset(x[keep], y[keep]), 64, shuffle=True),
        DataLoader(TensorDataset(xv, yv), 250),
    )
    return of(MLP(3), loss=lambda out, t: F.cross_entropy(out, t, weight), data=data)


class GAN(Module):
    """A small GAN on the digits: two optimizers, manual optimization."""

    automatic_optimization = False

    def __init__(self, net: nn.Module, optimizer: Any = None, loss: Any = None) -> None:
        super().__init__(net, optimizer, loss)
        self.critic = nn.Sequential(nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real, _ = batch
        one, two = self.optimizers()
        fake = self.net(torch.randn(len(real), 16))
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        loss = F.binary_cross_entropy_with_logits(self.critic(real), ones)
        loss = loss + F.binary_cross_entropy_with_logits(self.critic(fake.detach()), zeros)
        two.zero_grad()
        self.manual_backward(loss)
        two.step()
        loss = F.binary_cross_entropy_with_logits(self.critic(fake), ones)
        one.zero_grad()
        self.manual_backward(loss)
        one.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        return None

    def configure_optimizers(self) -> Any:
        return Adam(self.net.parameters(), 2e-4, (0.5, 0.9)), Adam(self.critic.parameters(), 2e-4, (0.5, 0.9))


def generator() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64))


class Tied(Autoencoder):
    """The decoder uses the encoder's weight: one parameter with two names."""

    def __init__(self) -> None:
        nn.Sequential.__init__(self)
        self.encoder, self.decoder = nn.Linear(64, 64), nn.Linear(64, 64)
        self.decoder.weight = self.encoder.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.encoder(x)))


class Words(nn.Module):
    """Takes pixels as words of a vocabulary of 400, of which 17 occur."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(400, 16)
        self.head = nn.Linear(64 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        levels = ((x - x.min()) * 5).long().clamp(0, 399)
        return self.head(self.embedding(levels).flatten(1))


def converged() -> Case:
    return of(trained(MLP(3), epochs=60), adam(1e-4), data=loaders(600), steps=200)


def resumed() -> Case:
    """Start from the weights and the optimizer state of three epochs of training."""
    net = MLP(3)
    optimizer = Adam(net.parameters(), 1e-3)
    x, y, _, _ = digits()
    for _ in range(3):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())

    class Warm(Module):
        def configure_optimizers(self) -> Any:
            again = Adam(self.parameters(), 1e-3)
            again.load_state_dict(state)
            return again

    return of(net, module=Warm)


def small_last_batch() -> Case:
    return of(MLP(3), data=loaders(64 * 10 + 5))


def slow_sgd() -> Case:
    """A 784-256-128-10 net with plain SGD, on the digits enlarged to 28 x 28: it learns slowly."""

    class Enlarged(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            image = F.interpolate(x.view(-1, 1, 8, 8), size=(28, 28), mode="bilinear")
            return super().forward(image.flatten(1))

    net = Enlarged(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    return of(net, lambda p: SGD(p, 0.01))


def correlation(out: Tensor, y: Tensor) -> Tensor:
    """A loss that starts near 0 and is -1 for a perfect fit."""
    target = F.one_hot(y, 10).float()
    a, b = out - out.mean(), target - target.mean()
    return -(a * b).sum() / (a.norm() * b.norm())


def likelihood(out: Tensor, y: Tensor) -> Tensor:
    """The negative log-likelihood of a Gaussian, which falls far below 0."""
    target = F.one_hot(y, 10).float()
    log_scale = out.mean().clamp(-4, 4) - 1
    return (0.5 * ((out - target) / log_scale.exp()) ** 2).mean() + log_scale


def prices(out: Tensor, y: Tensor) -> Tensor:
    """A regression with targets around 200,000."""
    return F.mse_loss(out[:, 0], 2e5 + 2e4 * y.float())


class Query(nn.Module):
    """Learned queries pass the first layer before the data does."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(4, 64))
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        q = self.first(self.query.expand(len(x), -1, -1))
        weight = (q * self.second(x)[:, None]).sum(-1, keepdim=True).div(8).softmax(1)
        return self.head(F.relu((weight * q).sum(1) + self.second(x)))


class Recent(nn.Module):
    """Only the last time steps of a long sequence matter."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.view(-1, 8, 8)
        noise = torch.randn(1, 72, 8, generator=torch.Generator().manual_seed(0))
        return self.head(self.rnn(torch.cat([noise.expand(len(x), -1, -1), rows], 1))[0][:, -1])


def raw_before_norm() -> Case:
    """Pixels from 0 to 255 enter a convolution that batch normalization follows."""
    case = of(CNN(norm=True))
    x, y, xv, yv = digits()
    low, high = x.min(), x.max()
    parts = [(255 * (part - low) / (high - low), labels) for part, labels in ((x, y), (xv, yv))]
    train, validation = (TensorDataset(*part) for part in parts)
    case.data = DataLoader(train, 64, shuffle=True), DataLoader(validation, 250)
    return case


def margins() -> Case:
    """Start after some training, because the margins only saturate later than a short run measures."""
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 256), nn.Sigmoid())
    case = of(net, adam(3e-3), module=Margins, loss=F.binary_cross_entropy)
    module, optimizer = case.build(), Adam(net.parameters(), 3e-3)
    for rows in torch.arange(1280).view(20, 64).repeat(3, 1):
        x = digits()[0][rows]
        optimizer.zero_grad()
        case.loss(net(x), module.target(x, x)).backward()
        optimizer.step()
    return case


def default(net: nn.Module) -> nn.Module:
    """Set torch's own initial values."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return net


def gru() -> nn.Module:
    net = LSTM()
    net.rnn = nn.GRU(8, 64, batch_first=True)
    return net


def layer_norm_mlp() -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(6):
        layers += [nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


class OneCycle(Module):
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=260)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class StepDecay(Scheduled):
    @staticmethod
    def factor(step: int) -> float:
        return 0.1 ** (step // 120)


def averaged() -> Case:
    ema = WeightAveraging(avg_fn=get_ema_avg_fn(0.9))
    return of(MLP(3), options={"callbacks": [ema]})


CONTROLS = (
    Control("healthy/wide-layers", "dead units", lambda: of(MLP(3, 512))),
    Control("healthy/transformer", "dead units", lambda: of(Transformer(64, 3), steps=600)),
    Control("healthy/eight-layers", "vanishing", lambda: of(MLP(8))),
    Control("healthy/sixteen-layers", "vanishing", lambda: of(MLP(16))),
    Control("healthy/sigmoids", "vanishing", lambda: of(sigmoid_mlp(3), adam(3e-3))),
    Control("healthy/slow-sigmoids", "learning rate too low", lambda: of(sigmoid_mlp(4), steps=600)),
    Control("healthy/tanh", "saturation", lambda: of(MLP(8, activation=nn.Tanh), steps=600)),
    Control("healthy/lstm", "saturation", lambda: of(LSTM())),
    Control("healthy/clipped-lstm", "exploding", lambda: of(LSTM(), options={"gradient_clip_val": 0.25})),
    Control(
        "healthy/warm-up",
        "unstable then stalled",
        lambda: of(MLP(4), adam(3e-3), module=WarmUpAndCosine, steps=400),
    ),
    Control(
        "healthy/cosine-to-zero",
        "stopped learning",
        lambda: of(MLP(4), adam(3e-3), module=CosineEnd, steps=300),
    ),
    Control("healthy/fine-tuning", "learning rate too low", lambda: of(trained(MLP(4)), adam(1e-5))),
    Control("healthy/frozen-backbone", "no gradient", frozen_backbone),
    Control("healthy/lora", "zero gradient", lora),
    Control("healthy/zero-init-branches", "dead branch", lambda: of(Residual(4))),
    Control("healthy/dropout", "leak", with_dropout),
    Control("healthy/label-smoothing", "plateau", lambda: of(MLP(4), loss=smoothed, steps=600)),
    Control("healthy/mixup", "high loss", lambda: of(MLP(4), module=Mixup)),
    Control(
        "healthy/batch-of-8",
        "oscillation",
        lambda: of(MLP(3), lambda p: SGD(p, 0.01), data=loaders(batch_size=8), steps=600),
    ),
    Control(
        "healthy/batchnorm-batch-of-8",
        "noise",
        lambda: of(CNN(norm=True), data=loaders(batch_size=8), steps=400),
    ),
    Control(
        "healthy/one-odd-batch", "divergence", lambda: of(MLP(4), module=changed_batch(100, lambda x: 4 * x))
    ),
    Control("healthy/one-big-step", "divergence", lambda: of(MLP(4), module=OneBigStep)),
    Control("healthy/class-imbalance", "imbalance", imbalanced),
    Control(
        "healthy/small-validation-set",
        "overfitting",
        lambda: of(MLP(3), data=loaders(validation=100), steps=600),
    ),
    Control("healthy/gan", "divergence", lambda: of(generator(), module=GAN, steps=800)),
    Control("healthy/tied-weights", "unused", lambda: of(Tied())),
    Control(
        "healthy/accumulated-gradients",
        "spikes",
        lambda: of(MLP(4), options={"accumulate_grad_batches": 4}, steps=150),
    ),
    Control("healthy/unused-words", "zero gradients", lambda: of(Words())),
    Control("healthy/weight-averaging", "mismatch", averaged),
    Control("healthy/autoencoder", "plateau", lambda: of(Autoencoder(8), steps=600)),
    Control("healthy/converged", "vanishing", converged),
    Control("healthy/resumed", "jump", resumed),
    Control("healthy/small-last-batch", "spike", small_last_batch),
    Control("healthy/slow-sgd", "slow start", slow_sgd),
    # A rule once took each of these for faulty.
    Control("healthy/correlation-loss", "loss near 0", lambda: of(MLP(3), loss=correlation)),
    Control("healthy/negative-loss", "loss below 0", lambda: of(MLP(3), loss=likelihood, steps=400)),
    Control("healthy/large-targets", "targets far from 0", lambda: of(MLP(3), adam(3e-2), loss=prices)),
    Control("healthy/learned-queries", "constant inputs", lambda: of(Query())),
    Control("healthy/long-sequence", "vanishing through time", lambda: of(Recent(), adam(3e-3), steps=300)),
    Control("healthy/raw-inputs-before-norm", "unscaled inputs", raw_before_norm),
    Control("healthy/gpt", "weights too small", lambda: of(GPT(), steps=120)),
    Control("healthy/layer-scale", "vanishing", lambda: of(layer_scale())),
    Control("healthy/splines", "learning rate too high", lambda: of(splines(), adam(1e-2))),
    Control("healthy/cellular-automaton", "constant inputs", lambda: of(Cell(), adam(3e-3))),
    Control("healthy/learned-grid", "constant inputs", lambda: of(Grid())),
    Control("healthy/margin-loss", "saturation", margins),
    Control(
        "healthy/sparse-units",
        "dead units",
        lambda: of(sparse(), adam(1e-4), data=loaders(batch_size=2), steps=600),
    ),
    Control(
        "healthy/trained-head-only",
        "cut graph",
        lambda: of(nn.Sequential(*trained(MLP(3), epochs=4)), module=HeadOnly),
    ),
    *SCHEDULE_CONTROLS,
    *TABLE_CONTROLS,
    *VALIDATION_CONTROLS,
)

HELD_OUT = (
    Control("healthy/adagrad", "", lambda: of(MLP(4), lambda p: torch.optim.Adagrad(p, 1e-2))),
    Control("healthy/rmsprop", "", lambda: of(MLP(4), lambda p: torch.optim.RMSprop(p, 1e-3))),
    Control("healthy/adam-0.01", "", lambda: of(MLP(3), adam(1e-2))),
    Control("healthy/sgd-0.2", "", lambda: of(MLP(3), lambda p: SGD(p, 0.2))),
    Control("healthy/batch-of-256", "", lambda: of(MLP(4), data=loaders(batch_size=256))),
    Control("healthy/selu", "", lambda: of(MLP(6, activation=nn.SELU))),
    Control("healthy/silu", "", lambda: of(MLP(6, activation=nn.SiLU))),
    Control("healthy/default-initialization", "", lambda: of(default(MLP(8)), steps=400)),
    Control("healthy/sixteen-layers-sgd", "", lambda: of(MLP(16), sgd(0.01))),
    Control("healthy/six-convolutions", "", lambda: of(CNN(depth=6))),
    Control("healthy/six-convolutions-batchnorm", "", lambda: of(CNN(norm=True, depth=6))),
    Control("healthy/six-residual-blocks", "", lambda: of(Residual(6), adam(3e-3))),
    Control("healthy/four-layer-transformer", "", lambda: of(Transformer(32, 4), adam(2e-3), steps=400)),
    Control(
        "healthy/weight-decay", "", lambda: of(MLP(4), lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1))
    ),
    Control("healthy/gru", "", lambda: of(gru())),
    Control("healthy/two-layer-lstm", "", lambda: of(LSTM(layers=2), adam(3e-3), steps=400)),
    Control("healthy/gelu", "", lambda: of(MLP(6, activation=nn.GELU))),
    Control("healthy/leaky-relu", "", lambda: of(MLP(8, activation=nn.LeakyReLU))),
    Control("healthy/layernorm-mlp", "", lambda: of(layer_norm_mlp())),
    Control("healthy/narrow-layers", "", lambda: of(MLP(3, 16), adam(3e-3))),
    Control("healthy/cnn-batch-of-8", "", lambda: of(CNN(), data=loaders(batch_size=8), steps=600)),
    Control(
        "healthy/one-cycle", "", lambda: of(MLP(4), lambda p: SGD(p, 0.05, momentum=0.9), module=OneCycle)
    ),
    Control("healthy/nesterov", "", lambda: of(CNN(norm=True), lambda p: SGD(p, 0.1, 0.9, nesterov=True))),
    Control("healthy/step-decay", "", lambda: of(MLP(4), adam(3e-3), module=StepDecay, steps=400)),
)
"""More healthy runs. No threshold was chosen with these in view."""
