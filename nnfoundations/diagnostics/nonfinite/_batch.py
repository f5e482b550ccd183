"""Finds all tensors in a batch or in the output of a module, whatever object holds them, and their paths."""

from collections import deque
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

__all__ = ["MOST", "attributes", "tensor_paths", "tensors"]

MOST = 20_000
"""Largest number of objects that are visited in one batch."""

_NO_TENSORS = (
    str, bytes, bytearray, bool, int, float, complex, type, type(None), FunctionType, MethodType, ModuleType,
    nn.Module,
)  # fmt: skip


def tensors(tree: Any) -> Iterator[Tensor]:
    """Yield all tensors in a nested structure, in order.

    Args:
        tree: a tensor, or mappings, sequences, named tuples, dataclasses and other objects with tensors in
            their attributes (also in slots), nested to any depth. An object that contains itself is visited
            once.

    Yields:
        Each tensor.
    """
    return (tensor for _, tensor in tensor_paths(tree))


def tensor_paths(tree: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor in a nested structure with its path, such as ``[0]['image']`` or ``.x``.

    Args:
        tree: as for `tensors`.

    Yields:
        Path and tensor. The path of a tensor by itself is empty.
    """
    stack: list[tuple[str, Any]] = [("", tree)]
    seen: dict[int, Any] = {}  # keeps the objects, so that no id is used twice
    while stack and len(seen) < MOST:
        path, value = stack.pop()
        if isinstance(value, Tensor):
            yield path, value
        elif not isinstance(value, _NO_TENSORS) and id(value) not in seen:
            seen[id(value)] = value
            stack.extend((path + step, child) for step, child in reversed(_children(value)))


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", child) for key, child in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{name}", child) for name, child in zip(value._fields, value, strict=True)]
    if isinstance(value, list | tuple | deque):
        return [(f"[{i}]", child) for i, child in enumerate(value)]
    return _keyed(value) or [(f".{name}", child) for name, child in attributes(value).items()]


def _keyed(value: Any) -> list[tuple[str, Any]]:
    """Return the entries of an object with keys that is not a mapping, such as the graphs of PyG."""
    try:
        keys = value.keys()
        return [(_step(value, key), value[key]) for key in keys]
    except Exception:  # another meaning of `keys`, or none: use the attributes
        return []


def _step(value: Any, key: Any) -> str:
    return f".{key}" if isinstance(key, str) and hasattr(value, key) else f"[{key!r}]"


def attributes(value: Any) -> dict[str, Any]:
    """Return the attributes that an object itself has, in ``__dict__`` and in slots.

    Args:
        value: any object.

    Returns:
        The values by name. Slots that are not set are left out.
    """
    found = dict(getattr(value, "__dict__", {}))
    for kind in reversed(type(value).__mro__):
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            private = slot.startswith("__") and not slot.endswith("__")
            name = f"_{kind.__name__.lstrip('_')}{slot}" if private else slot
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found
