"""Faults that a second evaluation of a batch shows: samples, tokens, padding, modes, attention and branches.

Sequences are the rows of digits, and text: the descriptions of data sets in scikit-learn. Each net is tried
with the layers of `torch.nn`, and with those of `nnfoundations.nn` in the net whose name ends in ``-ours``.
This file holds no tests.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from cases import Case, Fault, usual
from faults_tables import layers
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader, TensorDataset
from zoo import Module, digits

__all__ = ["PROBE_FAULTS", "Classifier", "TextNet", "rows", "rows_of_digits", "text", "windows"]

LENGTH = 24
"""Number of characters in a sequence."""

TEXT = ("text", "text-ours")


@cache
def characters() -> tuple[Tensor, int]:
    """The text as indices of characters, 1 to the size of the vocabulary; 0 is free for padding."""
    loaders = (datasets.load_digits, datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer)
    text = "".join(load().DESCR for load in loaders)
    known = {character: i + 1 for i, character in enumerate(sorted(set(text)))}
    return torch.tensor([known[character] for character in text]), len(known) + 1


def windows(shift: int = 1, padded: bool = False) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Sequences of characters, and as targets the characters `shift` places ahead.

    With `padded`, the sequences have 4 to 24 characters, and zeros after them.
    """
    text, _ = characters()
    starts = torch.arange(0, len(text) - LENGTH - 1, 7)
    places = starts[:, None] + torch.arange(LENGTH + 1)
    whole = text[places]
    if padded:
        lengths = 4 + (starts * 31 % (LENGTH - 3)) // 2
        whole = whole.masked_fill(torch.arange(LENGTH + 1) > lengths[:, None], 0)
    data = TensorDataset(whole[:, :LENGTH], whole[:, shift : shift + LENGTH])
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
    cut = len(order) * 4 // 5
    train, validation = (torch.utils.data.Subset(data, part) for part in (order[:cut], order[cut:]))
    return DataLoader(train, 32, shuffle=True, drop_last=True), DataLoader(validation, 250)


