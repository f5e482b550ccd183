"""Swap the layers of a model: torch's for ours, and back.

>>> import torch
>>> from nnfoundations import convert
>>> model = convert.to_foundations(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()))
>>> type(model[0]).__module__.split(".")[0]
'nnfoundations'

A layer of ours is a subclass that adds no state, so that a swap is one assignment to `__class__`: parameters,
buffers, hooks, names and the optimizer's references stay. Only exact types are swapped. Subclasses,
quantised layers and layers that torch.nn.utils.parametrize wraps have a class of their own and are left.
"""

import logging
from collections import Counter
from inspect import isclass
from typing import TypeVar

import torch
from torch.nn import Module

from nnfoundations import nn

__all__ = ["to_foundations", "to_torch"]

_log = logging.getLogger(__name__)
_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)
_Model = TypeVar("_Model", bound=Module)


def to_foundations(model: _Model) -> _Model:
    """Make every layer of torch.nn that we have ours, in place; logs what was changed and left.

    Returns: the same model. Attention, convolutions and whatever else we don't have stay torch's.
    """
    return _swapped(model, {theirs: ours for ours, theirs in _pairs().items()}, "to_foundations")


def to_torch(model: _Model) -> _Model:
    """Undo `to_foundations`: every layer of ours that torch.nn has becomes torch's, in place.

    Returns: the same model. A layer that torch lacks stays ours.
    """
    return _swapped(model, _pairs(), "to_torch")


def _pairs() -> dict[type[Module], type[Module]]:
    """Ours to torch's: every class that `nn` exports in place of torch's class of that name."""
    pairs: dict[type[Module], type[Module]] = {}
    for name, ours in vars(nn).items():
        theirs = getattr(torch.nn, name, None)
        if ours is theirs or not (isclass(ours) and isclass(theirs)):
            continue
        if issubclass(theirs, Module) and issubclass(ours, theirs):
            pairs[ours] = theirs
    return pairs


def _swapped(model: _Model, pairs: dict[type[Module], type[Module]], name: str) -> _Model:
    changed: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for module in model.modules():
        kind = type(module)
        if kind in pairs:
            module.__class__ = pairs[kind]
            changed[kind.__name__] += 1
        elif _is_layer(module):
            left[kind.__name__] += 1
    _log.info("%s: changed %s; left %s", name, _listed(changed), _listed(left))
    return model


def _is_layer(module: Module) -> bool:
    """Whether it computes by itself; what only holds layers is not worth a word."""
    if isinstance(module, _CONTAINERS):
        return False
    no_children = next(module.children(), None) is None
    return no_children or next(module.parameters(recurse=False), None) is not None


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
