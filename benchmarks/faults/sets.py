"""Real data that is at hand without a download, as tensors.

Tables, digits and photographs come with scikit-learn, text with Python (the topics of `help()`), series and a
map of elevations with Matplotlib. MNIST and Fashion-MNIST are read from NNFOUNDATIONS_DATA.
"""

import gzip
import os
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
from matplotlib import cbook
from sklearn import datasets
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["digits", "eeg", "elevation", "google", "images", "loaders", "photo", "table", "text", "words"]

Split = tuple[Tensor, Tensor, Tensor, Tensor]


def split(x: Tensor, y: Tensor, share: float = 0.75) -> Split:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    x, y, n = x[order], y[order], int(len(x) * share)
    return x[:n], y[:n], x[n:], y[n:]


def loaders(data: Split, batch_size: int = 32, **options: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """A shuffled loader of the training data, and one of the validation data."""
    train, val = TensorDataset(*data[:2]), TensorDataset(*data[2:])
    options = {"shuffle": True, "drop_last": True, **options}
    return DataLoader(train, batch_size, **options), DataLoader(val, 256)


@cache
def table(name: str, raw: bool = False) -> Split:
    """A table: wine, breast_cancer, iris or diabetes, the columns standardized by the training rows."""
    x, y = getattr(datasets, f"load_{name}")(
        return_X_y=True, **({"scaled": False} if name == "diabetes" else {})
    )
    target = torch.tensor(y, dtype=torch.float32 if name == "diabetes" else torch.long)
    x, y, x_val, y_val = split(torch.tensor(x, dtype=torch.float32), target)
    if raw:
        return x, y, x_val, y_val
    mean, std = x.mean(0), x.std(0)
    return (x - mean) / std, y, (x_val - mean) / std, y_val


@cache
def digits() -> Split:
    """8x8 images (N, 1, 8, 8) in [0, 1]."""
    bunch = datasets.load_digits()
    return split(torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16, torch.tensor(bunch.target))


def _idx(path: Path, header: int) -> np.ndarray:
    """The bytes after the header of a file as MNIST has them, compressed or not."""
    packed = path.with_name(path.name + ".gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return np.frombuffer(content, np.uint8)[header:]


@cache
def images(name: str, size: int = 1600) -> Split:
    """28x28 images (N, 1, 28, 28) in [0, 1] of MNIST or Fashion-MNIST, three quarters for training."""
    folder = (
        Path(os.environ["NNFOUNDATIONS_DATA"]) / {"mnist": "MNIST", "fashion": "FashionMNIST"}[name] / "raw"
    )
    pixels = _idx(folder / "train-images-idx3-ubyte", 16)[: size * 784].reshape(size, 1, 28, 28)
    labels = _idx(folder / "train-labels-idx1-ubyte", 8)[:size]
    return split(torch.tensor(pixels.astype(np.float32)) / 255, torch.tensor(labels.astype(np.int64)))


@cache
def text(length: int = 60_000) -> tuple[Tensor, Tensor, list[str]]:
    """The first letters of Python's help topics as codes: training, validation, the alphabet."""
    whole = " ".join(" ".join(topics[key].split()) for key in sorted(topics))[: length * 5 // 4].lower()
    common = [c for c in sorted(set(whole)) if whole.count(c) >= 20]
    codes = torch.tensor([common.index(c) for c in whole if c in common])
    n = len(codes) * 4 // 5
    return codes[:n], codes[n:], common


@cache
def words() -> list[tuple[str, list[str]]]:
    """The topics of Python's help with their words."""
    cleaned = {
        key: "".join(c if c.isalpha() else " " for c in value.lower()) for key, value in topics.items()
    }
    return [(key, [w for w in cleaned[key].split() if len(w) > 2]) for key in sorted(cleaned)]


def _sample(name: str) -> Path:
    return Path(str(cbook._get_data_path("sample_data", name)))


@cache
def eeg() -> Tensor:
    """Four channels of an electroencephalogram (800, 4), standardized."""
    values = torch.tensor(np.fromfile(_sample("eeg.dat"), dtype=float).reshape(800, 4), dtype=torch.float32)
    return (values - values[:600].mean(0)) / values[:600].std(0)


@cache
def google() -> Tensor:
    """Prices of a share over 1,047 days: open, high, low, close, in dollars."""
    prices = np.load(_sample("goog.npz"))["price_data"]
    return torch.tensor(
        np.stack([prices[k] for k in ("open", "high", "low", "close")], 1), dtype=torch.float32
    )


@cache
def elevation(side: int = 16, stride: int = 8) -> Tensor:
    """Square cuts (N, 1, side, side) of a map, in metres."""
    values = np.load(_sample("jacksboro_fault_dem.npz"))["elevation"]
    grid = torch.tensor(values.astype(np.float32))
    return grid.unfold(0, side, stride).unfold(1, side, stride).reshape(-1, 1, side, side)


@cache
def photo(side: int = 16, stride: int = 14) -> Tensor:
    """Square cuts (N, 3, side, side) of a photograph, in [0, 1]."""
    picture = torch.tensor(datasets.load_sample_image("china.jpg").copy()).permute(2, 0, 1).float() / 255
    cuts = picture.unfold(1, side, stride).unfold(2, side, stride)
    return cuts.permute(1, 2, 0, 3, 4).reshape(-1, 3, side, side)
