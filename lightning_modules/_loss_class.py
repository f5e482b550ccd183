"""Builds the loss of a LightningModule from its class."""

from collections.abc import Callable
from typing import Any

import torch

from nnfoundations.errors import OptionError

__all__ = ["make_loss"]


def make_loss(owner: str, loss: Callable[..., torch.nn.Module], **options: Any) -> torch.nn.Module:
    """Call the class of a loss.

    Args:
        owner: name of the LightningModule, for the message.
        loss: class of the loss.
        options: arguments of the loss.

    Returns:
        The loss.

    Raises:
        OptionError: `loss` is an instance instead of a class.
    """
    if isinstance(loss, torch.nn.Module):
        name = type(loss).__name__
        raise OptionError(
            f"{owner} takes the class of the loss; got an instance. Write loss={name}, or "
            f"loss=functools.partial({name}, ...) to set its options."
        )
    return loss(**options)
