"""Small transformers on padded words, and on the columns of a table."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import loaders, split, table, words
from torch import Tensor, nn
from torch.nn import functional as F

from families.transformers import Layer

__all__ = ["PROGRAMS"]


class LetterTagger(LightningModule):
    """For each letter of a word, whether the next one is a vowel; the words are padded."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.embed = nn.Embedding(27, 24, padding_idx=0)
        self.layer = Layer(24, 2)
        self.out = nn.Linear(24, 27)

    def forward(self, codes: Tensor) -> Tensor:
        place = torch.sin(torch.arange(codes.shape[1])[:, None] / torch.logspace(0, 2, 24))
        return self.out(self.layer(self.embed(codes) + place, causal=True))

    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        (codes,) = batch
        target, logits = codes[:, 1:], self(codes[:, :-1])
        ignore = -100 if self.fault == "padding" else 0
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=ignore)
        clean = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=0)
        return loss, clean

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.losses(batch)[0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.losses(batch)[0])
        self.log("val_letters_loss", self.losses(batch)[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.3, momentum=0.9)


def word_codes(width: int) -> Tensor:
    vocabulary = sorted({w for _, ws in words() for w in ws if w.isascii() and 3 <= len(w) <= 12})
    codes = torch.zeros(len(vocabulary), width, dtype=torch.long)
    for row, word in zip(codes, vocabulary, strict=True):
        row[: len(word)] = torch.tensor([ord(c) - 96 for c in word])
    return codes


def word_letters(fault: str) -> Setup:
    codes = word_codes(40)
    train, _, val, _ = split(codes, codes)
    make, data = torch.utils.data.DataLoader, torch.utils.data.TensorDataset
    return Setup(
        LetterTagger(fault),
        make(data(train), 32, shuffle=True),
        make(data(val), 300),
        {"max_epochs": 3, "gradient_clip_val": 1.0},
    )


class WordKinds(LightningModule):
    """Pools over the letters of a padded word."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(27, 32)
        self.place = nn.Embedding(64, 32)
        self.enc = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.fc = nn.Linear(32, 1)
        self.fault = fault

    def forward(self, codes: Tensor) -> Tensor:
        pad = codes == 0
        from_end = (~pad).sum(1, keepdim=True) - torch.arange(codes.shape[1])
        h = self.embed(codes) + self.place(from_end.clamp(0, 63))
        h = self.enc(h, src_key_padding_mask=pad).masked_fill(pad[:, :, None], 0)
        return self.fc(h.sum(1) / (~pad).sum(1, keepdim=True))[:, 0]

    def step(self, batch: Any, name: str) -> Tensor:
        score = self(batch[0])
        loss = F.binary_cross_entropy_with_logits(score, batch[1].float())
        self.log(f"{name}_loss", loss)
        self.log(f"{name}_acc", ((score > 0) == (batch[1] > 0)).float().mean())
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), {"rate-2e-7": 2e-7, "rate-0.5": 0.5}.get(self.fault, 2e-3))


def word_kinds(fault: str) -> Setup:
    codes = word_codes(40)
    last = codes.gather(1, (codes != 0).sum(1, keepdim=True) - 1)[:, 0]
    kinds = (last == ord("s") - 96) | (last == ord("d") - 96)
    x, y, x_val, y_val = split(codes, kinds.long())
    return Setup(WordKinds(fault), *loaders((x, y, x_val, y_val)), {"max_epochs": 3})


class TableTokens(LightningModule):
    """Each column of a table as a token."""

    def __init__(self, columns: int, classes: int, fault: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(columns, 24) * 0.3)
        self.bias = nn.Parameter(torch.randn(columns, 24) * 0.3)
        self.layers = nn.ModuleList(Layer(24, 2) for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, classes))
        self.fault = fault
        if fault == "head-dead":
            nn.init.constant_(self.head[0].bias, -9.0)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, :, None] * self.weight + self.bias
        for layer in self.layers:
            h = layer(h)
        return self.head(h.mean(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0])
        self.log("val_loss", F.cross_entropy(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-3)


def wine_tokens(fault: str) -> Setup:
    net = TableTokens(13, 3, fault)
    return Setup(net, *loaders(table("wine", fault == "raw"), 12), {"max_epochs": 15})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
PROGRAMS = (
    Program("words-decoder", word_letters, 2.6, 2.9, (
        Fault("padding", ("padding-in-loss",)),), "val_letters_loss"),
    Program("words-encoder", word_kinds, 0.93, 0.75, (
        Fault("rate-2e-7", LOW), Fault("rate-0.5", HIGH))),
    Program("wine-tokens", wine_tokens, 0.9, 0.4, (
        Fault("raw", ("unscaled-inputs",)), Fault("head-dead", ("dead-units",), "head"))),
)  # fmt: skip
