"""Checks what a user passes to a LightningModule when it is built, and builds its loss."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch

from nnfoundations.errors import OptionError

__all__ = ["check_net", "check_optimizers", "make_class_loss", "make_loss"]

_COMPARES_NUMBERS = (torch.nn.MSELoss, torch.nn.L1Loss, torch.nn.SmoothL1Loss, torch.nn.HuberLoss)
"""Losses that broadcast class indices against logits, or fail in the first step. Ours derive from these."""


def check_net(owner: str, net: Any) -> None:
    """Check that a network is a module.

    Args:
        owner: name of the LightningModule, for the message.
        net: the network.

    Raises:
        OptionError: it is a class, or not a module.
    """
    if isinstance(net, torch.nn.Module):
        return
    if isinstance(net, type):
        raise OptionError(
            f"{owner} needs a network; got the class {net.__name__}. Call it: {owner}({net.__name__}(...))."
        )
    raise OptionError(
        f"{owner} needs a network, a torch.nn.Module; got {type(net).__name__}. "
        "Pass one, such as MLP([64, 32, 10])."
    )


def check_optimizers(owner: str, optimizer: Any, lr_scheduler: Any) -> None:
    """Check that optimizer and schedule are classes or functions that build them.

    Args:
        owner: name of the LightningModule, for the message.
        optimizer: is called with the parameters.
        lr_scheduler: is called with the optimizer; None for a constant rate.

    Raises:
        OptionError: one of them is an instance, a name, or something else that cannot be called.
    """
    if not callable(optimizer):
        raise OptionError(
            f"{owner} needs the class of the optimizer; got {_described(optimizer)}. Write "
            "optimizer=torch.optim.Adam, or functools.partial(torch.optim.Adam, lr=...) to set its options."
        )
    if lr_scheduler is not None and not callable(lr_scheduler):
        raise OptionError(
            f"{owner} needs the class of the lr_scheduler; got {_described(lr_scheduler)}. Write "
            "lr_scheduler=functools.partial(torch.optim.lr_scheduler.StepLR, step_size=...)."
        )


def _described(given: Any) -> str:
    return repr(given) if isinstance(given, str | int | float) else f"an instance of {type(given).__name__}"


def make_loss(owner: str, loss: Callable[..., torch.nn.Module]) -> torch.nn.Module:
    """Call the class of a loss.

    Args:
        owner: name of the LightningModule, for the message.
        loss: class of the loss.

    Returns:
        The loss.

    Raises:
        OptionError: `loss` is an instance, a name, or a function of predictions and targets.
    """
    if isinstance(loss, torch.nn.Module):
        name = type(loss).__name__
        raise OptionError(
            f"{owner} takes the class of the loss; got an instance. Write loss={name}, or "
            f"loss=functools.partial({name}, ...) to set its options."
        )
    if not callable(loss):
        raise OptionError(
            f"{owner} takes the class of the loss; got {_described(loss)}. Write loss=torch.nn.MSELoss, for "
            "example."
        )
    if (missing := _missing_argument(loss)) is not None:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise OptionError(
            f"{owner} calls loss without arguments; {name} needs {missing}. Pass a class, such as "
            "torch.nn.CrossEntropyLoss, or set the arguments with functools.partial."
        )
    return loss()


def make_class_loss(owner: str, loss: Callable[..., torch.nn.Module]) -> torch.nn.Module:
    """Call the class of a loss that compares logits with class indices.

    Args:
        owner: name of the LightningModule, for the message.
        loss: class of the loss.

    Returns:
        The loss.

    Raises:
        OptionError: as in `make_loss`, or the loss compares numbers.
    """
    made = make_loss(owner, loss)
    if isinstance(made, _COMPARES_NUMBERS):
        raise OptionError(
            f"{owner} needs a loss of class indices; got {type(made).__name__}, which compares numbers. "
            "Use CrossEntropyLoss or NLLLoss; Regressor takes a loss of numbers."
        )
    return made


def _missing_argument(function: Callable[..., Any]) -> str | None:
    """The first argument that has no default; None if there is none, or the signature cannot be read."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    named = (one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
    return next((one.name for one in named if one.default is one.empty), None)
