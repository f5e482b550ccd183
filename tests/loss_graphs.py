"""Small graphs of losses, faulty and healthy, with the facts that must be read from each.

Each entry builds a loss from a one-layer net, with torch's layers or with ours. This file holds no tests;
`test_diagnostics_loss_graph.py` reads the graphs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import nnfoundations.nn
import nnfoundations.nn.functional

N, CLASSES = 16, 4
THEIRS = SimpleNamespace(nn=torch.nn, F=F)
OURS = SimpleNamespace(nn=nnfoundations.nn, F=nnfoundations.nn.functional)


class Batch:
    """A batch of random inputs and targets, and the layers of one library that make outputs of them."""

    def __init__(self, library: Any, net: dict[str, torch.nn.Module], seed: int) -> None:
        self.nn, self.F, self._net = library.nn, library.F, net
        draw = torch.Generator().manual_seed(seed)
        self.x = torch.randn(N, 6, generator=draw)
        self.labels = torch.randint(CLASSES, (N,), generator=draw)
        self.labels[:CLASSES] = torch.arange(CLASSES)
        self.onehot = F.one_hot(self.labels, CLASSES).float()
        self.several = (torch.rand(N, CLASSES, generator=draw) < 0.5).float()
        self.several[0] = 1
        self.shares = torch.rand(N, CLASSES, generator=draw).softmax(1)
        self.real = torch.randn(N, 1, generator=draw)
        self.yes = (torch.rand(N, 1, generator=draw) < 0.5).float()
        self.draw = draw

    def out(self, width: int, *activations: torch.nn.Module, name: str = "net") -> Tensor:
        """Return the outputs of a layer with this many units, and of activations after it."""
        if name not in self._net:
            self._net[name] = torch.nn.Sequential(self.nn.Linear(6, width), *activations)
        return self._net[name](self.x)


@dataclass(frozen=True)
class Graph:
    """A loss. `make` returns it with its targets; `faults` are those that must be found, `facts` fields."""

    id: str
    make: Callable[[Batch], tuple[Tensor, Tensor | None]]
    faults: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


GRAPHS: list[Graph] = []


def graph(
    name: str, *faults: str, **facts: Any
) -> Callable[[Callable[[Batch], tuple[Tensor, Tensor | None]]], None]:
    def register(make: Callable[[Batch], tuple[Tensor, Tensor | None]]) -> None:
        GRAPHS.append(Graph(name, make, faults, facts))

    return register


def add(name: str, make: Callable[[Batch], tuple[Tensor, Tensor | None]], *faults: str, **facts: Any) -> None:
    GRAPHS.append(Graph(name, make, faults, facts))


def keras(p: Tensor, labels: Tensor) -> Tensor:
    """The categorical cross-entropy of Keras, on outputs divided by their sum."""
    p = p / p.sum(1, keepdim=True)
    return F.nll_loss(torch.log(p.clamp(1e-7, 1 - 1e-7)), labels)


def binary(p: Tensor, t: Tensor, eps: float = 1e-7) -> Tensor:
    """A binary cross-entropy written by hand."""
    return -(t * torch.log(p.clamp(min=eps)) + (1 - t) * torch.log((1 - p).clamp(min=eps))).mean()


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    """The focal loss (Lin et al. 2017)."""
    chosen = logits.log_softmax(1).gather(1, labels[:, None]).squeeze(1)
    return -((1 - chosen.exp()) ** 2 * chosen).mean()


def distance(a: Tensor, b: Tensor) -> Tensor:
    """The mean distance of all pairs."""
    return (a.view(-1, 1) - b.view(1, -1)).abs().mean()


# fmt: off
# -- classification --------------------------------------------------------------------------------------

ENTROPY, NLL, LIKELIHOOD = "cross-entropy", "negative-log-likelihood", "log-likelihood"
MISMATCH, NEEDS = "output-activation-mismatch", "loss-needs-log-probabilities"
ONE, OVER, TWICE = "softmax-over-one-unit", "softmax-over-batch", "softmax-before-cross-entropy"
RANGE, SHAPE, UNFIT = "targets-out-of-range", "shape-broadcast-in-loss", "loss-unfit-for-targets"

add("cross-entropy", lambda b: (b.F.cross_entropy(b.out(4), b.labels), b.labels),
    kind=ENTROPY, activation="", axis=1, length=4, layer=True, module="net.0", over_batch=False)
add("cross-entropy/label-smoothing",
    lambda b: (b.F.cross_entropy(b.out(4), b.labels, label_smoothing=0.1), b.labels), kind=ENTROPY, length=4)
add("cross-entropy/probabilities", lambda b: (b.F.cross_entropy(b.out(4), b.shares), b.shares), kind=ENTROPY)
add("cross-entropy/one-hot", lambda b: (b.F.cross_entropy(b.out(4), b.onehot), b.labels), kind=ENTROPY)
add("cross-entropy/sequence",
    lambda b: (b.F.cross_entropy(b.out(24).view(N, 6, 4).transpose(1, 2), b.labels[:, None].repeat(1, 6)),
               b.labels), kind=ENTROPY, length=4)
add("cross-entropy/flattened-sequence",
    lambda b: (b.F.cross_entropy(b.out(24).view(N * 6, 4), b.labels.repeat_interleave(6)), b.labels),
    kind=ENTROPY, length=4, over_batch=False)
add("cross-entropy/ignored-labels",
    lambda b: (b.F.cross_entropy(b.out(4), torch.where(b.labels == 3, -100, b.labels)), b.labels),
    kind=ENTROPY)
add("cross-entropy/half-precision",
    lambda b: (b.F.cross_entropy(b.out(4).bfloat16().float(), b.labels), b.labels), kind=ENTROPY, layer=True)
add("cross-entropy/weights-and-mask",
    lambda b: ((b.F.cross_entropy(b.out(4), b.labels, reduction="none") * b.yes[:, 0]).sum() / 7, b.labels),
    kind=ENTROPY)
add("cross-entropy/ensemble",
    lambda b: (torch.stack([b.F.cross_entropy(b.out(4, name=n), b.labels) for n in "ab"]).mean(), b.labels),
    kind=ENTROPY)
add("cross-entropy/temperature", lambda b: (b.F.cross_entropy(b.out(4).tanh() * 10, b.labels), b.labels),
    kind=ENTROPY, activation="")
add("cross-entropy/two-classes", lambda b: (b.F.cross_entropy(b.out(2), b.labels % 2), b.labels % 2),
    kind=ENTROPY, length=2)
add("cross-entropy/ranking-over-the-batch",
    lambda b: (-(b.yes / b.yes.sum() * b.out(1).log_softmax(0)).sum(), b.yes), kind=ENTROPY, over_batch=True)
add("log-likelihood/selected-columns", lambda b: (
    -(b.yes[:, 0] * b.out(2).softmax(1)[:, 1].log()
      + (1 - b.yes[:, 0]) * b.out(2).softmax(1)[:, 0].log()).mean(), b.yes), kind=LIKELIHOOD)
add("nll/log-softmax", lambda b: (b.F.nll_loss(b.out(4, b.nn.LogSoftmax(1)), b.labels), b.labels),
    kind=ENTROPY, axis=1, length=4)
add("nll/log-softmax-last-axis", lambda b: (b.F.nll_loss(b.out(4, b.nn.LogSoftmax(-1)), b.labels), b.labels),
    kind=ENTROPY, axis=1)
add("nll/logsumexp",
    lambda b: (b.F.nll_loss(b.out(4) - b.out(4).logsumexp(1, keepdim=True), b.labels), b.labels),
    kind=NLL)


@graph("nll/logsumexp-by-hand", kind=ENTROPY, length=4)
def _(b):
    z = b.out(4)
    return b.F.nll_loss(z - z.exp().sum(1, keepdim=True).log(), b.labels), b.labels


@graph("nll/shifted-logsumexp", kind=ENTROPY, length=4)
def _(b):
    z = b.out(4)
    z = z - z.amax(1, keepdim=True).detach()
    return -(z - z.logsumexp(1, keepdim=True))[torch.arange(N), b.labels].mean(), b.labels


add("nll/log-of-softmax", lambda b: (b.F.nll_loss(b.out(4, b.nn.Softmax(1)).log(), b.labels), b.labels),
    kind=LIKELIHOOD, activation="softmax", normalized=True)
add("log-likelihood/gathered",
    lambda b: (-b.out(4, b.nn.LogSoftmax(1)).gather(1, b.labels[:, None]).mean(), b.labels), kind=ENTROPY)
add("log-likelihood/indexed",
    lambda b: (-torch.log(b.out(4, b.nn.Softmax(1))[torch.arange(N), b.labels]).mean(), b.labels),
    kind=LIKELIHOOD, activation="softmax")
add("log-likelihood/weighted",
    lambda b: (-(b.onehot * torch.log(b.out(4, b.nn.Softmax(1)) + 1e-8)).sum(1).mean(), b.labels),
    kind=LIKELIHOOD, activation="softmax")


@graph("log-likelihood/softmax-by-hand", kind=LIKELIHOOD, activation="softmax", axis=1, length=4)
def _(b):
    e = b.out(4).exp()
    return -torch.log((e / e.sum(1, keepdim=True))[torch.arange(N), b.labels]).mean(), b.labels


add("log-likelihood/keras", lambda b: (keras(b.out(4, b.nn.Softmax(1)), b.labels), b.labels),
    kind=LIKELIHOOD, activation="softmax")
add("log-likelihood/keras-sigmoid", lambda b: (keras(b.out(4, b.nn.Sigmoid()), b.labels), b.labels),
    kind=LIKELIHOOD, activation="sigmoid")
add("focal", lambda b: (focal(b.out(4), b.labels), b.labels), kind=ENTROPY)
add("policy-gradient",
    lambda b: ((-b.out(4, b.nn.LogSoftmax(1)).gather(1, b.labels[:, None]) * (b.real + 3)).mean(), b.labels),
    kind=ENTROPY)


@graph("policy-gradient/entropy-bonus", kind=ENTROPY)
def _(b):
    logs = b.out(4).log_softmax(1)
    chosen = logs.gather(1, b.labels[:, None])
    return (-chosen * b.real).mean() + 0.01 * (logs.exp() * logs).sum(1).mean(), b.labels


@graph("distillation", kind=ENTROPY)
def _(b):
    student = (b.out(4) / 2).log_softmax(1)
    loss = b.F.kl_div(student, b.shares, reduction="batchmean")
    return 4 * loss + b.F.cross_entropy(b.out(4), b.labels), b.labels


add("margin", lambda b: (F.multi_margin_loss(b.out(4), b.labels), b.labels), kind="margin")
add("hinge", lambda b: ((1 - (2 * b.yes - 1) * b.out(1)).clamp(min=0).mean(), b.yes))
add("logistic", lambda b: (F.softplus(-(2 * b.yes - 1) * b.out(1)).mean(), b.yes))
add("soft-margin", lambda b: (F.soft_margin_loss(b.out(1), 2 * b.yes - 1), 2 * b.yes - 1), kind="margin")


@graph("contrastive/info-nce", kind=ENTROPY, length=N, layer=False)
def _(b):
    one, two = (F.normalize(b.out(8, name=name), dim=1) for name in "ab")
    return b.F.cross_entropy(one @ two.T / 0.1, torch.arange(N)), None


@graph("contrastive/both-directions", kind=ENTROPY, over_batch=False)
def _(b):
    scores = b.out(8, name="a") @ b.out(8, name="b").T
    there, back = scores.log_softmax(1), scores.log_softmax(0)
    return -(there.diagonal() + back.diagonal()).mean(), None


@graph("contrastive/memory-bank", kind=ENTROPY)
def _(b):
    scores = b.out(8) @ torch.randn(8, N, generator=b.draw)
    return b.F.cross_entropy(scores, torch.zeros(N, dtype=torch.int64)), None


@graph("attention/over-instances", kind="binary-cross-entropy-with-logits")
def _(b):
    weight = b.out(1, name="score").softmax(0)
    pooled = (weight * b.x).sum(0, keepdim=True)
    logit = torch.nn.functional.linear(pooled, b._net["score"][0].weight)
    return b.F.binary_cross_entropy_with_logits(logit, torch.ones(1, 1)), None


# -- yes or no -------------------------------------------------------------------------------------------

BCE, LOGITS = "binary-cross-entropy", "binary-cross-entropy-with-logits"
add("bce/logits", lambda b: (b.F.binary_cross_entropy_with_logits(b.out(1), b.yes), b.yes), kind=LOGITS)
add("bce/sigmoid", lambda b: (b.F.binary_cross_entropy(b.out(1, b.nn.Sigmoid()), b.yes), b.yes),
    kind=BCE, activation="sigmoid")
add("bce/clamped", lambda b: (b.F.binary_cross_entropy(b.out(1, b.nn.Sigmoid()).clamp(1e-7, 1), b.yes),
    b.yes),
    kind=BCE, activation="sigmoid")
add("bce/soft-targets",
    lambda b: (b.F.binary_cross_entropy_with_logits(b.out(4), b.shares), b.shares), kind=LOGITS)
add("bce/several-labels",
    lambda b: (b.F.binary_cross_entropy_with_logits(b.out(4), b.several), b.several), kind=LOGITS)
add("bce/softmax-and-one-hot", lambda b: (b.F.binary_cross_entropy(b.out(4, b.nn.Softmax(1)), b.onehot),
    None),
    kind=BCE, activation="softmax")
add("bce/by-hand", lambda b: (binary(b.out(1, b.nn.Sigmoid()), b.yes), b.yes))
add("bce/by-hand-softmax", lambda b: (binary(b.out(4, b.nn.Softmax(1)), b.onehot), b.labels))
add("bce/image",
    lambda b: (b.F.binary_cross_entropy(b.out(6, b.nn.Sigmoid()), b.x.sigmoid()), b.x.sigmoid()), kind=BCE)
add("bce/masked", lambda b: (
    (b.F.binary_cross_entropy_with_logits(b.out(4), torch.where(b.several > 0, b.onehot, -1.0),
                                          reduction="none") * b.several).sum() / b.several.sum(), None),
    kind=LOGITS)
add("bce/selected", lambda b: (
    b.F.binary_cross_entropy_with_logits(b.out(4), torch.where(b.several > 0, b.onehot, -1.0),
                                         reduction="none")[b.several > 0].mean(), None), kind=LOGITS)
add("bce/where", lambda b: (torch.where(
    b.several > 0, b.F.binary_cross_entropy_with_logits(
        b.out(4), torch.where(b.several > 0, b.onehot, -100.0), reduction="none"), 0.0).mean(), None),
    kind=LOGITS)
add("bce/weight-of-zero", lambda b: (b.F.binary_cross_entropy_with_logits(
    b.out(4), torch.where(b.several > 0, b.onehot, -1.0), weight=b.several), None), kind=LOGITS)
add("bce/flat-mask", lambda b: (
    b.F.binary_cross_entropy_with_logits(b.out(4), torch.where(b.several > 0, b.onehot, -1.0),
                                         reduction="none").view(-1)[b.several.view(-1) > 0].sum(), None),
    kind=LOGITS)

# -- regression ------------------------------------------------------------------------------------------

SQUARED, ABSOLUTE = "squared", "absolute"
add("ranking-of-the-batch", lambda b: (
    -(b.real.softmax(0) * b.out(1).squeeze(1).log_softmax(0)[:, None]).sum(), None))
add("mse", lambda b: (b.F.mse_loss(b.out(1), b.real), b.real), kind=SQUARED, activation="", broadcast=())
add("mse/swapped", lambda b: (b.F.mse_loss(b.real, b.out(1)), b.real), kind=SQUARED)
add("mse/squeezed", lambda b: (b.F.mse_loss(b.out(1).squeeze(1), b.real[:, 0]), b.real), kind=SQUARED,
    broadcast=(), shape=(N,))
add("mse/relu-and-counts", lambda b: (b.F.mse_loss(b.out(1, b.nn.ReLU()), b.labels[:, None].float()),
    b.labels),
    kind=SQUARED, activation="relu")
add("mse/tanh-in-range", lambda b: (b.F.mse_loss(b.out(1, b.nn.Tanh()), b.real.tanh()), None), kind=SQUARED,
    activation="tanh")
add("mse/sigmoid-in-range", lambda b: (b.F.mse_loss(b.out(1, b.nn.Sigmoid()), b.yes), b.yes), kind=SQUARED)
add("mse/softplus-and-counts", lambda b: (
    b.F.mse_loss(b.out(1, b.nn.Softplus()), b.labels[:, None].float()), b.labels), activation="softplus")
add("bce/sum-of-positive-parts", lambda b: (-torch.log(b.out(1, b.nn.Sigmoid())).mean(), None))
add("mse/softmax-one-hot", lambda b: (b.F.mse_loss(b.out(4, b.nn.Softmax(1)), b.onehot), b.labels),
    kind=SQUARED, activation="softmax")
add("mse/one-output-of-counts", lambda b: (b.F.mse_loss(b.out(1), b.labels[:, None].float()), b.labels),
    kind=SQUARED)
add("mse/ordinal-levels", lambda b: (
    b.F.mse_loss(b.out(3, b.nn.Sigmoid()), (b.labels[:, None] > torch.arange(3)).float()), None),
    kind=SQUARED)
add("mse/ensemble-of-outputs", lambda b: (b.F.mse_loss(b.out(5), b.real.expand(N, 5)), b.real), kind=SQUARED)
add("mse/weighted", lambda b: ((b.F.mse_loss(b.out(1), b.real, reduction="none") * b.yes).mean(), b.real),
    kind=SQUARED)
add("mse/root", lambda b: (b.F.mse_loss(b.out(1), b.real).sqrt(), b.real), kind=SQUARED)
add("mse/by-hand", lambda b: ((b.out(1) - b.real).pow(2).mean(), b.real), kind=SQUARED)
add("mse/by-hand-product", lambda b: ((lambda d: (d * d).mean())(b.out(1) - b.real), b.real), kind=SQUARED)
add("mse/norm", lambda b: ((b.out(4) - b.shares).norm(dim=1).mean(), b.shares), kind=SQUARED)
add("l1", lambda b: (b.F.l1_loss(b.out(1), b.real), b.real), kind=ABSOLUTE)
add("l1/relu-and-counts", lambda b: (b.F.l1_loss(b.out(1, b.nn.ReLU()), b.labels[:, None].float()), b.labels),
    kind=ABSOLUTE, activation="relu")
add("huber", lambda b: (b.F.huber_loss(b.out(1), b.real), b.real), kind=SQUARED)
add("smooth-l1", lambda b: (b.F.smooth_l1_loss(b.out(1), b.real), b.real), kind=SQUARED)


@graph("quantiles")
def _(b):
    gap = b.real - b.out(1)
    return torch.maximum(0.9 * gap, -0.1 * gap).mean(), b.real


@graph("quantiles/all-pairs", kind=SQUARED, pairwise=True)
def _(b):
    gap = b.real[:, None] - b.out(1).unsqueeze(0)
    return gap.pow(2).mean(), b.real


add("gaussian-likelihood", lambda b: (F.gaussian_nll_loss(b.out(1), b.real, b.out(1, name="s").exp()),
    b.real))
add("poisson-likelihood", lambda b: (F.poisson_nll_loss(b.out(1), b.labels[:, None].float()), b.labels))
add("poisson-likelihood/softplus", lambda b: (
    F.poisson_nll_loss(b.out(1, b.nn.Softplus()), b.labels[:, None].float(), log_input=False), b.labels))
add("log-error", lambda b: (
    F.mse_loss(torch.log1p(b.out(1, b.nn.ReLU())), torch.log1p(b.labels[:, None].float())), b.labels),
    kind=SQUARED)


@graph("autoencoder/variational", kind=SQUARED)
def _(b):
    mu, log_variance = b.out(4, name="mu"), b.out(4, name="s")
    code = mu + (0.5 * log_variance).exp() * torch.randn(N, 4, generator=b.draw)
    out = b.F.linear(code, b._net["mu"][0].weight.T)
    kl = -0.5 * (1 + log_variance - mu.pow(2) - log_variance.exp()).sum(1).mean()
    return b.F.mse_loss(out, b.x, reduction="sum") / N + kl, None


@graph("autoencoder/items", kind=ENTROPY)
def _(b):
    """A multinomial likelihood of the items that the input itself lists (Liang et al. 2018)."""
    b.x = (b.x > 0).float()
    return -(b.out(6).log_softmax(1) * b.x).sum(1).mean(), None


@graph("several-tasks", kind=SQUARED)
def _(b):
    one, two = b.F.mse_loss(b.out(1, name="a"), b.real), b.F.cross_entropy(b.out(4, name="b"), b.labels)
    return 0.3 * one + 0.7 * two, b.real


@graph("several-tasks/learned-weights", kind=SQUARED)
def _(b):
    scale = b.out(1, name="scale").mean()
    one, two = b.F.mse_loss(b.out(1, name="a"), b.real), b.F.cross_entropy(b.out(4, name="b"), b.labels)
    return one * scale + two * (1 - scale), b.real


add("adversarial", lambda b: (b.out(1, name="a").mean() - b.out(1, name="b").mean(), None))
add("triplets", lambda b: (F.triplet_margin_loss(b.out(4, name="a"), b.out(4, name="b"), b.shares), None))
add("cosine", lambda b: (1 - F.cosine_similarity(b.out(4), b.shares).mean(), None))
add("penalty", lambda b: (b.F.mse_loss(b.out(1), b.real) + 1e-3 * b._net["net"][0].weight.pow(2).sum(),
    b.real),
    kind=SQUARED)

# -- healthy losses of larger systems --------------------------------------------------------------------


@graph("dice")
def _(b):
    p = b.out(4, b.nn.Sigmoid())
    return 1 - 2 * (p * b.several).sum() / (p.sum() + b.several.sum() + 1e-6), b.several


@graph("ordinal/shared-scores", kind=LOGITS)
def _(b):
    """One score against three thresholds (Cao et al. 2020)."""
    scores = b.out(1) + torch.tensor([-1.0, 0.0, 1.0])
    levels = (b.labels[:, None] > torch.arange(3)).float()
    return b.F.binary_cross_entropy_with_logits(scores, levels), b.labels


@graph("survival")
def _(b):
    """The partial likelihood of Cox: a log-sum-exp over the samples that are still at risk."""
    risk = b.out(1)[b.real.argsort(0, descending=True)[:, 0]]
    return -((risk - risk.logcumsumexp(0)) * b.yes).mean(), b.real


@graph("mixture-density")
def _(b):
    weights, means = b.out(3, name="w").log_softmax(1), b.out(3, name="m")
    return -(weights - 0.5 * (b.real - means) ** 2).logsumexp(1).mean(), b.real


@graph("sequence/ctc")
def _(b):
    scores = b.out(20).view(N, 5, 4).log_softmax(2).transpose(0, 1)
    sizes = torch.full((N,), 5), torch.full((N,), 2)
    return F.ctc_loss(scores, torch.ones(N, 2, dtype=torch.int64), *sizes), None


@graph("sequence/masked-tokens", kind=ENTROPY, length=4)
def _(b):
    chosen = b.several.bool()
    scores = b.out(16).view(N, 4, 4)[chosen]
    return b.F.cross_entropy(scores, b.labels[:, None].repeat(1, 4)[chosen]), b.labels


@graph("sequence/padding", kind=ENTROPY)
def _(b):
    each = b.F.cross_entropy(b.out(16).view(N, 4, 4), b.labels[:, None].repeat(1, 4), reduction="none")
    return (each * b.several).sum() / b.several.sum(), b.labels


@graph("segmentation", kind=ENTROPY, axis=1, over_batch=False)
def _(b):
    scores = b.out(64).view(N, 4, 4, 4)
    return b.F.cross_entropy(scores, b.labels[:, None, None].repeat(1, 4, 4)), b.labels


@graph("contrastive/one-view-masked", kind=ENTROPY)
def _(b):
    z = F.normalize(b.out(8), dim=1)
    scores = (z @ z.T / 0.5).masked_fill(torch.eye(N, dtype=torch.bool), -1e9)
    return b.F.cross_entropy(scores, torch.arange(N).roll(N // 2)), None


@graph("contrastive/supervised", over_batch=False)
def _(b):
    z = F.normalize(b.out(8), dim=1)
    scores = z @ z.T / 0.5
    same = (b.labels[:, None] == b.labels).float()
    return -(same * scores.log_softmax(1)).sum(1).div(same.sum(1)).mean(), b.labels


@graph("self-supervised/teacher", kind=ENTROPY)
def _(b):
    teacher = b.out(4, name="teacher").div(0.04).softmax(1).detach()
    return -(teacher * b.out(4).div(0.1).log_softmax(1)).sum(1).mean(), None


@graph("self-supervised/balanced-teacher", kind=ENTROPY)
def _(b):
    """Targets are balanced over the batch, as by the Sinkhorn algorithm."""
    teacher = b.out(4, name="teacher").softmax(0).detach()
    teacher = teacher / teacher.sum(1, keepdim=True)
    return -(teacher * b.out(4).log_softmax(1)).sum(1).mean(), None


@graph("self-supervised/predictor", kind=SQUARED)
def _(b):
    one, two = F.normalize(b.out(4), dim=1), F.normalize(b.out(4, name="two"), dim=1).detach()
    return (one - two).pow(2).sum(1).mean(), None


@graph("reinforcement/values", kind=SQUARED)
def _(b):
    values = b.out(4).gather(1, b.labels[:, None])
    return b.F.smooth_l1_loss(values, 10 * b.real), b.labels


@graph("reinforcement/clipped-policy", kind=SQUARED)
def _(b):
    chosen = b.out(4).log_softmax(1).gather(1, b.labels[:, None])
    ratio = (chosen - chosen.detach()).exp()
    gain = torch.minimum(ratio * b.real, ratio.clamp(0.8, 1.2) * b.real).mean()
    value = b.F.mse_loss(b.out(1, name="value"), b.real)
    return 0.5 * value - gain, None


@graph("reinforcement/distribution")
def _(b):
    chosen = torch.distributions.Categorical(logits=b.out(4)).log_prob(b.labels)
    return -(chosen * b.real[:, 0]).sum(), None


@graph("reinforcement/probabilities", kind=LIKELIHOOD, activation="softmax")
def _(b):
    chosen = torch.distributions.Categorical(b.out(4, b.nn.Softmax(1))).log_prob(b.labels)
    return -(chosen * b.real[:, 0]).sum(), None


@graph("heteroscedastic", kind=SQUARED)
def _(b):
    log_variance = b.out(1, name="s")
    return ((b.out(1) - b.real).pow(2) * (-log_variance).exp() + log_variance).mean(), b.real


@graph("distribution/normal")
def _(b):
    normal = torch.distributions.Normal(b.out(1), b.out(1, b.nn.Softplus(), name="s") + 1e-3)
    return -normal.log_prob(b.real).mean(), b.real


@graph("distribution/bernoulli", kind=LOGITS)
def _(b):
    return -torch.distributions.Bernoulli(logits=b.out(1)).log_prob(b.yes).mean(), b.yes


@graph("detection", kind=LOGITS)
def _(b):
    """Places where an object is, its size there, and its class there."""
    place = b.F.mse_loss(b.out(2, b.nn.Sigmoid(), name="xy"), b.shares[:, :2], reduction="none")
    size = b.F.mse_loss(b.out(2, name="wh"), b.x[:, :2], reduction="none")
    there = b.F.binary_cross_entropy_with_logits(b.out(1, name="there"), b.yes)
    kind = b.F.binary_cross_entropy_with_logits(b.out(4, name="kind"), b.onehot, reduction="none")
    return ((place + size).sum(1, keepdim=True) * b.yes).mean() + there + (kind * b.yes).mean(), None


@graph("one-class")
def _(b):
    """Distances from a fixed centre (Ruff et al. 2018)."""
    return ((b.out(4) - torch.full((4,), 0.1)) ** 2).sum(1).mean(), None


@graph("physics", kind=SQUARED)
def _(b):
    """A residual that must be 0, and a boundary."""
    out = b.out(1, b.nn.Tanh())
    return b.F.mse_loss(out * b.real - out, torch.zeros(N, 1)) + b.F.mse_loss(b.out(1), b.real.tanh()), None


@graph("adversarial/least-squares")
def _(b):
    return ((b.out(1, name="a") - 1) ** 2).mean() + (b.out(1, name="b") ** 2).mean(), None


@graph("adversarial/labels", kind=LOGITS)
def _(b):
    one, two = b.out(1, name="a"), b.out(1, name="b")
    loss = b.F.binary_cross_entropy_with_logits
    return loss(one, torch.full((N, 1), 0.9)) + loss(two, torch.zeros(N, 1)), None


@graph("adversarial/gradient-penalty")
def _(b):
    x = b.x.requires_grad_()
    (slope,) = torch.autograd.grad(b.out(1, b.nn.Tanh()).sum(), x, create_graph=True)
    return b.out(1).mean() + 10 * ((slope.norm(dim=1) - 1) ** 2).mean(), None


@graph("diffusion", kind=SQUARED)
def _(b):
    return b.F.mse_loss(b.out(6), torch.randn(N, 6, generator=b.draw)), None


@graph("kernel-distance")
def _(b):
    """The distance of two sets of samples by all pairs of them."""
    pairs = b.out(2)[:, None] - b.shares[None, :, :2]
    return -(-pairs.pow(2).sum(2)).exp().mean(), None


@graph("nearest-points")
def _(b):
    pairs = (b.out(6).view(N, 3, 1, 2) - b.shares.view(N, 1, 2, 2)).pow(2).sum(3)
    return pairs.amin(2).mean() + pairs.amin(1).mean(), None


@graph("sparse-code", kind=SQUARED)
def _(b):
    code = b.out(8, b.nn.ReLU())
    decoded = b.F.linear(code, b._net["net"][0].weight.T)
    return b.F.mse_loss(decoded, b.x) + 1e-3 * code.abs().mean(), b.x


@graph("features", kind=ABSOLUTE, activation="relu")
def _(b):
    """Activations of a frozen net, of an output and of the truth."""
    with torch.no_grad():
        truth = b.out(4, b.nn.ReLU(), name="frozen")
    return b.F.l1_loss(b.out(4, b.nn.ReLU()), truth), None


# -- faults ----------------------------------------------------------------------------------------------

add("softmax-over-one-unit/bce", lambda b: (b.F.binary_cross_entropy(b.out(1, b.nn.Softmax(1)), b.yes),
    b.yes),
    ONE, kind=BCE, activation="softmax", axis=1, length=1, module="net.1")
add("softmax-over-one-unit/binary-by-hand",
    lambda b: (binary(b.F.softmax(b.out(1), 1).squeeze(1), b.yes[:, 0]), b.yes[:, 0]), ONE)
add("softmax-over-one-unit/mse", lambda b: (b.F.mse_loss(b.out(1, b.nn.Softmax(-1)), b.yes), b.yes), ONE)
add("softmax-over-one-unit/cross-entropy", lambda b: (b.F.cross_entropy(b.out(1), b.yes), b.yes), ONE,
    kind=ENTROPY, length=1)
add("softmax-over-one-unit/labels",
    lambda b: (b.F.cross_entropy(b.out(1), torch.zeros(N, dtype=torch.int64)), None), ONE, kind=ENTROPY)
add("softmax-over-one-unit/log-softmax",
    lambda b: (b.F.nll_loss(b.out(1, b.nn.LogSoftmax(1)), torch.zeros(N, dtype=torch.int64)), None), ONE)
add("softmax-over-one-unit/keras", lambda b: (keras(b.out(1, b.nn.Sigmoid()), torch.zeros_like(b.labels)),
    None),
    ONE, length=1)
add("softmax-over-one-unit/per-step", lambda b: (
    b.F.mse_loss(b.out(3).view(N, 3, 1).softmax(-1), b.shares[:, :3, None]), b.shares), ONE)

add("softmax-over-batch/softmax", lambda b: (keras(b.out(4, b.nn.Softmax(0)), b.labels), b.labels), OVER,
    axis=0, length=N, over_batch=True)
add("softmax-over-batch/log-softmax", lambda b: (b.F.nll_loss(b.out(4, b.nn.LogSoftmax(0)), b.labels),
    b.labels),
    OVER, axis=0, over_batch=True)
add("softmax-over-batch/mse", lambda b: (b.F.mse_loss(b.out(4, b.nn.Softmax(0)), b.onehot), b.labels), OVER)
add("softmax-over-batch/images", lambda b: (
    b.F.mse_loss(b.out(8).view(N, 2, 4).softmax(0), b.shares.view(N, 1, 4).repeat(1, 2, 1)), None), OVER)

add("softmax-over-batch/time-first", lambda b: (
    b.F.nll_loss(b.out(20).view(N, 5, 4).transpose(0, 1).log_softmax(1).flatten(0, 1),
                 b.labels.repeat(5)), b.labels), OVER, axis=1)
add("softmax-over-batch/one-unit-squeezed", lambda b: (
    b.F.binary_cross_entropy(b.out(1).squeeze(1).softmax(0), b.yes[:, 0]), b.yes), OVER)
add("softmax-over-batch/one-row", lambda b: (b.F.cross_entropy(b.out(1).squeeze(1), b.yes[:, 0]), None),
    OVER)
add("softmax-over-batch/twice", lambda b: (b.F.cross_entropy(b.out(4, b.nn.Softmax(0)), b.labels), b.labels),
    OVER, TWICE)

add("needs-log-probabilities/raw", lambda b: (b.F.nll_loss(b.out(4), b.labels), b.labels), NEEDS, kind=NLL)
add("needs-log-probabilities/softmax", lambda b: (b.F.nll_loss(b.out(4, b.nn.Softmax(1)), b.labels),
    b.labels),
    NEEDS, kind=NLL, activation="softmax")
add("needs-log-probabilities/relu", lambda b: (b.F.nll_loss(b.out(4, b.nn.ReLU()), b.labels), b.labels),
    NEEDS)
add("needs-log-probabilities/images", lambda b: (
    b.F.nll_loss(b.out(24).view(N, 4, 6), b.labels[:, None].repeat(1, 6)), None), NEEDS)
add("needs-log-probabilities/kl", lambda b: (
    b.F.kl_div(b.out(4, b.nn.Softmax(1)), b.shares, reduction="batchmean"), b.shares), NEEDS)
add("needs-log-probabilities/kl-raw", lambda b: (
    b.F.kl_div(b.out(4), b.shares, reduction="batchmean"), b.shares), NEEDS)
add("needs-log-probabilities/log-of-raw", lambda b: (keras(b.out(4), b.labels), b.labels), NEEDS)
add("needs-log-probabilities/log-of-relu", lambda b: (keras(b.out(4, b.nn.ReLU()), b.labels), b.labels),
    NEEDS)
add("needs-log-probabilities/weighted", lambda b: (
    -(b.onehot * torch.log(b.out(4).clamp(min=1e-10))).sum(1).mean(), b.labels), NEEDS)
add("needs-log-probabilities/binary", lambda b: (binary(b.out(4), b.onehot, 1e-10), b.labels), NEEDS)
add("needs-log-probabilities/nan", lambda b: (
    -torch.log(b.out(4)[torch.arange(N), b.labels]).mean(), b.labels), NEEDS)
add("needs-log-probabilities/bce", lambda b: (
    b.F.binary_cross_entropy(b.out(1).clamp(1e-7, 1 - 1e-7), b.yes), b.yes), NEEDS)

add("needs-log-probabilities/sigmoids", lambda b: (
    -(b.onehot * torch.log(b.out(4, b.nn.Sigmoid()) + 1e-7)).sum(1).mean(), b.labels), NEEDS)
add("needs-log-probabilities/nll-of-sigmoids", lambda b: (
    b.F.nll_loss(torch.log(b.out(4, b.nn.Sigmoid())), b.labels), b.labels), NEEDS)
add("softmax-twice", lambda b: (b.F.cross_entropy(b.out(4, b.nn.Softmax(1)), b.labels), b.labels), TWICE)
add("softmax-twice/probabilities", lambda b: (b.F.cross_entropy(b.out(4, b.nn.Softmax(1)), b.shares),
    b.shares),
    TWICE)
add("softmax-twice/sigmoid", lambda b: (
    b.F.binary_cross_entropy_with_logits(b.out(1, b.nn.Sigmoid()), b.yes), b.yes), TWICE)

add("mismatch/relu-mse", lambda b: (b.F.mse_loss(b.out(1, b.nn.ReLU()), b.real), b.real), MISMATCH,
    activation="relu", module="net.1")
add("mismatch/relu-by-hand", lambda b: ((b.out(1, b.nn.ReLU()) - b.real).square().mean(), b.real), MISMATCH)
add("mismatch/relu-l1", lambda b: (b.F.l1_loss(b.out(1, b.nn.ReLU()), b.real), b.real), MISMATCH)
add("mismatch/relu-squeezed", lambda b: (
    (b.real[:, 0] - b.out(1, b.nn.ReLU()).squeeze(-1)).abs().mean(), b.real), MISMATCH)
add("mismatch/tanh", lambda b: (b.F.mse_loss(b.out(1, b.nn.Tanh()), 10 * b.real), None), MISMATCH)
add("mismatch/softplus", lambda b: (b.F.mse_loss(b.out(1, b.nn.Softplus()), b.real), b.real), MISMATCH)
add("mismatch/elu", lambda b: (b.F.mse_loss(b.out(1, b.nn.ELU()), 5 * b.real), None), MISMATCH)
add("mismatch/tanh-huber", lambda b: (b.F.huber_loss(b.out(1, b.nn.Tanh()), 3 * b.real), None), MISMATCH)
add("mismatch/sigmoid", lambda b: (b.F.mse_loss(b.out(1, b.nn.Sigmoid()), b.real), b.real), MISMATCH)
add("mismatch/sigmoid-labels", lambda b: (
    b.F.mse_loss(b.out(1, b.nn.Sigmoid()), b.labels[:, None].float()), b.labels), MISMATCH)
add("mismatch/relu-cross-entropy", lambda b: (b.F.cross_entropy(b.out(4, b.nn.ReLU()), b.labels), b.labels),
    MISMATCH)
add("mismatch/relu-logits", lambda b: (
    b.F.binary_cross_entropy_with_logits(b.out(1, b.nn.ReLU()), b.yes), b.yes), MISMATCH)
add("mismatch/sigmoid-cross-entropy", lambda b: (
    b.F.cross_entropy(b.out(4, b.nn.Sigmoid()), b.labels), b.labels), MISMATCH)
add("mismatch/tanh-cross-entropy", lambda b: (
    b.F.cross_entropy(b.out(4, b.nn.Tanh()), b.labels), b.labels), MISMATCH)
add("mismatch/relu-softmax", lambda b: (keras(b.out(4, b.nn.ReLU(), b.nn.Softmax(1)), b.labels), b.labels),
    MISMATCH, activation="softmax", inner="relu")
add("mismatch/relu-sigmoid", lambda b: (
    b.F.binary_cross_entropy(b.out(1, b.nn.ReLU(), b.nn.Sigmoid()), b.yes), b.yes), MISMATCH)
add("mismatch/softmax-several-labels", lambda b: (
    b.F.binary_cross_entropy(b.out(4, b.nn.Softmax(1)), b.several), b.several), MISMATCH)
add("mismatch/softmax-several-labels-mse", lambda b: (
    b.F.mse_loss(b.out(4, b.nn.Softmax(1)), b.several), b.several), MISMATCH)
add("mismatch/cross-entropy-several-labels", lambda b: (b.F.cross_entropy(b.out(4), b.several), b.several),
    MISMATCH)

add("range/class-indices", lambda b: (
    b.F.binary_cross_entropy_with_logits(b.out(1), b.labels[:, None].float()), b.labels), RANGE)
add("range/minus-one", lambda b: (
    b.F.binary_cross_entropy_with_logits(b.out(1), 2 * b.yes - 1), None), RANGE)
add("range/standardized", lambda b: (
    b.F.binary_cross_entropy_with_logits(b.out(6), b.x), None), RANGE)
add("range/half-masked", lambda b: (
    (b.F.binary_cross_entropy_with_logits(b.out(1), b.labels[:, None].float(), reduction="none") * 0.5).sum(),
    b.labels), RANGE)

add("energy-distance", lambda b: (2 * distance(b.out(1), b.real) - distance(b.out(1), b.out(1)), b.real))
add("shape/mse", lambda b: (b.F.mse_loss(b.out(1), b.real[:, 0]), b.real[:, 0]), SHAPE,
    broadcast=(N, N), shape=(N, 1))
add("shape/mse-swapped", lambda b: (b.F.mse_loss(b.out(1).squeeze(1), b.real), b.real), SHAPE,
    broadcast=(N, N), shape=(N,))
add("shape/l1", lambda b: (b.F.l1_loss(b.out(1), b.real[:, 0]), b.real[:, 0]), SHAPE)
add("shape/huber", lambda b: (b.F.huber_loss(b.out(1), b.real[:, 0]), b.real[:, 0]), SHAPE)
add("shape/by-hand", lambda b: ((b.out(1) - b.real[:, 0]).pow(2).mean(), b.real[:, 0]), SHAPE)
add("shape/by-hand-absolute", lambda b: ((b.real[:, 0] - b.out(1)).abs().sum(), b.real[:, 0]), SHAPE)

add("unfit/mse", lambda b: (b.F.mse_loss(b.out(4), b.labels[:, None].float()), b.labels), UNFIT)
add("unfit/l1", lambda b: (b.F.l1_loss(b.out(4), b.labels[:, None].float()), b.labels), UNFIT)
add("unfit/expanded", lambda b: (
    b.F.mse_loss(b.out(4), b.labels[:, None].expand(N, 4).float()), b.labels), UNFIT)
