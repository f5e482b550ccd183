"""Metaclass that makes `isinstance(torch.nn.Linear(...), nn.Linear)` true.

A model often holds both kinds of layers: an encoder that torch builds keeps torch's own layers. Code that
initializes or freezes every layer for which `isinstance(layer, nn.BatchNorm2d)` holds must find both kinds.
`type(layer)` tells which of the two computes.
"""

from abc import ABCMeta
from typing import Any

import torch

__all__ = ["DropIn"]


class DropIn(ABCMeta):  # derived from ABCMeta, so that a subclass may be abstract too
    """Metaclass that accepts instances of the torch.nn base class with the same name.

    >>> from nnfoundations import nn
    >>> isinstance(torch.nn.Linear(2, 2), nn.Linear)
    True
    """

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        torch_class = getattr(torch.nn, name, None)
        cls._torch_class: type | None = torch_class if torch_class in bases else None

    def __subclasscheck__(cls, subclass: type) -> bool:
        """Decide `issubclass`; `isinstance` calls it too."""
        if cls._torch_class is None:
            return super().__subclasscheck__(subclass)
        return issubclass(subclass, cls._torch_class)
