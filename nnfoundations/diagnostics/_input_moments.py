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
        self._each: Tensor | None = None
        self._all: Tensor | None = None
        self.samples = 0

    def update(self, x: Tensor) -> None:
        """Add a batch, without waiting for the device.

        Args:
            x: inputs of shape ``(samples, ...)``.
        """
        flat = x.detach().float().flatten(1)
        whole = torch.stack([flat.mean(), flat.square().mean()]).double() * len(flat)
        self._all = whole if self._all is None else self._all + whole
        shape = tuple(x.shape[1:])
        if flat.shape[1] <= MOST_FEATURES and (self._each is not None or not self.samples):
            sums = torch.stack([flat.sum(0), flat.square().sum(0)]).double()
            if self._each is None:
                self._shape, self._each = shape, sums
            else:
                self._each = self._each + sums if shape == self._shape else None
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
        samples = min(self.samples, training.samples)
        sums, of_training = self._all[:, None], training._all[:, None]
        if self._each is not None and training._each is not None and self._shape == training._shape:
            sums, of_training = self._each, training._each
        mean, deviation = _moments(sums, self.samples)
        train_mean, train_deviation = _moments(of_training, training.samples)
        varies = train_deviation > CONSTANT * train_deviation.max()
        rms = math.sqrt(float(self._all[1]) / self.samples)
        train_rms = math.sqrt(float(training._all[1]) / training.samples)
        result = {"rms": rms, "train_rms": train_rms, "scale": math.nan, "shift": math.nan}
        if varies.any():
            scale = deviation[varies] / train_deviation[varies]
            shift = (mean[varies] - train_mean[varies]).abs() / train_deviation[varies]
            result |= {"scale": float(scale.median()), "shift": float(shift.median())}
        return {**result, "samples": float(samples)}


def _moments(sums: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    mean, square = sums.cpu() / samples
    return mean, (square - mean.square()).clamp(min=0).sqrt()