class Attention(nn.Module):
    """Attention with a mask, written by hand."""

    def __init__(self, kind: Any, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = kind.Linear(width, width), kind.Linear(width, width)
        self.value, self.out = kind.Linear(width, width), kind.Linear(width, width)
        self.softmax = kind.Softmax(-1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        n, steps, width = x.shape
        q, k, v = (
            layer(x).view(n, steps, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5 + mask
        return self.out((self.softmax(scores) @ v).transpose(1, 2).reshape(n, steps, width))


class TextBlock(nn.Module):
    def __init__(self, kind: Any, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = kind.LayerNorm(width), kind.LayerNorm(width)
        self.attention = Attention(kind, width)
        self.up, self.down = kind.Linear(width, 2 * width), kind.Linear(2 * width, width)
        self.gain = 1.0

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.gain * self.attention(self.norm1(x), mask)
        return x + self.gain * self.down(F.relu(self.up(self.norm2(x))))


class TextNet(nn.Module):
    """A small decoder that predicts the next character."""

    def __init__(self, kind: Any, width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        size = characters()[1]
        self.words, self.places = nn.Embedding(size, width), nn.Parameter(torch.randn(LENGTH, width) * 0.1)
        self.blocks = nn.ModuleList(TextBlock(kind, width) for _ in range(blocks))
        self.norm, self.head = kind.LayerNorm(width), kind.Linear(width, size)
        self.register_buffer("mask", torch.full((LENGTH, LENGTH), float("-inf")).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places
        for block in self.blocks:
            x = block(x, self.mask)
        return self.head(self.norm(x))


class TextLSTM(nn.Module):
    """Predicts the next character with an LSTM."""

    def __init__(self, batch_first: bool = True, width: int = 48) -> None:
        super().__init__()
        size = characters()[1]
        self.words, self.rnn = nn.Embedding(size, width), nn.LSTM(width, width, batch_first=batch_first)
        self.head = nn.Linear(width, size)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.words(tokens))[0])


def of_tokens(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.transpose(1, 2), y)


def of_known_tokens(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.transpose(1, 2), y, ignore_index=0)


def text(name: str, **changes: Any) -> Case:
    net = TextLSTM() if name == "text-lstm" else TextNet(layers(name))
    case = Case(name, net, loss=of_tokens, optimizer=lambda p: Adam(p, 3e-3), data=windows(), steps=120)
    for key, value in changes.items():
        setattr(case, key, value)
    return case


def padded(name: str) -> Case:
    return text(name, loss=of_known_tokens, data=windows(padded=True))


def rows_of_digits() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Digits as sequences of eight rows."""
    x, y, xv, yv = digits()
    train, validation = TensorDataset(x.view(-1, 8, 8), y), TensorDataset(xv.view(-1, 8, 8), yv)
    return DataLoader(train, 64, shuffle=True), DataLoader(validation, 250)


class Rows(nn.Module):
    """Reads each row of an image with the same layers, then all of them."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.row, self.act = kind.Linear(8, 16), kind.ReLU()
        self.hidden, self.head = kind.Linear(128, 64), kind.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.act(self.row(x))
        return self.head(self.act(self.hidden(rows.flatten(1))))


class Classifier(nn.Module):
    """Reads the rows of an image with a layer of torch that has `batch_first`."""

    def __init__(self, batch_first: bool, attention: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 32), nn.Linear(32, 10)
        self.attention = attention
        self.reader: nn.Module = (
            nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=batch_first)
            if attention
            else nn.LSTM(32, 32, batch_first=batch_first)
        )

    def forward(self, x: Tensor) -> Tensor:
        read = self.reader(self.embed(x))
        return self.head(read.mean(1) if self.attention else read[0][:, -1])


def rows(name: str, **changes: Any) -> Case:
    net = Rows(layers(name)) if name.startswith("rows-mlp") else Classifier(True, name == "rows-attention")
    case = Case(name, net, optimizer=lambda p: Adam(p, 3e-3), data=rows_of_digits())
    for key, value in changes.items():
        setattr(case, key, value)
    return case


class LastRow(nn.Module):
    """Reads the rows of a padded image with an LSTM, and answers after row 8 or after the padding."""

    def __init__(self, kind: Any, row: int = 7) -> None:
        super().__init__()
        self.rnn, self.head, self.at = kind.LSTM(8, 32, batch_first=True), kind.Linear(32, 10), row

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(F.pad(x, (0, 0, 0, 16)))[0][:, self.at])


def padded_rows(name: str) -> Case:
    return rows(name, net=LastRow(layers(name)))


@cache
def lines() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """The lines of four descriptions of data sets, padded to one length, and which of them each is from."""
    sources = (datasets.load_digits, datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer)
    texts = [[line for line in load().DESCR.splitlines() if len(line) > 7] for load in sources]
    alphabet = {c: i + 1 for i, c in enumerate(sorted({c for text in texts for line in text for c in line}))}
    pairs = [(line, label) for label, text in enumerate(texts) for line in text]
    x = torch.zeros(len(pairs), 48, dtype=torch.long)
    for row, (line, _) in zip(x, pairs, strict=True):
        ids = [alphabet[c] for c in line[:48]]
        row[: len(ids)] = torch.tensor(ids)
    y = torch.tensor([label for _, label in pairs])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, validation = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    return (
        DataLoader(TensorDataset(x[train], y[train]), 32, shuffle=True, drop_last=True),
        DataLoader(TensorDataset(x[validation], y[validation]), 250),
    )


class Lines(nn.Module):
    """Reads characters with attention, and takes the mean over those that are not padding."""

    def __init__(self, kind: Any, width: int = 32) -> None:
        super().__init__()
        self.words = kind.Embedding(128, width)
        self.attention, self.norm = Attention(kind, width), kind.LayerNorm(width)
        self.head, self.masks = kind.Linear(width, 4), True

    def forward(self, tokens: Tensor, padded: Tensor) -> Tensor:
        hidden = padded[:, None, None] * -1e9 if self.masks else padded.new_zeros((), dtype=torch.float)
        x = self.words(tokens)
        x = self.norm(x + self.attention(x, hidden))
        real = (~padded)[..., None]
        return self.head((x * real).sum(1) / real.sum(1))


class LinesByTorch(nn.Module):
    """The same with an encoder of torch, and an embedding that knows the padding."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(128, width, padding_idx=0)
        self.encoder = nn.TransformerEncoderLayer(width, 2, 64, 0.1, batch_first=True)
        self.head, self.masks = nn.Linear(width, 4), True

    def forward(self, tokens: Tensor) -> Tensor:
        padded = tokens == 0
        x = self.encoder(self.words(tokens), src_key_padding_mask=padded if self.masks else None)
        real = (~padded)[..., None]
        return self.head((x * real).sum(1) / real.sum(1))


class WithMask(Module):
    """Gives its network the mask of the padding beside the tokens."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return self.loss(self.net(x, x == 0), y)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, x == 0)


def of_lines(name: str) -> Case:
    known = name == "lines-torch"
    net = LinesByTorch() if known else Lines(layers(name))
    return Case(name, net, module=Module if known else WithMask, optimizer=lambda p: Adam(p, 3e-3),
                data=lines())  # fmt: skip


# -- faults ------------------------------------------------------------------------------------------------


def without_mask(case: Case) -> None:
    case.net.masks = False


def steps_first(case: Case) -> None:
    attention = case.name == "rows-attention"
    case.net = TextLSTM(batch_first=False) if case.name == "text-lstm" else Classifier(False, attention)


class Reshaped(Rows):
    def forward(self, x: Tensor) -> Tensor:
        rows = self.act(self.row(x)).view(8, len(x), 16).transpose(0, 1)
        return self.head(self.act(self.hidden(rows.flatten(1))))


def reshaped(case: Case) -> None:
    case.net = Reshaped(layers(case.name))


def masked(value: int | None) -> Callable[[Case], None]:
    """Hide keys from this diagonal on; None hides none."""

    def inject(case: Case) -> None:
        mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(value or 1)
        case.net.mask.copy_(torch.zeros_like(mask) if value is None else mask)

    return inject


def not_shifted(case: Case) -> None:
    case.data = windows(0)


def padding_counted(case: Case) -> None:
    case.loss = of_tokens


def after_padding(case: Case) -> None:
    case.net.at = -1


class AlwaysDropout(Rows):
    def forward(self, x: Tensor) -> Tensor:
        rows = F.dropout(self.act(self.row(x)), 0.3)
        return self.head(self.act(self.hidden(rows.flatten(1))))


def dropout_function(case: Case) -> None:
    case.net = AlwaysDropout(layers(case.name))


class OtherInEvaluation(Rows):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.training else x.flip(1))


def other_in_evaluation(case: Case) -> None:
    case.net = OtherInEvaluation(layers(case.name))


def large_scores(case: Case) -> None:
    with torch.no_grad():
        for block in case.net.blocks:
            block.attention.query.weight.mul_(8)
            block.attention.key.weight.mul_(8)


def cut_branch(case: Case) -> None:
    case.net.blocks[1].gain = 0.0


class Rounded(Rows):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.act(self.hidden(self.act(self.row(x)).flatten(1)))
        return self.head(hidden.round())


def rounded(case: Case) -> None:
    case.net = Rounded(layers(case.name))


def half(name: str) -> Case:
    """All weights and gradients in float16, without a scaler of the loss."""
    return usual(name, optimizer=lambda p: SGD(p, 0.05), options={"precision": "16-true"})


def small_loss(case: Case) -> None:
    case.loss = lambda out, y: 1e-6 * F.cross_entropy(out, y)


ROWS = ("rows-mlp", "rows-mlp-ours")

PROBE_FAULTS = (
    Fault("samples-mixed/batch-first", ("rows-lstm", "rows-attention"), 20, steps_first,
          where=lambda case: "reader", twin=rows),
    Fault("samples-mixed/text", ("text-lstm",), 20, steps_first, where=lambda case: "rnn", twin=text),
    Fault("samples-mixed/view", ROWS, 20, reshaped, twin=rows),
    Fault("causal-leak/no-mask", TEXT, 20, masked(None), twin=text),
    Fault("causal-leak/off-by-one", TEXT, 20, masked(2), twin=text),
    Fault("targets-equal-inputs/not-shifted", ("text", "text-lstm", "text-ours"), 20, not_shifted, twin=text),
    Fault("padding-in-loss/not-ignored", ("text", "text-ours", "text-lstm"), 20, padding_counted,
          twin=padded),
    Fault("padding-attended/mask-ignored", ("lines", "lines-ours"), 20, without_mask, twin=of_lines),
    Fault("padding-attended/no-mask", ("lines-torch",), 20, without_mask, twin=of_lines),
    Fault("sequence-padding-read/last-state", ("rows-lstm", "rows-lstm-ours"), 90, after_padding,
          where=lambda case: "rnn", twin=padded_rows),
    Fault("dropout-in-evaluation/function", ROWS, 20, dropout_function, twin=rows),
    Fault("evaluation-differs/flipped", ROWS, 400, other_in_evaluation,
          twin=lambda name: rows(name, steps=400)),
    Fault("attention-saturation/large-weights", TEXT, 20, large_scores, where=lambda case: "attention",
          twin=text),
    Fault("gradient-underflow/small-loss", ("mlp", "cnn", "transformer"), 40, small_loss, twin=half),
    Fault("layers-without-gradient/gain-of-zero", TEXT, 120, cut_branch, where=lambda case: "blocks.1",
          twin=text),
    Fault("layers-without-gradient/round", ROWS, 120, rounded, where=lambda case: "hidden", twin=rows),
)  # fmt: skip
"""Appended to the faults of `faults.py`."""
