"""Initial weights of a linear layer, by name and scale."""

from typing import Literal, get_args

from nnfoundations import nn
from nnfoundations.errors import OptionError

__all__ = ["Init", "check_init", "fill"]

Init = Literal["he", "xavier", "normal", "constant", "zeros"]


def check_init(owner: str, name: object) -> None:
    """Check the name of an initialization.

    Args:
        owner: name of the network, for the message.
        name: what was given.

    Raises:
        OptionError: the name is unknown.
    """
    known = get_args(Init)
    if name not in known:
        listed = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        raise OptionError(f"{owner}'s init must be {listed}; got {name!r}. Use 'he' for ReLU.")


def fill(layer: nn.Linear, init: Init, scale: float, *, is_last: bool) -> None:
    """Set the weights of a layer, and its biases to zero.

    Args:
        layer: changed in place.
        init: the distribution.
        scale: factor on the weights.
        is_last: whether no activation follows, so that "he" needs no gain.
    """
    if init == "he":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if is_last else "relu")
    elif init == "xavier":
        nn.init.xavier_normal_(layer.weight)
    elif init == "normal":
        nn.init.normal_(layer.weight)
    else:
        nn.init.constant_(layer.weight, 1.0 if init == "constant" else 0.0)
    layer.weight.data.mul_(scale)
    nn.init.zeros_(layer.bias)
