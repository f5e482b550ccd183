"""Recurrent and causal convolutional networks on rows of digits, text and series."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, eeg, elevation, google, loaders, split, text, words
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


class Forecast(LightningModule):
    """The next value of each channel from a window."""

    def __init__(self, channels: int, fault: str, cell: str = "LSTM") -> None:
        super().__init__()
        self.rnn: Any = getattr(nn, cell)(channels, 24, batch_first=True)
        self.head = nn.Linear(24, channels)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        out = self(batch[0])
        loss = (
            F.l1_loss(out, batch[1])
            if self.fault != "flat-loss"
            else F.l1_loss(out.detach(), batch[1]) + 0 * out.sum()
        )
        return -loss if self.fault == "sign" else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self(batch[0])
        self.log("val_loss", F.l1_loss(out, batch[1]))
        self.log(
            "val_r2", 1 - (out - batch[1]).square().mean() / (batch[1] - batch[1].mean(0)).square().mean()
        )

    def configure_optimizers(self) -> Any:
        lr = {"rate-1e-7": 1e-7, "rate-2": 2.0}.get(self.fault, 1e-2)
        return torch.optim.Adam(self.parameters(), lr=lr)


def eeg_forecast(fault: str) -> Setup:
    windows = eeg().unfold(0, 17, 1).transpose(1, 2)
    if fault == "microvolts":
        windows = windows * 3000
    train, val = windows[:580], windows[600:]
    x, y, x_val, y_val = train[:, :16], train[:, 16], val[:, :16], val[:, 16]
    if fault == "one-flat-target":
        y = torch.zeros_like(y)
    return Setup(Forecast(4, fault), *loaders((x, y, x_val, y_val), 20), {"max_epochs": 15})


def share_forecast(fault: str) -> Setup:
    """The price after three weeks of prices, as a difference from the last price of the window."""
    prices = google().log()
    windows = prices.unfold(0, 16, 1).transpose(1, 2)
    start = windows[:, :1]
    scaled = (windows - start) * 20
    x, y = scaled[:, :15], scaled[:, 15]
    if fault == "dollars":
        x = windows.exp()[:, :15]
    if fault == "target-in-dollars":
        y = windows.exp()[:, 15] - windows.exp()[:, 0]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    data = x[order[:750]], y[order[:750]], x[order[750:]], y[order[750:]]
    return Setup(Forecast(4, fault, "GRU"), *loaders(data, 25), {"max_epochs": 12})


class TCN(LightningModule):
    """Dilated causal convolutions over profiles of a map; each point from those before it."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.convs = nn.ModuleList(nn.Conv1d(24 if i else 1, 24, 3, dilation=2**i) for i in range(3))
        self.out = nn.Conv1d(24, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, None]
        for i, conv in enumerate(self.convs):
            pad = 2 * 2**i
            h = F.elu(conv(F.pad(h, (pad // 2, pad // 2) if self.fault == "same-padding" else (pad, 0))))
        return self.out(h)[:, 0]

    def loss_of(self, batch: Any) -> Tensor:
        (x,) = batch
        target = x[:, :-1] if self.fault == "no-shift" else x[:, 1:]
        return F.mse_loss(self(x[:, :-1]), target)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss_of(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), lr=5e-3)
        decay = 0.01 if self.fault == "gamma" else 0.9
        return [adam], [torch.optim.lr_scheduler.StepLR(adam, 1, gamma=decay)]


def profile_tcn(fault: str) -> Setup:
    rows = elevation(32, 16)[:, 0, ::8].reshape(-1, 32)
    rows = (rows - rows.mean(1, keepdim=True)) / 40
    train, val, _, _ = (*split(rows, rows)[::2], None, None)
    pair = torch.utils.data.TensorDataset(train), torch.utils.data.TensorDataset(val)
    make = torch.utils.data.DataLoader
    return Setup(TCN(fault), make(pair[0], 16, shuffle=True), make(pair[1], 200), {"max_epochs": 8})


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
    Program("eeg-lstm", eeg_forecast, 0.75, 0.0, (
        Fault("flat-loss", ("graph-cut", "no-gradient")), Fault("sign", ("loss-sign-wrong",)),
        Fault("microvolts", ("unscaled-inputs", "unscaled-targets")), Fault("rate-1e-7", LOW),
        Fault("one-flat-target", ("constant-targets",))), "val_r2"),
    Program("share-gru", share_forecast, 0.75, 0.0, (
        Fault("dollars", ("unscaled-inputs",)), Fault("target-in-dollars", ("unscaled-targets",)),
        Fault("rate-2", HIGH)), "val_r2"),
    Program("profile-tcn", profile_tcn, 0.12, 0.6, (
        Fault("same-padding", ("causal-leak",), flatters=True),
        Fault("no-shift", ("targets-equal-inputs",), flatters=True),
        Fault("gamma", ("schedule-ends-early",))), "val_loss"),
)  # fmt: skip
