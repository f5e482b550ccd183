"""Standard deviations of initial weights.

Notation: fan_in is the number of inputs of a unit, fan_out the number of units that use its output. The gain
compensates the change of the second moment in the activation. Weights of standard deviation gain /
sqrt(fan_in) keep the variance of the activations from layer to layer, gain / sqrt(fan_out) that of the
gradients.
"""

import math

__all__ = ["gain", "he_std", "uniform_bound", "xavier_std"]

_GAINS = {"tanh": 5.0 / 3, "selu": 3.0 / 4}  # from experiments, not derived


def xavier_std(fan_in: int, fan_out: int, gain: float = 1.0) -> float:
    """Compute gain sqrt(2 / (fan_in + fan_out)), a compromise for activations and gradients.

    Args:
        fan_in: number of inputs of a unit.
        fan_out: number of units that use its output.
        gain: gain of the activation.

    Returns:
        The standard deviation.

    Source: Glorot and Bengio 2010, eq. 12.
    """
    return gain * math.sqrt(2.0 / float(fan_in + fan_out))


def he_std(fan: int, gain: float) -> float:
    """Compute gain / sqrt(fan).

    Args:
        fan: fan_in to keep the variance of activations, fan_out for that of gradients.
        gain: gain of the activation.

    Returns:
        The standard deviation.

    Source: He et al. 2015, eq. 10.
    """
    return gain / math.sqrt(fan)


def uniform_bound(std: float) -> float:
    """Compute b = sqrt(3) std, because the uniform distribution on [-b, b] has deviation b / sqrt(3).

    Args:
        std: standard deviation.

    Returns:
        The bound b.
    """
    return math.sqrt(3.0) * std


def gain(nonlinearity: str, negative_slope: float = 0.01) -> float:
    """Look up the gain of an activation.

    A rectifier with slope a below zero keeps (1 + a^2) / 2 of the second moment, so its gain is
    sqrt(2 / (1 + a^2)).

    Args:
        nonlinearity: name of the activation, as in `torch.nn.init.calculate_gain`.
        negative_slope: the slope a of "leaky_relu".

    Returns:
        The gain; 1 for a name that is not in the table.
    """
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + negative_slope**2))
    return _GAINS.get(nonlinearity, 1)
