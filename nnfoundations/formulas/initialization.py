"""Statistics of initial weights.

Notation: fan_in, fan_out how many numbers a unit reads and how many read it; gain makes up for what the
activation does to the second moment. The variance of activations stays the same from layer to layer for
weights of deviation gain / sqrt(fan_in), that of gradients for gain / sqrt(fan_out).
"""

import math

__all__ = ["gain", "he_std", "uniform_bound", "xavier_std"]

_GAINS = {"tanh": 5.0 / 3, "selu": 3.0 / 4}  # found by experiment, not derived


def xavier_std(fan_in: int, fan_out: int, gain: float = 1.0) -> float:
    """gain sqrt(2 / (fan_in + fan_out)), a compromise of both: Glorot and Bengio 2010, eq. 12."""
    return gain * math.sqrt(2.0 / float(fan_in + fan_out))


def he_std(fan: int, gain: float) -> float:
    """gain / sqrt(fan): He et al. 2015, eq. 10."""
    return gain / math.sqrt(fan)


def uniform_bound(std: float) -> float:
    """sqrt(3) std: a uniform draw from -b to b has deviation b / sqrt(3)."""
    return math.sqrt(3.0) * std


def gain(nonlinearity: str, negative_slope: float = 0.01) -> float:
    """The gain of an activation, 1 for one not named here.

    A rectifier of slope a below zero keeps (1 + a^2) / 2 of the second moment: sqrt(2 / (1 + a^2)).
    """
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + negative_slope**2))
    return _GAINS.get(nonlinearity, 1)
