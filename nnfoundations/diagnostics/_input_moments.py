"""Compares the inputs of the network in validation with those in training, feature by feature."""

import math

import torch
from torch import Tensor

__all__ = ["InputMoments"]

MOST_FEATURES = 2**18
"""Number of features above which only the mean and the deviation of all numbers are kept."""

CONSTANT = 1e-3
"""Deviation of a feature, relative to the largest one, below which it counts as constant."""


class InputMoments:
    """Running mean and standard deviation of each feature of the input, on its device."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._each: _Sums | None = None
        self._all: _Sums | None = None
        self.samples = 0

    def update(self, x: Tensor) -> None:
        """Add a batch, without waiting for the device.

        Args:
            x: inputs of shape ``(samples, ...)``.
        """
        flat, shape = x.detach().float().flatten(1), tuple(x.shape[1:])
        if not self.samples:
            self._shape, self._all = shape, _Sums(flat.mean()[None])
            self._each = _Sums(flat.mean(0)) if flat.shape[1] <= MOST_FEATURES else None
        assert self._all is not None
        self._all.add(flat.reshape(-1, 1), len(flat))
        if shape != self._shape:
            self._each = None
        if self._each is not None:
            self._each.add(flat, len(flat))
        self.samples += len(flat)

    def compare(self, training: "InputMoments") -> dict[str, float]:
        """Compare with the moments of training. Waits for the device.

        Returns:
            ``rms`` and ``train_rms``: root mean squares. ``scale``: median over the features of the ratio of
            both deviations. ``shift``: median of the distances of the means, in deviations of training.
            ``samples``: the smaller number of samples.
        """
        assert self._all is not None
        assert training._all is not None
        here, there = self._all, training._all
        result = {"rms": here.rms(), "train_rms": there.rms(), "scale": math.nan, "shift": math.nan}
        if self._each is not None and training._each is not None and self._shape == training._shape:
            here, there = self._each, training._each
        (mean, deviation), (train_mean, train_deviation) = here.moments(), there.moments()
        varies = train_deviation > CONSTANT * train_deviation.max()
        if varies.any():
            scale = deviation[varies] / train_deviation[varies]
            shift = (mean[varies] - train_mean[varies]).abs() / train_deviation[varies]
            result |= {"scale": float(scale.median()), "shift": float(shift.median())}
        return {**result, "samples": float(min(self.samples, training.samples))}


class _Sums:
    """Sums of numbers and of their squares around an origin: far from it squares would lose their digits."""

    def __init__(self, origin: Tensor) -> None:
        self._origin = origin
        self._sums = torch.zeros(2, *origin.shape, device=origin.device)
        self._n = 0

    def add(self, rows: Tensor, n: int) -> None:
        """Add the mean over the rows, which counts n times."""
        rows = rows - self._origin
        self._sums = self._sums + n * torch.stack([rows.mean(0), rows.square().mean(0)])
        self._n += n

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation."""
        mean, square = self._sums.cpu().double() / self._n
        return self._origin.cpu() + mean, (square - mean.square()).clamp(min=0).sqrt()

    def rms(self) -> float:
        """Return the root mean square."""
        mean, deviation = self.moments()
        return float((mean.square() + deviation.square()).mean().sqrt())
