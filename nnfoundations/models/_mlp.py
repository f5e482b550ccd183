"""Multilayer perceptron."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Literal

from torch import Tensor

from nnfoundations import nn
from nnfoundations.errors import OptionError, ShapeError

__all__ = ["MLP"]


class MLP(nn.Module):
    r"""Linear layers with an activation between them.

    .. math:: h_0 = \mathrm{flatten}(x), \quad h_l = \phi(W_l h_{l-1} + b_l), \quad
        y = W_L h_{L-1} + b_L

    Shape:
        input: `(N, *)` with `sizes[0]` numbers per sample.
        output: `(N, sizes[-1])`.

    Args:
        sizes: features of the input, of each hidden layer and of the output, as one list.
        more: takes nothing; a call without the brackets, `MLP(64, 10)`, gets an error that says so.
        activation: name of a module in `nnfoundations.nn`, or a function that builds a module.
        init: "he" for weights with variance 2 / fan_in, which suits ReLU, or "xavier" for
            2 / (fan_in + fan_out). With "he" the last layer has variance 1 / fan_in, because no activation
            follows it. Biases are zero.

    Raises:
        ShapeError: sizes is not a list, has fewer than two sizes, or one is not a positive whole number.
        OptionError: the activation or the init is unknown.

    Source:
        He et al. 2015, eq. 10; Glorot and Bengio 2010, eq. 16.

    Example:
        >>> import torch
        >>> net = MLP([64, 32, 10])
        >>> net(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *more: int,
        activation: str | Callable[[], nn.Module] = "ReLU",
        init: Literal["he", "xavier"] = "he",
    ) -> None:
        super().__init__()
        given = ", ".join(map(repr, (sizes, *more)))
        sizes = [] if more else _counts(sizes)
        if len(sizes) < 2:
            raise ShapeError(
                f"MLP needs a list of at least two sizes, all positive whole numbers; got {given}. "
                "Give the features of the input, of each hidden layer and of the output: [784, 128, 10]."
            )
        self.sizes = tuple(sizes)
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), _build_activation(activation)]
        self.layers = nn.Sequential(*layers[:-1])
        self._initialize(init)

    def _initialize(self, init: str) -> None:
        maps = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        for layer in maps:
            if init == "he":
                nonlinearity: Literal["linear", "relu"] = "linear" if layer is maps[-1] else "relu"
                nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
            elif init == "xavier":
                nn.init.xavier_normal_(layer.weight)
            else:
                raise OptionError(f"MLP's init must be 'he' or 'xavier'; got {init!r}. Use 'he' for ReLU.")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output."""
        y: Tensor = self.layers(x)
        return y


def _counts(sizes: object) -> list[int]:
    """The sizes as a list; empty if they are not positive whole numbers."""
    counts = list(sizes) if isinstance(sizes, Iterable) else []
    return counts if all(isinstance(count, Integral) and int(count) >= 1 for count in counts) else []


def _build_activation(activation: str | Callable[[], nn.Module]) -> nn.Module:
    if callable(activation):
        return activation()
    kind = getattr(nn, str(activation), None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise OptionError(
            f"MLP's activation must name a module of nnfoundations.nn; got {activation!r}. "
            "Use 'ReLU' or 'Tanh', or pass the class."
        )
    built: nn.Module = kind()
    return built
