"""Classes by the names that people give them, and types in the words that people use."""

import re
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import isabstract
from pkgutil import iter_modules
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from nnfoundations.cli._settings import CommandError, Setting


def readable(hint: Any) -> str:
    """A type as a person says it.

    >>> readable(int | None), readable(Literal["min", "max"]), readable(list[float])
    ('an integer or null', '`min` or `max`', 'a list of numbers')
    """
    simple = {int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    plural = {int: "integers", float: "numbers", str: "texts"}
    if hint in simple:
        return simple[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(dict.fromkeys(f"`{value}`" for value in arguments))
    if origin in (Union, UnionType):
        texts = " or ".join(readable(argument) for argument in arguments).split(" or ")
        return " or ".join(dict.fromkeys(texts))
    if origin in (list, tuple, set) or (isinstance(origin, type) and issubclass(origin, Iterable)):
        inner = plural.get(arguments[0]) if arguments else None
        return f"a list of {inner}" if inner else "a list"
    classes = classes_of(hint)
    if classes:
        return f"a class: {' or '.join(cls.__name__ for cls in classes)}"
    return f"a {getattr(hint, '__name__', None) or str(hint).rpartition('.')[2]}"


def literals(hint: Any) -> list[Any]:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for argument in get_args(hint) for value in literals(argument)]


def classes_of(hint: Any) -> list[type]:
    """The classes that a type lets a user name: itself, of a list, or what a callable returns."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return [] if hint.__module__ in _NO_CLASSES else [hint]
    arguments = get_args(hint)
    if get_origin(hint) is Literal or not arguments:
        return []
    if get_origin(hint) in (Callable, _CALLABLE):
        arguments = arguments[-1:]
    return list(dict.fromkeys(cls for argument in arguments for cls in classes_of(argument)))


_NO_CLASSES = ("builtins", "datetime", "pathlib", "jsonargparse.typing", "torch")
_CALLABLE = get_origin(Callable[[int], int])


def skipped(hint: Any) -> int:
    """How many first arguments of the class the program passes itself: those of the callable."""
    if get_origin(hint) is _CALLABLE:
        first = get_args(hint)[0]
        return len(first) if isinstance(first, list) else 0
    return max((skipped(argument) for argument in get_args(hint)), default=0)


def looks_like_a_class(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w.]*", name) is not None


def resolve(name: str, bases: list[type], key: str, place: Setting) -> Any:
    """The class of this name.

    Raises:
        CommandError: there is none; with the nearest one.
    """
    where = "" if place.place.startswith("`--") else f"{place.place}: "
    module_name, _, last = name.rpartition(".")
    if not module_name:
        named = _by_name(bases)
        if name in named:
            found = sorted(set(map(_public_path, named[name])))
            if len(found) > 1:
                raise CommandError(
                    f"{where}`{key}`: several classes are named `{name}`.\nGive one by its full path: "
                    f"{', '.join(found)}."
                )
            return named[name][0]
        holding = [full for full in named if name.lower() in full.lower()]  # `mnist` in `MNISTDataModule`
        near = get_close_matches(name, named, n=1) or sorted(holding, key=len)
        kind = " or ".join(base.__name__ for base in bases)
        cure = f"Did you mean `{near[0]}`?" if near else "Give its full path: `package.module.Class`."
        raise CommandError(f"{where}`{key}`: no {kind} is named `{name}`.\n{cure}")
    try:
        module = import_module(module_name)
    except ImportError as error:
        if error.name and not f"{module_name}.".startswith(f"{error.name}."):
            raise CommandError(
                f"{where}`{key}`: importing `{module_name}` fails: {error}.\nInstall what it needs."
            ) from None
        near_module = _nearest_module(module_name)
        cure = f"Did you mean `{near_module}.{last}`?" if near_module else "Is its folder on PYTHONPATH?"
        raise CommandError(f"{where}`{key}`: there is no module `{module_name}`.\n{cure}") from None
    if not hasattr(module, last):
        near = get_close_matches(last, [entry for entry in dir(module) if not entry.startswith("_")], n=1)
        cure = f"Did you mean `{module_name}.{near[0]}`?" if near else "Look at the names in that module."
        raise CommandError(f"{where}`{key}`: `{module_name}` has no `{last}`.\n{cure}")
    found = getattr(module, last)
    if isinstance(found, type) and not issubclass(found, tuple(bases)):
        kind = " or ".join(base.__name__ for base in bases)
        raise CommandError(f"{where}`{key}`: {last} is no {kind}.\nName a class derived from {kind}.")
    return found


def _by_name(bases: list[type]) -> dict[str, list[type]]:
    """Classes derived from these, by short name."""
    found: dict[str, list[type]] = {}
    queue, seen = list(bases), set(bases)
    while queue:
        cls = queue.pop()
        if not isabstract(cls) and not cls.__name__.startswith("_"):
            found.setdefault(cls.__name__, []).append(cls)
        new: set[type] = set(cls.__subclasses__()) - seen
        queue += new
        seen |= new
    return found


def _public_path(cls: type) -> str:
    """The shortest path under which it is found: `nnfoundations.models.MLP`, `torch.optim.Adam`."""
    parts = cls.__module__.split(".")
    modules = [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
    shortest = next(name for name in modules if getattr(sys.modules.get(name), cls.__name__, None) is cls)
    return f"{shortest}.{cls.__name__}"


def _nearest_module(name: str) -> str | None:
    """The same path with the first part that does not exist replaced by its nearest sibling."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        parent = ".".join(parts[:i])
        try:
            if find_spec(".".join(parts[: i + 1])) is not None:
                continue
            siblings = [
                found.name for found in iter_modules(import_module(parent).__path__ if parent else None)
            ]
            near = get_close_matches(part, siblings, n=1, cutoff=0.75)
            return ".".join([*parts[:i], near[0], *parts[i + 1 :]]) if near else None
        except (ImportError, AttributeError):
            return None
    return None
