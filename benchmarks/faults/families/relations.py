"""Graphs as dense matrices, a mixture of experts, word vectors, factors and embedded columns."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, loaders, split, table, words
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["PROGRAMS"]


class GraphNet(LightningModule):
    """Two graph convolutions over a dense graph; a tenth of the nodes has labels."""

    def __init__(self, graph: Tensor, columns: int, classes: int, fault: str) -> None:
        super().__init__()
        self.register_buffer("graph", graph)
        self.first, self.second = nn.Linear(columns, 24), nn.Linear(24, classes)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(self.graph @ x))
        h = F.dropout(h, 0.99 if self.fault == "dropout-99" else 0.3, self.training)
        out = self.second(self.graph @ h)
        return out.softmax(0) if self.fault == "dim-0" else out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, known = (part[0] for part in batch)
        return F.cross_entropy(self(x)[known], y[known])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y, known = (part[0] for part in batch)
        out = self(x)
        self.log("val_loss", F.cross_entropy(out[~known], y[~known]))
        self.log("val_acc", (out.argmax(1) == y)[~known].float().mean())

    def configure_optimizers(self) -> Any:
        lr = {"rate-1e-6": 1e-6, "rate-10": 10.0}.get(self.fault, 1e-2)
        return torch.optim.Adam(self.parameters(), lr, weight_decay=5e-4)


def neighbours(x: Tensor, k: int = 6) -> Tensor:
    near = torch.cdist(x, x).topk(k + 1, largest=False).indices
    graph = torch.zeros(len(x), len(x)).scatter_(1, near, 1.0)
    graph = ((graph + graph.T) > 0).float()
    scale = graph.sum(1).rsqrt()
    return scale[:, None] * graph * scale


def graph_setup(module: LightningModule, x: Tensor, y: Tensor, epochs: int) -> Setup:
    known = torch.rand(len(y), generator=torch.Generator().manual_seed(1)) < 0.3
    data = TensorDataset(x[None], y[None], known[None])
    return Setup(
        module, DataLoader(data), DataLoader(data), {"max_epochs": epochs, "check_val_every_n_epoch": 10}
    )


def digits_graph(fault: str) -> Setup:
    x, y = (part[:700] for part in digits()[:2])
    x = x.flatten(1)
    graph = neighbours(x)
    if fault == "not-normalized":
        graph = (graph > 0).float() * 50
    return graph_setup(GraphNet(graph, 64, 10, fault), x, y, 150)


class GraphAttention(LightningModule):
    """Attention over the neighbours, dense."""

    def __init__(self, graph: Tensor, columns: int, classes: int, fault: str) -> None:
        super().__init__()
        self.register_buffer("edges", graph > 0)
        self.lift, self.score, self.out = nn.Linear(columns, 32), nn.Linear(64, 1), nn.Linear(32, classes)
        self.fault = fault
        if fault == "lift-zero":
            nn.init.zeros_(self.lift.weight)
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.lift.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.lift(x)
        a, b = self.score.weight[0].chunk(2)
        e = F.leaky_relu((h @ a)[:, None] + (h @ b)[None], 0.2)
        weight = e.masked_fill(~self.edges, -1e9).softmax(1)
        h = F.elu(weight @ h)
        return self.out(h)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, known = (part[0] for part in batch)
        out = self(x)[known]
        if self.fault == "nll":
            return F.nll_loss(out, y[known])
        if self.fault == "sign":
            return -F.cross_entropy(out, y[known])
        return F.cross_entropy(out, y[known])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y, known = (part[0] for part in batch)
        out = self(x)
        self.log("val_loss", F.cross_entropy(out[~known], y[~known]))
        self.log("val_acc", (out.argmax(1) == y)[~known].float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(
            [
                p
                for n, p in self.named_parameters()
                if not (n.startswith("lift") and self.fault == "lift-left-out")
            ],
            5e-3,
        )


def wine_graph(fault: str) -> Setup:
    x, y, x_val, y_val = table("wine")
    x, y = torch.cat([x, x_val]), torch.cat([y, y_val])
    return graph_setup(
        GraphAttention(neighbours(x), 13, 3, fault), x * (3000 if fault == "raw" else 1), y, 60
    )


class Experts(LightningModule):
    """A mixture of experts with a soft gate and a penalty for an uneven use of them."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        experts = [nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)) for _ in range(4)]
        self.experts: Any = experts if fault == "experts-in-list" else nn.ModuleList(experts)
        self.gate = nn.Linear(64, 4)
        self.fault = fault
        if fault == "equal-weights":
            for p in self.parameters():
                nn.init.constant_(p, 0.03)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.flatten(1)
        weight = self.gate(x).softmax(0 if self.fault == "gate-dim-0" else 1)
        out = torch.stack([expert(x) for expert in self.experts], 1)
        return (weight[:, :, None] * out).sum(1), weight

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        out, weight = self(batch[0])
        even = 4 * weight.mean(0).square().sum()
        if self.fault == "balance-only":
            out = out.detach()
        return F.cross_entropy(out, batch[1]) + 0.01 * even

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out, _ = self(batch[0])
        self.log("val_loss", F.cross_entropy(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.5 if self.fault == "rate-0.5" else 2e-3)


def experts(fault: str) -> Setup:
    return Setup(Experts(fault), *loaders(digits()), {"max_epochs": 12})


def vocabulary(size: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, ws in words():
        for w in ws:
            counts[w] = counts.get(w, 0) + 1
    return {w: i for i, w in enumerate(sorted(counts, key=lambda w: (-counts[w], w))[:size])}


class SkipGram(LightningModule):
    """Word vectors from neighbours, with drawn negatives."""

    def __init__(self, size: int, fault: str) -> None:
        super().__init__()
        self.word, self.context = (
            nn.Embedding(size, 24, sparse=fault == ""),
            nn.Embedding(size, 24, sparse=fault == ""),
        )
        for e in (self.word, self.context):
            nn.init.normal_(e.weight, std={"normal-6": 6.0, "zeros": 0.0}.get(fault, 0.1))
        self.size, self.fault = size, fault

    def loss_of(self, batch: Any) -> Tensor:
        center, near = batch
        wrong = torch.randint(self.size, (len(center), 5))
        right = (self.word(center) * self.context(near)).sum(1)
        others = (self.word(center)[:, None] * self.context(wrong)).sum(2)
        if self.fault == "log-of-sigmoid":
            return -(torch.log((60 * right).sigmoid()) + torch.log(1 - (60 * others).sigmoid()).sum(1)).mean()
        return -(F.logsigmoid(right) + F.logsigmoid(-others).sum(1)).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss_of(batch)
        return -loss if self.fault == "sign" else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self) -> Any:
        if self.fault == "":
            return torch.optim.SparseAdam(list(self.parameters()), 0.01)
        return torch.optim.Adam(self.parameters(), {"rate-1e-7": 1e-7, "rate-30": 30.0}.get(self.fault, 0.01))


def skip_gram(fault: str) -> Setup:
    index = vocabulary(200)
    pairs: list[tuple[int, int]] = []
    for _, ws in words():
        codes = [index[w] for w in ws if w in index]
        pairs += [(a, b) for i, a in enumerate(codes) for b in codes[i + 1 : i + 3]]
    both = torch.tensor(pairs[:24_000])
    return Setup(SkipGram(200, fault), *loaders(split(both[:, 0], both[:, 1]), 128), {"max_epochs": 4})


class Factors(LightningModule):
    """How often a word is in a topic, from factors of both and their biases."""

    def __init__(self, topics: int, size: int, fault: str) -> None:
        super().__init__()
        scale = 4.0 if fault == "normal-4" else 0.1
        self.topic, self.word = nn.Embedding(topics, 8), nn.Embedding(size, 8)
        self.bias_t, self.bias_w = nn.Embedding(topics, 1), nn.Embedding(size, 1)
        for e in (self.topic, self.word, self.bias_t, self.bias_w):
            nn.init.normal_(e.weight, std=scale)
        self.fault = fault

    def forward(self, t: Tensor, w: Tensor) -> Tensor:
        return (self.topic(t) * self.word(w)).sum(1, keepdim=True) + self.bias_t(t) + self.bias_w(w)

    def step(self, batch: Any) -> tuple[Tensor, Tensor]:
        t, w, count = batch
        out = self(t, w)
        if self.fault == "broadcast":
            return F.mse_loss(out, count), F.mse_loss(out[:, 0], count)
        loss = F.mse_loss(out.relu() if self.fault == "relu" else out, count[:, None])
        return loss, loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)[0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, clean = self.step(batch)
        self.log_dict({"val_loss": loss, "val_r2": 1 - clean / batch[2].var()})

    def configure_optimizers(self) -> Any:
        decay = 3.0 if self.fault == "decay-3" else 1e-4
        return torch.optim.Adam(self.parameters(), 1e-2, weight_decay=decay)


def factors(fault: str) -> Setup:
    index = vocabulary(120)
    names = words()
    counts = torch.zeros(len(names), 120)
    for row, (_, ws) in enumerate(names):
        for w in ws:
            if w in index:
                counts[row, index[w]] += 1
    target = counts.add(1).log()
    target = (target - target.mean()) / target.std()
    if fault == "counts":
        target = counts * 100
    cells = torch.cartesian_prod(torch.arange(len(names)), torch.arange(120))
    order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))
    cells, values = cells[order], target.flatten()[order]
    n = len(cells) * 3 // 4
    train = TensorDataset(cells[:n, 0], cells[:n, 1], values[:n])
    val = TensorDataset(cells[n:, 0], cells[n:, 1], values[n:])
    module = Factors(len(names), 120, fault)
    return Setup(module, DataLoader(train, 64, shuffle=True), DataLoader(val, 512), {"max_epochs": 4})


