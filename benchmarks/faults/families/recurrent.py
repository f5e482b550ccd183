"""Recurrent networks on rows and pixels of digits, and on text."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, loaders, split, text, words
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


class RowsLSTM(LightningModule):
    """The rows of an image as eight time steps."""

    def __init__(self, fault: str, cell: str = "LSTM", two_ways: bool = False, lr: float = 5e-3) -> None:
        super().__init__()
        rnn: type[nn.RNNBase] = getattr(nn, cell)
        self.rnn = rnn(
            8,
            32,
            num_layers=1 + (cell == "GRU"),
            batch_first=fault != "not-batch-first",
            bidirectional=two_ways,
        )
        self.fc = nn.Linear(64 if two_ways else 32, 10)
        self.fault, self.lr = fault, lr

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(x[:, 0])
        if self.fault == "last-sample":
            return self.fc(h[-1:, -1].expand(len(x), -1))
        h = h.detach() if self.fault == "detach" else h
        return self.fc(h[:, -1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits = self(batch[0])
        return F.cross_entropy(logits, batch[1], reduction="sum" if self.fault == "sum" else "mean")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        self.log_dict({"val_loss": loss, "val_acc": (logits.argmax(-1) == batch[1]).float().mean()})

    def configure_optimizers(self) -> Any:
        if self.fault in ("sum", "sgd"):
            return torch.optim.SGD(self.parameters(), lr=self.lr)
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def rows_lstm(fault: str) -> Setup:
    lit = RowsLSTM(fault, lr=1.0 if fault == "rate-1" else 5e-3)
    return Setup(lit, *loaders(digits()), {"max_epochs": 8})


def rows_gru(fault: str) -> Setup:
    lit = RowsLSTM(fault, "GRU")
    if fault == "orthogonal-x-25":
        for name, p in lit.rnn.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(p, 25.0)
    clip = 1e-6 if fault == "clip" else 1.0
    if fault in ("clip", ""):
        lit.configure_optimizers = lambda: torch.optim.SGD(lit.parameters(), 0.1, momentum=0.9)
    return Setup(lit, *loaders(digits(), 50), {"max_epochs": 12, "gradient_clip_val": clip})


def rows_both_ways(fault: str) -> Setup:
    lit = RowsLSTM(fault, two_ways=True, lr=0.05 if fault in ("", "sum") else 5e-3)
    lit.fault = "sgd" if fault == "" else fault
    if not fault:
        lit.lr = 0.5
    if fault == "sum":
        lit.lr = 0.5
    return Setup(lit, *loaders(digits()), {"max_epochs": 20})


class Pixels(LightningModule):
    """A plain recurrent network over the 64 pixels; the loss reads the last state."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.cell = nn.RNN(1, 40, nonlinearity="relu", batch_first=True)
        with torch.no_grad():
            self.cell.weight_hh_l0.copy_(torch.eye(40) * {"half": 0.5, "eye-x-1.6": 1.6}.get(fault, 1.0))
            self.cell.bias_hh_l0.zero_()
            nn.init.normal_(self.cell.weight_ih_l0, std=0.05)
        self.out = nn.Linear(40, 2)

    def step(self, batch: Any) -> tuple[Tensor, Tensor]:
        h, _ = self.cell(batch[0].flatten(1)[:, :, None])
        logits = self.out(h[:, -1])
        return F.cross_entropy(logits, batch[1]), (logits.argmax(1) == batch[1]).float().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)[0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        for name, value in zip(("val_loss", "val_acc"), self.step(batch), strict=True):
            self.log(name, value)

    def configure_optimizers(self) -> Any:
        return torch.optim.RMSprop(self.parameters(), lr=1e-3)


def pixels(fault: str) -> Setup:
    x, y, x_val, y_val = digits()
    low, low_val = (y % 9 < 1).nonzero()[:, 0], (y_val % 9 < 1).nonzero()[:, 0]
    data = x[low].flip(3), y[low] // 9, x_val[low_val].flip(3), y_val[low_val] // 9
    return Setup(
        Pixels(fault), *loaders(data, 16), {"max_epochs": 14, "gradient_clip_val": None if fault else 1.0}
    )


class NextLetter(LightningModule):
    """Embedding, LSTM, and the next letter after a window."""

    def __init__(self, letters: int, fault: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(letters, 16)
        self.lstm = nn.LSTM(16, 64, batch_first=True)
        self.decode = nn.Sequential(nn.Dropout(0.1), nn.Linear(64, letters))
        self.fault = fault
        if fault == "embedding-frozen-0":
            nn.init.zeros_(self.embed.weight)
            self.embed.requires_grad_(False)
        if fault == "head-bias":
            nn.init.normal_(self.decode[1].weight, std=20.0)

    def forward(self, codes: Tensor) -> Tensor:
        return self.decode(self.lstm(self.embed(codes))[0][:, -1])

    def loss_of(self, batch: Any) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss_of(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self) -> Any:
        lr = {"rate-0.3": 0.3, "rate-1e-6": 1e-6}.get(self.fault, 4e-3)
        part = self.decode if self.fault == "decoder-only" else self
        return torch.optim.Adam(part.parameters(), lr=lr, betas=(0.9, 0.99))


def next_letter(fault: str) -> Setup:
    train, val, letters = text()
    a, b = train.unfold(0, 17, 8), val.unfold(0, 17, 11)
    y = a[:, -1]
    if fault == "windows-apart":
        y = y.roll(1000)
    return Setup(
        NextLetter(len(letters), fault), *loaders((a[:, :-1], y, b[:, :-1], b[:, -1]), 64), {"max_epochs": 3}
    )


class Topic(LightningModule):
    """Which kind of topic five words are from; the words are letters, padded at the end."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(28, 12, padding_idx=0)
        self.rnn = nn.RNN(12, 32, batch_first=True)
        self.head = nn.Linear(32, 2)
        self.fault = fault

    def forward(self, codes: Tensor) -> Tensor:
        h, _ = self.rnn(self.embed(codes))
        if self.fault == "last-step":
            return self.head(h[:, -1])
        length = (codes != 0).sum(1) - 1
        return self.head(h[torch.arange(len(codes)), length])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0])
        self.log("val_loss", F.cross_entropy(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 3e-3)


def word_endings(fault: str) -> Setup:
    """Plural-looking words against others: the last letter decides, which padding hides."""
    vocabulary = sorted({w for _, ws in words() for w in ws if w.isascii() and 4 <= len(w) <= 12})
    codes = torch.zeros(len(vocabulary), 64, dtype=torch.long)
    for row, word in zip(codes, vocabulary, strict=True):
        row[: len(word)] = torch.tensor([ord(c) - 96 for c in word])
    ends = torch.tensor([w.endswith(("s", "ed", "ing")) for w in vocabulary]).long()
    return Setup(Topic(fault), *loaders(split(codes, ends), 32), {"max_epochs": 4})


HIGH, LOW = ("learning-rate-too-high",), ("learning-rate-too-low",)
INIT = ("bad-initialization",)
PROGRAMS = (
    Program("digits-rows-lstm", rows_lstm, 0.88, 0.1, (
        Fault("not-batch-first", ("samples-mixed",)), Fault("last-sample", ("samples-mixed", "no-learning")),
        Fault("detach", ("graph-cut",), "rnn"), Fault("rate-1", HIGH))),
    Program("digits-rows-gru", rows_gru, 0.9, 0.1, (
        Fault("clip", ("clipping-too-tight", "learning-rate-too-low")),
        Fault("orthogonal-x-25", (*INIT, "saturated-units", "exploding-gradients")))),
    Program("digits-rows-both-ways", rows_both_ways, 0.88, 0.1, (
        Fault("sum", ("loss-not-averaged", "learning-rate-too-high")),
        Fault("not-batch-first", ("samples-mixed",)))),
    Program("digits-pixels-rnn", pixels, 0.9, 0.5, (
        Fault("half", ("vanishing-gradients", *INIT)), Fault("eye-x-1.6", ("exploding-gradients", *INIT)))),
    Program("text-lstm", next_letter, 2.6, 2.95, (
        Fault("embedding-frozen-0", ("constant-inputs", "no-learning", "no-gradient")),
        Fault("head-bias", ("bad-output-scale", *INIT), "decode"),
        Fault("decoder-only", ("parameter-not-in-optimizer",), "lstm"),
        Fault("windows-apart", ("labels-unrelated-to-inputs", "overfitting")), Fault("rate-0.3", HIGH),
        Fault("rate-1e-6", LOW)), "val_loss"),
    Program("words-rnn", word_endings, 0.9, 0.66, (
        Fault("last-step", ("sequence-padding-read",)),)),
)  # fmt: skip
