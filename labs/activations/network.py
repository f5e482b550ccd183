"""Networks of equal hidden layers, and the initial weights that suit each activation."""

from functools import cache
from typing import Literal, get_args

import numpy as np
import torch

from nnfoundations import nn
from nnfoundations.models import MLP

__all__ = ["INITS", "EqualLayers", "Init", "gain"]

Init = Literal["own", "he", "xavier", "small", "large", "constant", "zeros"]
INITS: tuple[Init, ...] = get_args(Init)


@cache
def gain(activation: str) -> float:
    r"""The gain that keeps the variance of the sums of each layer at 1.

    .. math:: g = 1 / \sqrt{\mathrm{E}\,\phi(z)^2}, \qquad z \sim N(0, 1)

    Weights of variance g^2 / fan_in have it. For ReLU it is the square root of 2.

    Args:
        activation: the name of a module in `nnfoundations.nn`.

    Source:
        He et al. 2015, eq. 10, for any activation.

    Example:
        >>> round(gain("ReLU") ** 2, 6), round(gain("Tanh"), 2)
        (2.0, 1.59)
    """
    # The two halves apart: a quadrature across the kink of ReLU would be wrong in the third digit.
    nodes, weights = np.polynomial.legendre.leggauss(100)
    z = torch.from_numpy(np.concatenate((5 * nodes - 5, 5 * nodes + 5)))
    density = np.tile(5 * weights, 2) * np.exp(-(z.numpy() ** 2) / 2) / np.sqrt(2 * np.pi)
    with torch.no_grad():
        y: np.ndarray = getattr(nn, activation)().double()(z).numpy()
    return float((density @ y**2) ** -0.5)


class EqualLayers(MLP):
    """An MLP whose hidden layers have one width, with zero biases.

    Args:
        depth: the number of hidden layers.
        activation: the name of a module in `nnfoundations.nn`.
        init: "own" has the variance gain^2 / fan_in of the activation; "he" has 2 / fan_in and "xavier"
            2 / (fan_in + fan_out), whatever the activation. "small" and "large" have the standard deviations
            0.01 and 1. "constant" makes all weights 1 / width, and "zeros" makes them 0.
        inputs: the number of features.
        width: units of each hidden layer.

    Raises:
        OptionError: the activation or the init is unknown.

    Example:
        >>> EqualLayers(2, "Tanh").sizes
        (64, 64, 64, 10)
    """

    def __init__(
        self, depth: int, activation: str = "ReLU", init: Init = "own", inputs: int = 64, width: int = 64
    ) -> None:
        name, scale = {
            "own": ("he", 1.0),
            "small": ("normal", 0.01),
            "large": ("normal", 1.0),
            "constant": ("constant", 1 / width),
        }.get(init, (init, 1.0))
        sizes = [inputs, *[width] * depth, 10]
        super().__init__(sizes, activation=activation, init=name, init_scale=scale)  # type: ignore[arg-type]  # a str, one of MLP's
        if init == "own":
            for layer in self.layers:
                if isinstance(layer, nn.Linear):
                    layer.weight.data.mul_(gain(activation) / 2**0.5)
