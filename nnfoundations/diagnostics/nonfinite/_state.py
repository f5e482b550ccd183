"""Saves the Python and tensor state that a training step can reach, and restores it in place."""

import array
import contextlib
import functools
import random
import sys
from collections import deque
from collections.abc import Callable
from types import BuiltinMethodType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnfoundations.diagnostics.nonfinite._batch import attributes
from nnfoundations.diagnostics.nonfinite._code import EFFECTS, is_library, members, names_in, top_package
from nnfoundations.diagnostics.nonfinite._objects import (
    IMMUTABLE,
    LIGHTNING,
    MISSING,
    contents,
    left_alone,
    problem,
    rebind,
    rebind_attribute,
    remove_new,
)
from nnfoundations.diagnostics.nonfinite._tensor import TensorState

__all__ = ["MOST_BYTES", "MOST_OBJECTS", "Snapshot", "UnsafeError"]

MOST_OBJECTS = 500_000
"""Largest number of containers and objects that are saved."""

MOST_BYTES = 2**32
"""Largest size of the tensors and arrays that are copied."""


class UnsafeError(Exception):
    """The state of a training step cannot be saved, so the step is not run a second time."""


class Snapshot:
    """The state that is reachable from some objects, found without running any code of the user.

    Args:
        used: names of the methods that will run, such as ``"training_step"``.
    """

    def __init__(self, *used: str) -> None:
        self.tensors: dict[str, TensorState] = {}
        self._restores: list[Callable[[], object]] = []
        self._seen: dict[int, Any] = {}  # keeps the objects, so that no id is used twice
        self._waiting: list[tuple[str, Any]] = []
        self._used = set(used)
        self._unused: dict[str, list[Callable[[], None]]] = {}  # what to save once a name is used
        self._classes: set[type] = set()
        self._bytes = 0

    def add(self, name: str, value: Any) -> None:
        """Save an object and everything that it holds.

        Args:
            name: how to call it in a message.
            value: the object.

        Raises:
            UnsafeError: something in it has a state that cannot be saved.
        """
        self._waiting.append((name, value))
        while self._waiting:
            name, value = self._waiting.pop()
            if isinstance(value, IMMUTABLE) or id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            if len(self._seen) > MOST_OBJECTS:
                raise UnsafeError("its state holds too many objects to copy")
            save = next((save for kinds, save in _KINDS if isinstance(value, kinds)), Snapshot._save_object)
            save(self, name, value)

    def restore(self) -> None:
        """Give all saved objects the state that they had. One that fails does not keep others from it."""
        with contextlib.ExitStack() as stack:
            for restore in self._restores:
                stack.callback(restore)

    # -- numbers -------------------------------------------------------------------------------------------

    def _save_tensor(self, name: str, value: Tensor) -> None:
        self._count(value.numel() * value.element_size())
        self.tensors[name] = state = TensorState(value)
        self._restores.append(state.restore)
        self._waiting.append((name, value.__dict__))

    def _save_array(self, name: str, value: np.ndarray[Any, Any]) -> None:
        self._count(value.nbytes)
        if value.dtype.hasobject:
            self._waiting.append((name, value.reshape(-1).tolist()))
        if value.flags.writeable:
            self._restores.append(functools.partial(np.copyto, value, value.copy()))

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > MOST_BYTES:
            raise UnsafeError("its tensors are too large to copy")

    def _save_torch_generator(self, name: str, value: torch.Generator) -> None:
        self._restores.append(functools.partial(value.set_state, value.get_state()))

    def _save_python_generator(self, name: str, value: random.Random) -> None:
        self._restores.append(functools.partial(value.setstate, value.getstate()))

    def _save_numpy_generator(self, name: str, value: Any) -> None:
        if isinstance(value, np.random.RandomState):
            self._restores.append(functools.partial(value.set_state, value.get_state()))
        else:
            bits = value.bit_generator if isinstance(value, np.random.Generator) else value
            self._restores.append(functools.partial(setattr, bits, "state", bits.state))

    # -- containers and objects ----------------------------------------------------------------------------

    def _save_mapping(self, name: str, value: dict[Any, Any]) -> None:
        self._restores.append(contents(value))
        self._waiting += [(f"{name}[{key!r}]", child) for key, child in value.items()]
        self._save_attributes(name, value)

    def _save_sequence(self, name: str, value: list[Any] | deque[Any]) -> None:
        self._restores.append(contents(value))
        self._waiting += [(f"{name}[{i}]", child) for i, child in enumerate(value)]
        self._save_attributes(name, value)

    def _save_values(self, name: str, value: Any) -> None:
        self._restores.append(contents(value))
        self._save_attributes(name, value)

    def _save_tuple(self, name: str, value: tuple[Any, ...]) -> None:
        self._waiting += [(f"{name}[{i}]", child) for i, child in enumerate(value)]

    def _save_module(self, name: str, value: nn.Module) -> None:
        if isinstance(value, torch.jit.ScriptModule):
            raise UnsafeError("a ScriptModule keeps a state that cannot be copied")
        self._save_attributes(name, value)
        self._add_class(type(value))

    def _save_object(self, name: str, value: Any) -> None:
        kind = type(value)
        streams = (sys.stdout, sys.stderr, sys.stdin)
        if any(value is stream for stream in streams):
            return
        if left_alone(kind):
            self._save_used_attributes(name, value, kind)
            return
        if reason := problem(value, kind):
            raise UnsafeError(f"{name} is {reason}")
        self._save_attributes(name, value)
        self._add_class(kind)

    def _save_used_attributes(self, name: str, value: Any, kind: type) -> None:
        """Save the attributes of a Trainer that a step names, such as its data module."""
        if top_package(kind) in LIGHTNING:
            for key in vars(value):
                self._when_used(key, functools.partial(self._save_item, vars(value), key, f"{name}.{key}"))

    def _save_item(self, scope: dict[str, Any], key: str, name: str) -> None:
        value = scope.get(key, MISSING)
        self._restores.append(functools.partial(rebind, scope, key, value))
        if value is not MISSING:
            self._waiting.append((name, value))

    def _save_attributes(self, name: str, value: Any) -> None:
        found = attributes(value)
        own = getattr(value, "__dict__", {})
        copy = dict(own)
        slots = {key: child for key, child in found.items() if key not in copy}

        def restore() -> None:
            own.clear()
            own.update(copy)
            for key in attributes(value).keys() - found.keys():
                object.__delattr__(value, key)
            for key, child in slots.items():
                object.__setattr__(value, key, child)

        if found or own is getattr(value, "__dict__", None):
            self._restores.append(restore)
        self._waiting += [(f"{name}.{key}" if name else key, child) for key, child in found.items()]

    # -- code ----------------------------------------------------------------------------------------------

    def _save_type(self, name: str, value: type) -> None:
        if top_package(value) in EFFECTS:
            raise UnsafeError(f"it uses {value.__module__}")
        self._add_class(value)
        inits = (vars(base).get("__init__") for base in value.__mro__)
        self._waiting += [(name, init) for init in inits if isinstance(init, FunctionType)]

    def _add_class(self, kind: type) -> None:
        """Save what its methods use, as soon as their names are used."""
        for base in set(kind.__mro__) - self._classes:
            self._classes.add(base)
            if is_library(base):
                continue
            self._restores.append(functools.partial(remove_new, base, frozenset(vars(base))))
            for key, child in members(base):
                self._when_used(key, functools.partial(self._save_member, base, key, child))

    def _save_member(self, kind: type, key: str, value: Any) -> None:
        if not isinstance(value, FunctionType):
            self._restores.append(functools.partial(rebind_attribute, kind, key, value))
        self._waiting.append((f"{kind.__name__}.{key}", value))

    def _save_function(self, name: str, value: FunctionType) -> None:
        if top_package(value) in EFFECTS:
            raise UnsafeError(f"it uses {value.__module__}")
        if is_library(value):
            return
        for each, is_global in set(names_in(value.__code__)):
            self._use(each)
            if is_global:
                self._save_item(value.__globals__, each, f"the global variable {each}")
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        self._waiting += [(key, cell) for key, cell in cells if key != "__class__"]  # that is for super()
        self._waiting += [(name, value.__defaults__), (name, value.__kwdefaults__)]
        self._save_attributes(name, value)

    def _save_python_module(self, name: str, value: ModuleType) -> None:
        if value.__name__.partition(".")[0] in EFFECTS:
            raise UnsafeError(f"it uses {value.__name__}")
        if not is_library(value):
            for key in vars(value):
                save = functools.partial(self._save_item, vars(value), key, f"{value.__name__}.{key}")
                self._when_used(key, save)

    def _when_used(self, key: str, save: Callable[[], None]) -> None:
        special = key.startswith("__") and key.endswith("__") and key != "__init__"
        if special or key in self._used:
            save()
        else:
            self._unused.setdefault(key, []).append(save)

    def _use(self, key: str) -> None:
        self._used.add(key)
        for save in self._unused.pop(key, ()):
            save()

    def _save_cell(self, name: str, value: CellType) -> None:
        try:
            content = value.cell_contents
        except ValueError:  # its variable is not set yet
            return
        self._restores.append(functools.partial(setattr, value, "cell_contents", content))
        self._waiting.append((name, content))

    def _save_method(self, name: str, value: Any) -> None:
        self._waiting += [(name, value.__self__), (name, getattr(value, "__func__", None))]

    def _save_partial(self, name: str, value: Any) -> None:
        self._waiting += [(name, value.func), (name, value.args), (name, value.keywords)]

    def _save_cached(self, name: str, value: Any) -> None:
        self._waiting.append((name, value.__wrapped__))


_KINDS: tuple[tuple[Any, Callable[[Snapshot, str, Any], None]], ...] = (
    (nn.Module, Snapshot._save_module),
    (Tensor, Snapshot._save_tensor),
    (np.ndarray, Snapshot._save_array),
    (torch.Generator, Snapshot._save_torch_generator),
    (random.Random, Snapshot._save_python_generator),
    (
        (np.random.Generator, np.random.RandomState, np.random.BitGenerator),
        Snapshot._save_numpy_generator,
    ),
    (dict, Snapshot._save_mapping),
    ((list, deque), Snapshot._save_sequence),
    ((set, bytearray, array.array), Snapshot._save_values),
    ((tuple, frozenset), Snapshot._save_tuple),
    (type, Snapshot._save_type),
    (ModuleType, Snapshot._save_python_module),
    (FunctionType, Snapshot._save_function),
    (CellType, Snapshot._save_cell),
    ((MethodType, BuiltinMethodType), Snapshot._save_method),
    (functools.partial, Snapshot._save_partial),
    (functools._lru_cache_wrapper, Snapshot._save_cached),
)
