"""Augmentations against references that go pixel by pixel, one sample at a time."""

import math

import numpy as np
import pytest
import torch

from nnfoundations.datamodules import DigitsDataModule, _augment
from nnfoundations.datamodules._mix import mixing

MEAN = (11, 22, 33)


def border(i, size, reflect):
    """Return the pixel at position i of an axis, or None for black."""
    if 0 <= i < size:
        return i
    return (-i if i < 0 else 2 * (size - 1) - i) if reflect else None


def moved(image, draws, pixels, reflect):
    _, height, width = image.shape
    top, left = (min(int(draw * (2 * pixels + 1)), 2 * pixels) - pixels for draw in draws)
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y, from_x = border(y + top, height, reflect), border(x + left, width, reflect)
            if from_y is not None and from_x is not None:
                out[:, y, x] = image[:, from_y, from_x]
    return out


def resampled(image, source):
    """Interpolate bilinearly between the four neighbours; black outside.

    `source` maps a pixel's row and column, counted from the centre, to those from which its value comes.
    """
    channels, height, width = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y, from_x = source(y - (height - 1) / 2, x - (width - 1) / 2)
            from_y, from_x = from_y + (height - 1) / 2, from_x + (width - 1) / 2
            i, j = math.floor(from_y), math.floor(from_x)
            total = np.zeros(channels)
            for row in (i, i + 1):
                for column in (j, j + 1):
                    if 0 <= row < height and 0 <= column < width:
                        total += image[:, row, column] * (1 - abs(from_y - row)) * (1 - abs(from_x - column))
            out[:, y, x] = np.round(total)
    return out


def turned(image, draws):
    angle = (2 * draws[0] - 1) * math.radians(10)
    sin, cos = math.sin(angle), math.cos(angle)
    return resampled(image, lambda v, u: (sin * u + cos * v, cos * u - sin * v))


def mapped(image, draws):
    """Multiply by the inverses of shift, scale, shear and rotation, in this order, in homogeneous form."""
    angle, scale, shear, down, right = (2 * float(draw) - 1 for draw in draws)
    angle *= math.radians(12)
    unshift = np.array([[1, 0, -2 * right], [0, 1, -2 * down], [0, 0, 1]])
    unscale = np.diag([1 / (1 + 0.12 * scale), 1 / (1 + 0.12 * scale), 1])
    unshear = np.array([[1, 0.15 * shear, 0], [0, 1, 0], [0, 0, 1]])
    turn = np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    matrix = turn @ unshear @ unscale @ unshift

    def source(v, u):
        from_u, from_v, _ = matrix @ (u, v, 1)
        return from_v, from_u

    return resampled(image, source)


def cubic(t):
    """Weight of a knot at distance t, as torch's bicubic interpolation has it (a = -0.75)."""
    t = abs(t)
    if t <= 1:
        return 1.25 * t**3 - 2.25 * t**2 + 1
    return -0.75 * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def bent(image, draws):
    """Interpolate the displacement between 5 x 5 knots, whose outer ones lie on the edge pixels."""
    _, height, width = image.shape
    field = ((2 * draws.astype(float) - 1) * 1.5).reshape(2, 5, 5)

    def at(axis, v, u):
        row, column = (v / (height - 1) + 0.5) * 4, (u / (width - 1) + 0.5) * 4
        total = 0.0
        for i in range(math.floor(row) - 1, math.floor(row) + 3):
            for j in range(math.floor(column) - 1, math.floor(column) + 3):
                knot = field[axis, min(max(i, 0), 4), min(max(j, 0), 4)]
                total += knot * cubic(row - i) * cubic(column - j)
        return total

    return resampled(image, lambda v, u: (v + at(0, v, u), u + at(1, v, u)))


def covered(image, draws):
    _, height, width = image.shape
    out = image.copy()
    top, left = (int(draw * size) - height // 4 for draw, size in zip(draws, (height, width), strict=True))
    for y in range(height):
        for x in range(width):
            if top <= y < top + height // 2 and left <= x < left + height // 2:
                out[:, y, x] = MEAN[: len(image)]
    return out


REFERENCES = {
    "crop": lambda image, draws: moved(image, draws, 4, reflect=True),
    "shift": lambda image, draws: moved(image, draws, 2, reflect=False),
    "flip": lambda image, draws: image[..., ::-1] if draws[0] < 0.5 else image,
    "rotate": turned,
    "affine": mapped,
    "elastic": bent,
    "cutout": covered,
}


RESAMPLED = ("rotate", "affine", "elastic")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 16)])
@pytest.mark.parametrize("name", REFERENCES)
def test_agrees_with_the_reference(name, shape):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, *shape), generator=generator, dtype=torch.uint8)
    (augmentation,) = _augment.augmentations([name], MEAN[: shape[0]])
    draws = torch.rand(40, augmentation.count, generator=generator)
    draws[0], draws[1] = 0, 1 - 2**-24  # the ends of what may be drawn
    before = images.clone()
    out = augmentation.apply(images, draws)
    assert out.dtype == torch.uint8
    assert torch.equal(images, before)
    for image, drawn, found in zip(images.numpy(), draws.numpy(), out.numpy(), strict=True):
        wanted = REFERENCES[name](image, drawn)
        # A bilinear value at half a grey level may be rounded either way.
        assert np.abs(found.astype(int) - wanted).max() <= (1 if name in RESAMPLED else 0)


