"""Small transformers on letters, and on images as rows or patches."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, loaders, text
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


class Attention(nn.Module):
    """Self-attention written out, in the style of teaching code."""

    def __init__(self, width: int, heads: int, fault: str = "") -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.fault = heads, fault
        if fault == "qk-x-12":
            self.qkv.weight.data[: 2 * width].mul_(12)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        b, t, c = x.shape
        parts = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (p.reshape(b, t, self.heads, -1).transpose(1, 2) for p in parts)
        score = q @ k.transpose(-2, -1) / math.sqrt(c // self.heads)
        past = torch.ones(t, t, dtype=torch.bool).tril(1 if self.fault == "mask-off-by-one" else 0)
        if causal and self.fault not in ("no-mask", "mask-after-softmax"):
            score = score.masked_fill(~past, -math.inf)
        weight = score.softmax(dim=-2 if self.fault == "softmax-over-queries" else -1).nan_to_num()
        if causal and self.fault == "mask-after-softmax":
            weight = weight * past
        out = weight @ v
        return self.proj(out.transpose(1, 2).reshape(b, t, c))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, fault: str = "") -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, fault)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.fault = fault

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        if self.fault == "no-residual":
            return self.mlp(self.ln2(self.attn(self.ln1(x), causal)))
        x = x + self.attn(self.ln1(x), causal)
        return x + self.mlp(self.ln2(x))


class LetterGPT(LightningModule):
    """A decoder over letters: the next letter at each position."""

    def __init__(self, letters: int, length: int, fault: str) -> None:
        super().__init__()
        self.tok, self.pos = nn.Embedding(letters, 36), nn.Embedding(length, 36)
        self.layers = nn.ModuleList(Layer(36, 3, fault) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(36), nn.Linear(36, letters)
        self.fault = fault
        if fault == "final-gain-0":
            nn.init.zeros_(self.norm.weight)
            self.norm.weight.requires_grad_(False)
        if fault == "embedding-x-0":
            self.tok.weight.data.zero_()
            self.tok.weight.requires_grad_(False)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.tok(codes) + self.pos(torch.arange(codes.shape[1]))
        for layer in self.layers:
            x = layer(x, causal=True)
        return self.head(self.norm(x))

    def loss_of(self, batch: Any) -> Tensor:
        (codes,) = batch
        inputs, targets = (codes, codes) if self.fault == "no-shift" else (codes[:, :-1], codes[:, 1:])
        logits = self(inputs)
        if self.fault == "classes-by-view":
            return F.cross_entropy(logits.reshape(logits.shape[0], logits.shape[2], -1), targets)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss_of(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self) -> Any:
        lr, decay = {"rate-0.3": 0.3, "rate-2e-7": 2e-7}.get(self.fault, 3e-3), 0.01
        opt = torch.optim.AdamW(self.parameters(), lr=lr, weight_decay=decay)
        warm = 100_000 if self.fault == "warm-up-1e5" else 20
        sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: min(1.0, (step + 1) / warm))
        return {"optimizer": opt, "lr_scheduler": {"scheduler": sched, "interval": "step"}}


def letter_gpt(fault: str) -> Setup:
    train, val, letters = text(40_000)
    a, b = train.unfold(0, 33, 9), val.unfold(0, 33, 33)
    module = LetterGPT(len(letters), 33, fault)
    make, data = torch.utils.data.DataLoader, torch.utils.data.TensorDataset
    return Setup(
        module,
        make(data(a), 32, shuffle=True, drop_last=True),
        make(data(b), 64),
        {"max_epochs": 2, "val_check_interval": 0.5},
    )


class RowEncoder(LightningModule):
    """torch's own encoder over the rows of an image."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.up = nn.Linear(8, 32)
        self.place = nn.Parameter(0.02 * torch.randn(8, 32))
        drop = 0.9 if fault == "dropout-90" else 0.0
        block = nn.TransformerEncoderLayer(32, 4, 64, drop, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.classify = nn.Linear(32, 10)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(self.up(x[:, 0]) + self.place)
        if self.fault == "pool-over-batch":
            return self.classify(h.mean(0, keepdim=True).expand_as(h)[:, 0])
        if self.fault == "no-grad-encoder":
            h = h.detach()
        return self.classify(h.mean(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0])
        if self.fault == "softmax-in-validation":
            out = out.softmax(1)
        self.log("val_loss", F.cross_entropy(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.1 if self.fault == "rate-0.1" else 2e-3)


def row_encoder(fault: str) -> Setup:
    return Setup(RowEncoder(fault), *loaders(digits()), {"max_epochs": 12})


class ViT(LightningModule):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 32, 2, 2)
        self.cls = nn.Parameter(torch.zeros(1, 1, 32))
        self.pos = nn.Parameter(0.1 * torch.randn(1, 17, 32))
        self.blocks = nn.Sequential(Layer(32, 2, fault), Layer(32, 2, fault))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)
        self.fault = fault
        if fault == "normal-2":
            for m in self.blocks.modules():
                if isinstance(m, nn.Linear):
                    nn.init.normal_(m.weight, std=2.0)
        if fault == "eps-1e4":
            self.norm.eps = 1e4
        if fault == "feed-forward-x-50":
            for layer in self.blocks:
                layer.mlp[2].weight.data.mul_(50)
        if fault == "head-x-60":
            self.head.weight.data.mul_(60)

    def forward(self, x: Tensor) -> Tensor:
        p = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), p], 1) + self.pos
        return self.head(self.norm(self.blocks(tokens)[:, 0]))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1], label_smoothing=0.05)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0].flip(-1) if self.fault == "val-flipped" else batch[0])
        self.log("val_loss", F.cross_entropy(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        decay = 30.0 if self.fault == "decay-30" else 0.05
        heads = [*self.norm.parameters(), *self.head.parameters(), self.cls]
        params = heads if self.fault == "head-only" else self.parameters()
        return torch.optim.AdamW(params, 2e-3, weight_decay=decay)


def vit(fault: str) -> Setup:
    return Setup(ViT(fault), *loaders(digits(), 48), {"max_epochs": 12})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
LEAK, INIT = ("causal-leak",), ("bad-initialization",)
PROGRAMS = (
    Program("text-gpt", letter_gpt, 2.5, 2.95, (
        Fault("no-mask", LEAK, flatters=True), Fault("mask-off-by-one", LEAK, flatters=True),
        Fault("mask-after-softmax", LEAK, flatters=True), Fault("softmax-over-queries", LEAK, flatters=True),
        Fault("no-shift", ("targets-equal-inputs",), flatters=True),
        Fault("classes-by-view", ("samples-mixed", "loss-unfit-for-targets")),
        Fault("qk-x-12", ("attention-saturation", *INIT), "attn"),
        Fault("final-gain-0", ("no-gradient", "no-learning", "graph-cut"), "norm"),
        Fault("embedding-x-0", ("no-learning", "no-gradient", "constant-inputs")), Fault("rate-0.3", HIGH),
        Fault("rate-2e-7", LOW), Fault("warm-up-1e5", ("schedule-interval", *LOW))), "val_loss"),
    Program("digits-row-encoder", row_encoder, 0.9, 0.1, (
        Fault("pool-over-batch", ("samples-mixed", "no-learning")), Fault("rate-0.1", HIGH),
        Fault("no-grad-encoder", ("graph-cut",), "encoder"), Fault("dropout-90", ("over-regularized",)),
        Fault("softmax-in-validation", ("validation-loss-differs", "train-val-mismatch"), chance=2.3))),
    Program("digits-vit", vit, 0.9, 0.1, (
        Fault("normal-2", INIT), Fault("head-x-60", ("bad-output-scale", *INIT), "head"),
        Fault("val-flipped", ("train-val-mismatch",)),
        Fault("no-residual", ("no-learning", "bad-initialization")),
        Fault("eps-1e4", ("no-learning", "learning-rate-too-low", "vanishing-gradients"), "norm"),
        Fault("feed-forward-x-50", ("bad-initialization",), "blocks.0.mlp"),
        Fault("decay-30", ("weight-decay-too-strong", "no-learning")),
        Fault("head-only", ("parameter-not-in-optimizer",)))),
)  # fmt: skip
