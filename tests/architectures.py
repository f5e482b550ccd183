"""Kinds of networks that `zoo.py` lacks, written as people write them. This file holds no tests.

Each of them once caused a false alarm of a rule that was tuned on `zoo.py` only.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import Module


def levels(x: Tensor) -> Tensor:
    """Take every fourth pixel as a word of a vocabulary of 17."""
    return ((x - x.min()) * 5).long().clamp(0, 16)[:, ::4]


class Block(nn.Module):
    """A pre-norm block with the initial values of GPT-2: the more blocks, the less each one adds."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for layer in (self.qkv, self.out, self.up, self.down):
            last = layer in (self.out, self.down)
            nn.init.normal_(layer.weight, 0, 0.02 / ((2 * layers) ** 0.5 if last else 1))
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, width: int = 32, layers: int = 12) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(17, width), nn.Embedding(16, width)
        self.blocks = nn.Sequential(*(Block(width, layers) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        for embedding in (self.words, self.places):
            nn.init.normal_(embedding.weight, 0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.words(levels(x)) + self.places.weight)).mean(1))


class Scaled(nn.Module):
    """LayerScale (Touvron et al. 2021): the branch starts with a very small scale."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.scale = nn.Parameter(torch.full((width,), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.branch(x)


def layer_scale() -> nn.Module:
    return nn.Sequential(*(Scaled() for _ in range(6)), nn.LayerNorm(64), nn.Linear(64, 10))


class Splines(nn.Module):
    """A layer of learned functions (Liu et al. 2024). They start near zero, beside a usual linear layer."""

    def __init__(self, ins: int, outs: int, knots: int = 8) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(outs, ins) / ins**0.5)
        self.spline = nn.Parameter(torch.randn(outs, ins, knots) * 0.1 / knots / ins**0.5)
        self.register_buffer("knots", torch.linspace(-2, 2, knots))

    def forward(self, x: Tensor) -> Tensor:
        bumps = torch.exp(-(((x[..., None] - self.knots) * 2) ** 2))
        return F.linear(F.silu(x), self.base) + torch.einsum("big,oig->bo", bumps, self.spline)


def splines() -> nn.Module:
    return nn.Sequential(Splines(64, 32), Splines(32, 10))


class Cell(nn.Module):
    """An LSTM cell that reads an image with a blank margin: its first inputs are the same for all samples."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(8, width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for row in F.pad(x.view(-1, 8, 8), (0, 0, 2, 2)).unbind(1):
            state = self.cell(row, state)
        return self.head(state[0])


class Grid(nn.Module):
    """DeepONet: a network of positions, which are the same for every sample, runs before that of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32))
        self.data = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
        self.head = nn.Linear(64, 10)
        self.register_buffer("grid", torch.cartesian_prod(*[torch.linspace(-1, 1, 8)] * 2))

    def forward(self, x: Tensor) -> Tensor:
        places = self.place(self.grid.repeat(len(x), 1, 1))
        return self.head(torch.einsum("npw,nw->np", places, self.data(x)))


class Margins(Module):
    """An autoencoder whose sigmoid is saturated, and right, for the black margin of the images."""

    def target(self, x: Tensor, y: Tensor) -> Tensor:
        image = (x - x.min()) / (x.max() - x.min())
        return F.pad(image.view(-1, 8, 8), (4, 4, 4, 4)).flatten(1)


class HeadOnly(Module):
    """Transfer learning as in Lightning's guide: the backbone is in evaluation mode and records no graph."""

    def forward(self, x: Tensor) -> Tensor:
        self.net[:-1].eval()
        with torch.no_grad():
            features = self.net[:-1](x)
        return self.net[-1](features)


def sparse() -> nn.Module:
    """Each unit is active for few samples only."""
    net = nn.Sequential(nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 10))
    nn.init.constant_(net[0].bias, -1.0)
    return net