@pytest.mark.parametrize(
    "names", [["affine", "elastic"], ["elastic", "affine"], ["rotate", "affine", "elastic"]]
)
def test_neighbouring_warps_interpolate_once(names):
    """They agree with the references one after another on a smooth image, where blur hardly shows."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 24), torch.linspace(0, 3, 24), indexing="ij")
    images = (127 + 120 * torch.sin(y) * torch.cos(x))[None, None].to(torch.uint8)
    (augmentation,) = _augment.augmentations(names, MEAN[:1])
    draws = torch.rand(1, augmentation.count, generator=torch.Generator().manual_seed(0))
    found, wanted = augmentation.apply(images, draws)[0].numpy(), images[0].numpy()
    start = 0
    for name in names:
        count = _augment.augmentations([name], MEAN[:1])[0].count
        wanted = REFERENCES[name](wanted, draws[0, start : start + count].numpy())
        start += count
    inside = (slice(None), slice(6, -6), slice(6, -6))
    assert np.abs(found.astype(int) - wanted)[inside].max() <= 3
    assert np.abs(images[0].numpy().astype(int) - wanted)[inside].max() > 20


def test_a_turn_and_its_reverse_change_no_pixel():
    images = torch.randint(256, (1, 1, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    (augmentation,) = _augment.augmentations(["rotate", "rotate"], MEAN[:1])
    found = augmentation.apply(images, torch.tensor([[0.1, 0.9]]))
    assert torch.equal(found[..., 1:-1, 1:-1], images[..., 1:-1, 1:-1])


def test_the_registry_is_tested():
    assert set(REFERENCES) == set(_augment.NAMES)


def batches(**arguments):
    data = DigitsDataModule(batch_size=100, **arguments)
    data.setup()
    return data


@pytest.mark.parametrize(
    "names",
    [["crop"], ["rotate", "shift"], ["affine", "elastic"], ["crop", "flip", "cutout"], ["cutmix", "mixup"]],
)
def test_same_seed_same_batches(names):
    first, again, other = (list(batches(augment=names, seed=seed).train_dataloader()) for seed in (0, 0, 1))
    assert all(
        torch.equal(x, y) for a, b in zip(first, again, strict=True) for x, y in zip(a, b, strict=True)
    )
    assert not torch.equal(first[0][0], other[0][0])


def test_only_training_data_are_augmented():
    plain, augmented = batches(), batches(augment=["crop", "flip", "rotate", "cutout", "mixup"])
    for loader in ("val_dataloader", "test_dataloader", "predict_dataloader"):
        for (x, y), (x2, y2) in zip(getattr(plain, loader)(), getattr(augmented, loader)(), strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)
    assert not torch.equal(
        next(iter(plain.train_dataloader()))[0], next(iter(augmented.train_dataloader()))[0]
    )


def test_each_epoch_draws_other_numbers():
    """Of 1,294 flips about half differ between two epochs."""
    data = batches(augment=["flip"])
    loader = data.train_dataloader()

    def by_row():
        order = loader._draw_epoch(loader._next[0])[0]
        return torch.cat([x for x, _ in loader])[order.argsort()]

    changed = (by_row() != by_row()).flatten(1).any(1).float().mean()
    assert 0.4 < changed < 0.6


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixed_labels_are_the_shares(name):
    """Mix an image of ones with one of zeros: the mean pixel is the share of the label."""
    x = torch.cat([torch.zeros(4, 1, 8, 8), torch.ones(4, 1, 8, 8)])
    y = torch.tensor([0] * 4 + [1] * 4)
    before = torch.get_rng_state()
    mixes = False
    for seed in range(5):  # a box of CutMix may lie outside, or be empty
        mixed, labels = mixing([name], 3)(x, y, (0, seed))
        torch.testing.assert_close(labels.sum(1), torch.ones(8))
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), labels[:, 1])
        assert labels.dtype == torch.float32
        mixes |= bool(((labels > 0) & (labels < 1)).any())
    assert mixes
    assert torch.equal(torch.get_rng_state(), before), "draws of the model's own must not change"