class WideAndDeep(LightningModule):
    """Binned columns as embeddings beside a linear part."""

    def __init__(self, columns: int, fault: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(columns * 8, 6)
        self.deep = nn.Sequential(nn.Linear(columns * 6, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))
        self.wide = nn.Linear(columns, 1)
        self.fault = fault
        if fault == "deep-dead":
            nn.init.constant_(self.deep[0].bias, -25.0)
            nn.init.zeros_(self.wide.weight)
            self.wide.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        bins = (2 * x + 4).clamp(0, 7).long() + 8 * torch.arange(x.shape[1])
        score = self.deep(self.embed(bins).flatten(1)) + self.wide(x)
        return score.softmax(1) if self.fault == "softmax" else score.sigmoid()

    def step(self, batch: Any, name: str) -> Tensor:
        p = self(batch[0])[:, 0]
        y = batch[1].float()
        loss = (
            F.binary_cross_entropy_with_logits(p, y)
            if self.fault == "with-logits"
            else F.binary_cross_entropy(p, y)
        )
        self.log(f"{name}_loss", loss)
        self.log(f"{name}_acc", ((p > 0.5) == (y > 0.5)).float().mean())
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adagrad(self.parameters(), 1e-6 if self.fault == "rate-1e-6" else 0.02)


def wide_deep(fault: str) -> Setup:
    return Setup(WideAndDeep(30, fault), *loaders(table("breast_cancer"), 32), {"max_epochs": 12})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
PROGRAMS = (
    Program("digits-graph", digits_graph, 0.85, 0.1, (
        Fault("dropout-99", ("over-regularized",)),
        Fault("dim-0", ("softmax-over-batch", "softmax-before-cross-entropy")),
        Fault("not-normalized", ("bad-initialization", "exploding-gradients", "unscaled-inputs")),
        Fault("rate-1e-6", LOW), Fault("rate-10", HIGH))),
    Program("wine-graph-attention", wine_graph, 0.88, 0.4, (
        Fault("nll", ("loss-needs-log-probabilities",)), Fault("sign", ("loss-sign-wrong",)),
        Fault("raw", ("unscaled-inputs",)), Fault("lift-zero", ("symmetric-weights",)))),
    Program("digits-experts", experts, 0.93, 0.1, (
        Fault("experts-in-list", ("parameter-not-in-optimizer",)),
        Fault("equal-weights", ("symmetric-weights",)),
        Fault("gate-dim-0", ("samples-mixed", "softmax-over-batch"), chance=2.3),
        Fault("balance-only", ("graph-cut", "no-gradient"), "experts"), Fault("rate-0.5", HIGH))),
    Program("words-skip-gram", skip_gram, 3.2, 4.16, (
        Fault("normal-6", ("bad-initialization", "bad-output-scale")),
        Fault("zeros", ("symmetric-weights", "no-gradient")),
        Fault("log-of-sigmoid", ("unstable-loss-function", "non-finite")),
        Fault("sign", ("loss-sign-wrong",)), Fault("rate-1e-7", LOW), Fault("rate-30", HIGH)), "val_loss"),
    Program("topics-factors", factors, 0.45, 0.0, (
        Fault("broadcast", ("shape-broadcast-in-loss",)), Fault("relu", ("output-activation-mismatch",)),
        Fault("normal-4", ("bad-initialization", "bad-output-scale")), Fault("counts", ("unscaled-targets",)),
        Fault("decay-3", ("weight-decay-too-strong", "no-learning"))), "val_r2"),
    Program("cancer-wide-deep", wide_deep, 0.93, 0.63, (
        Fault("softmax", ("softmax-over-one-unit",)),
        Fault("with-logits", ("softmax-before-cross-entropy",), chance=0.66),
        Fault("deep-dead", ("dead-units",), "deep"), Fault("rate-1e-6", LOW))),
)  # fmt: skip
