"""Augmentations of a batch of images `(N, C, H, W)` uint8, with random draws per sample.

A draw is a number in [0, 1). All draws of an epoch are made on the host from the epoch's seed, so the same
images result on every device and after every restart. `_mix.py` mixes two samples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

__all__ = ["NAMES", "Augmentation", "augmentations"]

CROP_PIXELS, SHIFT_PIXELS, ROTATE_DEGREES = 4, 2, 10.0
AFFINE_DEGREES, AFFINE_SCALE, AFFINE_SHEAR, AFFINE_PIXELS = 12.0, 0.12, 0.15, 2.0
ELASTIC_KNOTS, ELASTIC_PIXELS = 5, 1.5


@dataclass(frozen=True)
class Augmentation:
    """One augmentation: `apply(images, draws)` returns new images.

    Args:
        count: draws per image.
        apply: takes images `(N, C, H, W)` uint8 and draws `(N, count)`.
    """

    count: int
    apply: Callable[[Tensor, Tensor], Tensor]


Warp = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], tuple[Tensor, Tensor]]
"""Where pixels come from: takes rows and columns `(N or 1, H, W)` from the centre, draws, and H and W."""


def augmentations(names: Sequence[str], mean: Sequence[int]) -> list[Augmentation]:
    """Return the named augmentations in that order; `mean` is the mean pixel value of each channel.

    Neighbouring warps are one augmentation: an image that is interpolated twice is blurred twice.
    """
    known = {
        "crop": Augmentation(2, crop),
        "shift": Augmentation(2, shift),
        "flip": Augmentation(1, flip),
        "cutout": Augmentation(2, partial(cutout, fill=mean)),
    }
    found: list[Augmentation] = []
    for are_warps, group in groupby(names, WARPS.__contains__):
        if are_warps:
            counts, warps = zip(*(WARPS[name] for name in group), strict=True)
            found.append(Augmentation(sum(counts), partial(_warped, counts=counts, warps=warps)))
        else:
            found += [known[name] for name in group]
    return found


NAMES = ("crop", "shift", "flip", "rotate", "affine", "elastic", "cutout")


def crop(images: Tensor, draws: Tensor) -> Tensor:
    """Pad the image with 4 reflected pixels and crop H x W at a random position.

    Source: Krizhevsky 2009; the padding of He et al. 2016, but reflected instead of black.
    """
    p = CROP_PIXELS
    padded = _with_border(images, p)
    padded[..., p:-p, :p] = images[..., 1 : p + 1].flip(-1)
    padded[..., p:-p, -p:] = images[..., -p - 1 : -1].flip(-1)
    padded[..., :p, :] = padded[..., p + 1 : 2 * p + 1, :].flip(-2)
    padded[..., -p:, :] = padded[..., -2 * p - 1 : -p - 1, :].flip(-2)
    return _cut(padded, images.shape[-2:], draws)


def shift(images: Tensor, draws: Tensor) -> Tensor:
    """Shift the image by up to 2 pixels along each axis; fill with 0."""
    p = SHIFT_PIXELS
    padded = _with_border(images, p)
    for edge in (padded[..., :p, :], padded[..., -p:, :], padded[..., :p], padded[..., -p:]):
        edge.zero_()
    return _cut(padded, images.shape[-2:], draws)


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Flip left and right with probability 1/2."""
    (flipped,) = torch.nonzero(draws[:, 0] < 0.5, as_tuple=True)
    return images.index_copy(0, flipped, images.index_select(0, flipped).flip(-1))


