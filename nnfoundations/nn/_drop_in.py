"""The class of our classes: where someone asks, a layer of torch's counts as one of ours.

A model holds both kinds: the layers that torch builds itself, of an encoder or a backbone, stay torch's. Code
that initialises or freezes whatever `isinstance(layer, nn.BatchNorm2d)` finds means them all, and would pass
over half of them without a word. Which of the two computes a layer, `type(layer)` says.
"""

from abc import ABCMeta
from typing import Any

import torch

__all__ = ["DropIn"]


class DropIn(ABCMeta):  # of ABCMeta, so that a subclass may be abstract too
    """Its class takes the instances of the class of torch.nn that it has as a base and shares the name with.

    >>> from nnfoundations import nn
    >>> isinstance(torch.nn.Linear(2, 2), nn.Linear)
    True
    """

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        theirs = getattr(torch.nn, name, None)
        cls._theirs: type | None = theirs if theirs in bases else None

    def __subclasscheck__(cls, subclass: type) -> bool:
        """Asked by `isinstance` too."""
        return (
            super().__subclasscheck__(subclass) if cls._theirs is None else issubclass(subclass, cls._theirs)
        )
