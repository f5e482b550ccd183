"""Augmentations of images `(N, C, H, W)` uint8, a batch at a time, each sample by draws of its own.

A draw is a number in [0, 1). Draws are made on the host, once an epoch, from its seed: the same draws give the
same images on every device and after every restart. Mixing two samples is in `_mix.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

CROP_PIXELS, SHIFT_PIXELS, ROTATE_DEGREES = 4, 2, 10.0


@dataclass(frozen=True)
class Augmentation:
    """`apply(images, draws)` gives new images; draws `(N, count)`."""

    count: int
    apply: Callable[[Tensor, Tensor], Tensor]


def augmentations(names: Sequence[str], mean: Sequence[int]) -> list[Augmentation]:
    """The named ones, in that order. Args: mean: the mean pixel, a number for each channel."""
    known = {
        "crop": Augmentation(2, crop),
        "shift": Augmentation(2, shift),
        "flip": Augmentation(1, flip),
        "rotate": Augmentation(1, rotate),
        "cutout": Augmentation(2, partial(cutout, fill=mean)),
    }
    return [known[name] for name in names]


NAMES = ("crop", "shift", "flip", "rotate", "cutout")


def crop(images: Tensor, draws: Tensor) -> Tensor:
    """Cut H x W out of the image padded with 4 pixels of its reflection, at a place drawn evenly.

    Source: Krizhevsky 2009's crops; the padding as in He et al. 2016, reflected instead of black.
    """
    p = CROP_PIXELS
    padded = _with_border(images, p)
    padded[..., p:-p, :p] = images[..., 1 : p + 1].flip(-1)
    padded[..., p:-p, -p:] = images[..., -p - 1 : -1].flip(-1)
    padded[..., :p, :] = padded[..., p + 1 : 2 * p + 1, :].flip(-2)
    padded[..., -p:, :] = padded[..., -2 * p - 1 : -p - 1, :].flip(-2)
    return _cut(padded, images.shape[-2:], draws)


def shift(images: Tensor, draws: Tensor) -> Tensor:
    """Move the image by up to 2 pixels along each axis, evenly drawn; what comes in is 0."""
    p = SHIFT_PIXELS
    padded = _with_border(images, p)
    for edge in (padded[..., :p, :], padded[..., -p:, :], padded[..., :p], padded[..., -p:]):
        edge.zero_()
    return _cut(padded, images.shape[-2:], draws)


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Mirror left and right with probability 1/2."""
    (chosen,) = torch.nonzero(draws[:, 0] < 0.5, as_tuple=True)
    return images.index_copy(0, chosen, images.index_select(0, chosen).flip(-1))


def rotate(images: Tensor, draws: Tensor) -> Tensor:
    """Turn about the centre by up to 10 degrees either way, evenly drawn; bilinear, 0 outside."""
    angle = (2 * draws[:, 0] - 1) * math.radians(ROTATE_DEGREES)
    height, width = images.shape[-2:]
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    # Where each pixel comes from, in units of half the image, as grid_sample counts.
    from_x = (cos * x - sin * y[:, None]) * (2 / width)
    from_y = (sin * x + cos * y[:, None]) * (2 / height)
    grid = torch.stack((from_x, from_y), dim=-1).float()
    turned = torch.nn.functional.grid_sample(images.float(), grid, align_corners=False)
    return turned.round_().to(torch.uint8)


def cutout(images: Tensor, draws: Tensor, fill: Sequence[int]) -> Tensor:
    """Cover a square of half the image's side with the mean pixel; centre drawn evenly, clipped at edges.

    Source: DeVries and Taylor 2017.
    """
    height, width = images.shape[-2:]
    rows, columns = (_covered(draws[:, axis], size, height // 2) for axis, size in enumerate((height, width)))
    hidden = (rows[:, :, None] & columns[:, None, :])[:, None]
    mean = torch.tensor(fill, dtype=torch.uint8, device=images.device).view(-1, 1, 1)
    return torch.where(hidden, mean, images)


def _covered(draws: Tensor, size: int, side: int) -> Tensor:
    start = _chosen(draws, size)[:, None] - side // 2
    places = torch.arange(size, device=draws.device)
    return (places >= start) & (places < start + side)


def _chosen(draws: Tensor, count: int) -> Tensor:
    return (draws * count).long().clamp_(max=count - 1)  # rounding may take a draw near 1 to count


def _with_border(images: Tensor, p: int) -> Tensor:
    n, channels, height, width = images.shape
    padded = images.new_empty((n, channels, height + 2 * p, width + 2 * p))
    padded[..., p:-p, p:-p] = images
    return padded


def _cut(padded: Tensor, size: tuple[int, ...], draws: Tensor) -> Tensor:
    height, width = size
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = _chosen(draws, windows.shape[2]).unbind(1)
    rows = torch.arange(len(padded), device=padded.device)
    if padded.device.type == "cpu":
        # NumPy copies windows row by row, torch pixel by pixel: five times as long.
        return torch.from_numpy(windows.numpy()[rows.numpy(), :, top.numpy(), left.numpy()])
    return windows[rows, :, top, left]
