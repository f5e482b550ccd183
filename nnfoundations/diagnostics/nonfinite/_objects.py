"""Tells which objects have a state, and whether that state can be saved and restored."""

import array
import datetime
import decimal
import enum
import fractions
import inspect
import io
import logging
import operator
import pathlib
import re
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from types import (
    ClassMethodDescriptorType,
    MappingProxyType,
    MethodDescriptorType,
    MethodWrapperType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch

from nnfoundations.diagnostics.nonfinite._code import EFFECTS, top_package

__all__ = [
    "IMMUTABLE",
    "LIGHTNING",
    "MISSING",
    "left_alone",
    "problem",
    "rebind",
    "rebind_attribute",
    "remove_new",
]

MISSING = object()
"""The value of a global variable that does not exist."""

IMMUTABLE: tuple[type, ...] = (
    type(None), bool, int, float, complex, str, bytes, range, slice, enum.Enum, np.generic, np.dtype,
    torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Stream, re.Pattern, decimal.Decimal,
    fractions.Fraction, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, pathlib.PurePath,
    inspect.Signature, weakref.ReferenceType, logging.Logger, type(Ellipsis), type(NotImplemented), property,
    MappingProxyType, MethodDescriptorType, MethodWrapperType, WrapperDescriptorType,
    ClassMethodDescriptorType, operator.itemgetter, operator.attrgetter, operator.methodcaller, BaseException,
)  # fmt: skip
LIGHTNING = ("lightning", "pytorch_lightning", "lightning_fabric")
_UNTOUCHED = (*LIGHTNING, "nnfoundations", "numpy")
"""Packages whose objects, unless they are modules, a second run leaves alone: the Trainer and diagnostics."""
_CONTAINERS: tuple[Any, ...] = (OrderedDict, dict, set, deque, list, bytearray, array.array)
"""The methods of these classes are used, because a subclass may have other ones, as `Counter.update`."""
_OF_TORCH = ("torch.nn", "torch.optim", "torch.distributions", "torch.amp", "torch.utils.data")
"""Parts of torch whose objects keep a state of their own."""


def contents(value: Any) -> Callable[[], None]:
    """Copy what a dict, list, set, deque or array contains, and return a function that restores it."""
    kind = next(kind for kind in _CONTAINERS if isinstance(value, kind))
    copy = list(value.items()) if isinstance(value, dict) else list(value)

    def restore() -> None:
        if isinstance(value, dict | set):
            kind.clear(value)
            kind.update(value, copy)
        elif isinstance(value, deque):
            value.clear()
            value.extend(copy)
        else:
            del value[:]
            value.extend(copy)

    return restore


def left_alone(kind: type) -> bool:
    if kind is object:
        return True
    if top_package(kind) == "torch":
        return not kind.__module__.startswith((*_OF_TORCH, "torch.utils.tensorboard"))
    return top_package(kind) in _UNTOUCHED


def problem(value: Any, kind: type) -> str:
    """Say why the state of an object cannot be restored; empty if it can."""
    if isinstance(value, io.IOBase):
        return "an open file"
    if hasattr(kind, "__next__"):
        return f"an iterator ({kind.__name__}), whose position cannot be restored"
    if top_package(kind) in EFFECTS or kind.__module__.startswith("torch.utils.tensorboard"):
        return f"a {kind.__name__}, whose effects cannot be undone"
    if kind is not SimpleNamespace and not _written_in_python(kind):
        return f"a {kind.__name__}, whose state cannot be copied"
    return ""


def _written_in_python(kind: type) -> bool:
    """Return whether all state of an object is in its attributes: no base is written in C."""
    heap = 1 << 9  # Py_TPFLAGS_HEAPTYPE
    bases = kind.__mro__[:-1]
    return all(b.__flags__ & heap and ("__slots__" in vars(b) or kind.__dictoffset__) for b in bases)


def remove_new(kind: type, before: frozenset[str]) -> None:
    for key in vars(kind).keys() - before:
        delattr(kind, key)


def rebind_attribute(kind: type, key: str, value: Any) -> None:
    if vars(kind).get(key, MISSING) is not value:
        setattr(kind, key, value)


def rebind(scope: dict[str, Any], key: str, value: Any) -> None:
    if value is MISSING:
        scope.pop(key, None)
    elif scope.get(key, MISSING) is not value:
        scope[key] = value