def rotate(y: Tensor, x: Tensor, draws: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rotate about the centre by -10 to 10 degrees."""
    return _turned(y, x, (2 * draws[:, 0] - 1) * math.radians(ROTATE_DEGREES))


def affine(y: Tensor, x: Tensor, draws: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rotate by up to 12 degrees, scale by up to 12 %, shear by up to 0.15 and shift by up to 2 pixels."""
    angle, scale, shear, down, right = (2 * draws - 1)[:, :, None, None].unbind(1)
    y, x = y - AFFINE_PIXELS * down, x - AFFINE_PIXELS * right
    y, x = (side / (1 + AFFINE_SCALE * scale) for side in (y, x + AFFINE_SHEAR * shear * y))
    return _turned(y, x, angle[:, 0, 0] * math.radians(AFFINE_DEGREES))


def elastic(y: Tensor, x: Tensor, draws: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Move each of 5 x 5 points by up to 1.5 pixels, and what lies between them smoothly.

    Source: Simard et al. 2003, whose field is random at each pixel and then smoothed.
    """
    knots = (2 * draws - 1).view(-1, 2, ELASTIC_KNOTS, ELASTIC_KNOTS) * ELASTIC_PIXELS
    height, width = size  # the outer points lie on the edge pixels
    where = torch.stack((x * (2 / (width - 1)), y * (2 / (height - 1))), dim=-1)
    field = torch.nn.functional.grid_sample(
        knots, where.expand(len(knots), -1, -1, -1), mode="bicubic", padding_mode="border", align_corners=True
    )
    return y + field[:, 0], x + field[:, 1]


WARPS: dict[str, tuple[int, Warp]] = {
    "rotate": (1, rotate),
    "affine": (5, affine),
    "elastic": (2 * ELASTIC_KNOTS**2, elastic),
}
"""Number of draws and function by name."""


def _warped(images: Tensor, draws: Tensor, counts: Sequence[int], warps: Sequence[Warp]) -> Tensor:
    """Apply warps one after another: where the last takes a pixel from is where the one before puts it.

    Bilinear, 0 outside.
    """
    height, width = images.shape[-2:]
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[None, :, None]
    x = (torch.arange(width, device=images.device) - (width - 1) / 2)[None, None, :]
    y, x = y.expand(1, height, width), x.expand(1, height, width)
    for warp, drawn in reversed(list(zip(warps, draws.split(list(counts), dim=1), strict=True))):
        y, x = warp(y, x, drawn, (height, width))
    return _resampled(images, y, x)


def _turned(y: Tensor, x: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return sin * x + cos * y, cos * x - sin * y


def _resampled(images: Tensor, from_y: Tensor, from_x: Tensor) -> Tensor:
    """Take each pixel from a position `(N, H, W)`, counted from the centre; bilinear, 0 outside."""
    height, width = images.shape[-2:]
    # grid_sample takes the position in units of half the image
    grid = torch.stack((from_x * (2 / width), from_y * (2 / height)), dim=-1).float()
    moved = torch.nn.functional.grid_sample(images.float(), grid, align_corners=False)
    return moved.round_().to(torch.uint8)


def cutout(images: Tensor, draws: Tensor, fill: Sequence[int]) -> Tensor:
    """Cover a square of half the image's side at a random centre with the mean pixel; clip it at the edges.

    Source: DeVries and Taylor 2017.
    """
    height, width = images.shape[-2:]
    rows, columns = (_covered(draws[:, axis], size, height // 2) for axis, size in enumerate((height, width)))
    hidden = (rows[:, :, None] & columns[:, None, :])[:, None]
    mean = torch.tensor(fill, dtype=torch.uint8, device=images.device).view(-1, 1, 1)
    return torch.where(hidden, mean, images)


def _covered(draws: Tensor, size: int, side: int) -> Tensor:
    start = _position(draws, size)[:, None] - side // 2
    places = torch.arange(size, device=draws.device)
    return (places >= start) & (places < start + side)


def _position(draws: Tensor, count: int) -> Tensor:
    return (draws * count).long().clamp_(max=count - 1)  # rounding can turn a draw near 1 into count


def _with_border(images: Tensor, p: int) -> Tensor:
    n, channels, height, width = images.shape
    padded = images.new_empty((n, channels, height + 2 * p, width + 2 * p))
    padded[..., p:-p, p:-p] = images
    return padded


def _cut(padded: Tensor, size: tuple[int, ...], draws: Tensor) -> Tensor:
    height, width = size
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = _position(draws, windows.shape[2]).unbind(1)
    rows = torch.arange(len(padded), device=padded.device)
    if padded.device.type == "cpu":
        # NumPy copies windows row by row, torch pixel by pixel, which takes five times as long.
        return torch.from_numpy(windows.numpy()[rows.numpy(), :, top.numpy(), left.numpy()])
    return windows[rows, :, top, left]
