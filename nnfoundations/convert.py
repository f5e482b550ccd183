"""Converts the layers of a model: from torch's classes to ours, and back.

>>> import torch
>>> from nnfoundations import convert
>>> model = convert.to_foundations(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()))
>>> type(model[0]).__module__.split(".")[0]
'nnfoundations'

Our layers are subclasses of torch's that add no state. A conversion therefore only assigns `__class__`:
parameters, buffers, hooks, names and the references of the optimizer stay. Only exact types are converted.
Subclasses, quantized layers and layers changed by torch.nn.utils.parametrize have classes of their own and
stay as they are.
"""

import logging
from collections import Counter
from inspect import isclass
from typing import TypeVar

import torch
from torch.nn import Module

from nnfoundations import nn
from nnfoundations.errors import OptionError

__all__ = ["to_foundations", "to_torch"]

_log = logging.getLogger(__name__)
_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)
_Model = TypeVar("_Model", bound=Module)


def to_foundations(model: _Model) -> _Model:
    """Convert every torch.nn layer for which we have a class, in place, and log what changed.

    Attention, convolutions and other layers that we do not have stay torch's.

    Args:
        model: the model to change.

    Returns:
        The same model.

    Raises:
        OptionError: model is not a module.

    Example:
        >>> to_foundations(torch.nn.Linear(4, 2)).__class__ is nn.Linear
        True
    """
    return _convert(model, {torch_class: ours for ours, torch_class in _pairs().items()}, "to_foundations")


def to_torch(model: _Model) -> _Model:
    """Undo `to_foundations`: convert each of our layers to torch's class, in place, and log what changed.

    A layer that torch does not have stays ours.

    Args:
        model: the model to change.

    Returns:
        The same model.

    Raises:
        OptionError: model is not a module.
    """
    return _convert(model, _pairs(), "to_torch")


def _pairs() -> dict[type[Module], type[Module]]:
    """Map each of our classes to the torch class of the same name."""
    pairs: dict[type[Module], type[Module]] = {}
    for name, ours in vars(nn).items():
        torch_class = getattr(torch.nn, name, None)
        if ours is torch_class or not (isclass(ours) and isclass(torch_class)):
            continue
        if issubclass(torch_class, Module) and issubclass(ours, torch_class):
            pairs[ours] = torch_class
    return pairs


def _convert(model: _Model, pairs: dict[type[Module], type[Module]], name: str) -> _Model:
    given: object = model
    if not isinstance(given, Module):
        came = f"the class {given.__name__}" if isclass(given) else type(given).__name__
        raise OptionError(
            f"{name} needs a model, a torch.nn.Module; got {came}. Pass one, such as MLP([4, 2])."
        )
    changed: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for module in model.modules():
        kind = type(module)
        if kind in pairs:
            module.__class__ = pairs[kind]
            changed[kind.__name__] += 1
        elif _is_layer(module):
            left[kind.__name__] += 1
    _log.info("%s: changed %s; left %s", name, _format_counts(changed), _format_counts(left))
    return model


def _is_layer(module: Module) -> bool:
    """Whether the module computes something itself; containers are not mentioned in the log."""
    if isinstance(module, _CONTAINERS):
        return False
    no_children = next(module.children(), None) is None
    return no_children or next(module.parameters(recurse=False), None) is not None


def _format_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"


def __dir__() -> list[str]:
    return __all__
