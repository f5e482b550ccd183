"""Multilayer perceptron."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, Literal

from torch import Tensor

from nnfoundations import nn
from nnfoundations.errors import OptionError, ShapeError
from nnfoundations.models._initial_weights import Init, check_init, fill

__all__ = ["MLP"]

Norm = Literal["none", "batch", "layer", "rms", "group"]

_GROUP = 16
"""Features in each group of a group norm: the best size in Wu and He 2018, table 3."""


class MLP(nn.Module):
    r"""Linear layers with an activation between them; optionally with normalization and dropout.

    .. math:: h_0 = \mathrm{flatten}(x), \quad
        h_l = \mathrm{dropout}(\phi(\mathrm{norm}(W_l h_{l-1} + b_l))), \quad y = W_L h_{L-1} + b_L

    Networks of the same sizes that are built from the same random seed have the same initial weights,
    whatever their activation, norm and dropout. For this reason the bias stays in front of a batch norm,
    which subtracts it.

    Shape:
        input: `(N, *)` with `sizes[0]` numbers per sample.
        output: `(N, sizes[-1])`.

    Args:
        sizes: features of the input, of each hidden layer and of the output, as one list.
        more: takes nothing; a call without the brackets, `MLP(64, 10)`, gets an error that says so.
        activation: name of a module in `nnfoundations.nn`, or a function that builds a module.
        init: "he" for weights with variance 2 / fan_in, which suits ReLU, or "xavier" for
            2 / (fan_in + fan_out). With "he" the last layer has variance 1 / fan_in, because no activation
            follows it. "normal" has standard deviation 1; "constant" makes all weights 1, and "zeros" makes
            them 0, with which hidden layers do not learn. A list gives one for each linear layer. Biases are
            zero.
        init_scale: factor on the initial weights: the standard deviation of "normal", the value of
            "constant". A list gives one for each linear layer.
        norm: normalization of each hidden layer in front of its activation: "batch", "layer", "rms",
            "group" (in groups of 16 features), or "none".
        dropout: probability of dropout after each hidden layer. A list gives one for the input of each
            linear layer, and so begins with that of the network's input: `[0.2, 0.5, 0.5]`.
        dropout_before_norm: place the dropout of a hidden layer between its linear layer and its norm
            instead of after its activation. With batch norm this changes the variance between training and
            evaluation.

    Raises:
        ShapeError: sizes is not a list, has fewer than two sizes, or one is not a positive whole number; a
            list of init, init_scale or dropout has another length; a group norm does not fit a hidden size.
        OptionError: the activation, the init or the norm is unknown, a dropout is not a probability, or
            dropout_before_norm has no norm.

    Source:
        He et al. 2015, eq. 10; Glorot and Bengio 2010, eq. 16; Srivastava et al. 2014; Li et al. 2019 on the
        place of dropout.

    Example:
        >>> import torch
        >>> net = MLP([64, 32, 10])
        >>> net(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
        >>> [type(layer).__name__ for layer in MLP([64, 32, 10], norm="batch", dropout=0.5).layers]
        ['Flatten', 'Linear', 'BatchNorm1d', 'ReLU', 'Dropout', 'Linear']
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *more: int,
        activation: str | Callable[[], nn.Module] = "ReLU",
        init: Init | Sequence[Init] = "he",
        init_scale: float | Sequence[float] = 1.0,
        norm: Norm = "none",
        dropout: float | Sequence[float] = 0.0,
        dropout_before_norm: bool = False,
    ) -> None:
        super().__init__()
        given = ", ".join(map(repr, (sizes, *more)))
        sizes = [] if more else _counts(sizes)
        if len(sizes) < 2:
            raise ShapeError(
                f"MLP needs a list of at least two sizes, all positive whole numbers; got {given}. "
                "Give the features of the input, of each hidden layer and of the output: [784, 128, 10]."
            )
        if dropout_before_norm and norm == "none":
            raise OptionError(
                "MLP's dropout_before_norm needs a norm; got norm='none'. Give norm='batch', or leave it out."
            )
        self.sizes = tuple(sizes)
        build_activation, build_norm = _activation(activation), _norm(norm)
        inits, scales = _per_layer("init", init, sizes), _per_layer("init_scale", init_scale, sizes)
        for name in inits:
            check_init("MLP", name)
        first, *hidden = _per_layer("dropout", dropout, sizes)
        layers: list[nn.Module] = [nn.Flatten(), *_build_dropout(first if _is_list(dropout) else 0.0)]
        for fan_in, fan_out, p in zip(sizes[:-2], sizes[1:-1], hidden, strict=True):
            normalized, drop = build_norm(fan_out), _build_dropout(p)
            layers += [nn.Linear(fan_in, fan_out), *(drop if dropout_before_norm else ()), *normalized]
            layers += [build_activation(), *(() if dropout_before_norm else drop)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
        maps = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        for layer, name, scale in zip(maps, inits, scales, strict=True):
            fill(layer, name, scale, is_last=layer is maps[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output."""
        y: Tensor = self.layers(x)
        return y


def _counts(sizes: object) -> list[int]:
    """The sizes as a list; empty if they are not positive whole numbers."""
    counts = list(sizes) if isinstance(sizes, Iterable) else []
    return counts if all(isinstance(count, Integral) and int(count) >= 1 for count in counts) else []


def _is_list(given: object) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str)


def _per_layer(name: str, given: Any, sizes: Sequence[int]) -> list[Any]:
    """One value for each linear layer."""
    layers = len(sizes) - 1
    if not _is_list(given):
        return [given] * layers
    if len(given) != layers:
        raise ShapeError(
            f"MLP's {name} needs a value for each of its {layers} linear layers; got {list(given)}. "
            "Give as many values, or one for all."
        )
    return list(given)


def _build_dropout(p: Any) -> list[nn.Module]:
    if not isinstance(p, int | float) or not 0 <= p < 1:
        raise OptionError(
            f"MLP's dropout must be at least 0 and less than 1; got {p!r}. 0.1 to 0.5 is usual."
        )
    return [nn.Dropout(float(p))] if p else []


def _norm(norm: str) -> Callable[[int], list[nn.Module]]:
    build: dict[str, Callable[[int], list[nn.Module]]] = {
        "none": lambda features: [],
        "batch": lambda features: [nn.BatchNorm1d(features)],
        "layer": lambda features: [nn.LayerNorm(features)],
        "rms": lambda features: [nn.RMSNorm(features)],
        "group": lambda features: [_group_norm(features)],
    }
    if norm not in build:
        raise OptionError(
            f"MLP's norm must be one of {', '.join(build)}; got {norm!r}. Use 'batch' or 'layer'."
        )
    return build[norm]


def _group_norm(features: int) -> nn.Module:
    if features % _GROUP:
        raise ShapeError(
            f"MLP's group norm has groups of {_GROUP} features; got a hidden layer of {features}. "
            f"Use multiples of {_GROUP}, or norm='layer', which is one group."
        )
    return nn.GroupNorm(features // _GROUP, features)


def _activation(activation: str | Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    if callable(activation):
        return activation
    kind = getattr(nn, str(activation), None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise OptionError(
            f"MLP's activation must name a module of nnfoundations.nn; got {activation!r}. "
            "Use 'ReLU' or 'Tanh', or pass the class."
        )
    return kind
