"""Find a class by the name a user gives, and describe types in plain words."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import isabstract, signature
from pkgutil import iter_modules
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import _typehints

from nnfoundations.cli.config._settings import CommandError, Setting

__all__ = [
    "ambiguous_names_mean_torch",
    "classes_of",
    "literals",
    "looks_like_a_class",
    "readable",
    "resolve",
    "skipped",
]


def readable(hint: Any) -> str:
    """A type in plain words.

    >>> readable(int | None), readable(Literal["min", "max"]), readable(list[float])
    ('an integer or null', '`min` or `max`', 'a list of numbers')
    """
    simple = {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        str: "a string",
        type(None): "null",
    }
    plural = {int: "integers", float: "numbers", str: "strings"}
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
        return f"a subclass of {' or '.join(cls.__name__ for cls in classes)}"
    return f"a {getattr(hint, '__name__', None) or str(hint).rpartition('.')[2]}"


def literals(hint: Any) -> list[Any]:
    """The values of every `Literal` in a type."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for argument in get_args(hint) for value in literals(argument)]


def classes_of(hint: Any) -> list[type]:
    """The base classes a user may name for this type: itself, its items' or its return type's."""
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
    """Count the leading arguments that the program passes itself, such as the parameters of an optimizer."""
    if get_origin(hint) is _CALLABLE:
        first = get_args(hint)[0]
        return len(first) if isinstance(first, list) else 0
    return max((skipped(argument) for argument in get_args(hint)), default=0)


def looks_like_a_class(name: str) -> bool:
    """Whether a text has the form of a class name or of a dotted path."""
    return re.fullmatch(r"[A-Za-z_][\w.]*", name) is not None


def resolve(name: str, bases: list[type], key: str, place: Setting, options: Iterable[str] = ()) -> Any:
    """The class with this name.

    Args:
        name: short, or a dotted path.
        bases: it must derive from one of them.
        key: the option it is given for, for messages.
        place: where it is given, for messages.
        options: those given for it, which decide between classes of the same name.

    Raises:
        CommandError: no class has this name; the text suggests the nearest one.
    """
    where = place.prefix
    module_name, _, last = name.rpartition(".")
    if not module_name:
        named = _by_name(bases)
        if name in named:
            found = _preferred(named[name], options)
            if found is None:
                paths = sorted(set(map(_public_path, named[name])))
                raise CommandError(
                    f"{where}`{key}`: several classes are named `{name}`.\nGive the full path of one: "
                    f"{', '.join(paths)}."
                )
            return found
        holding = [full for full in named if name.lower() in full.lower()]  # `mnist` in `MNISTDataModule`
        near = get_close_matches(name, named, n=1) or sorted(holding, key=len)
        kind = " or ".join(base.__name__ for base in bases)
        fix = f"Did you mean `{near[0]}`?" if near else "Give the full path: `package.module.Class`."
        raise CommandError(f"{where}`{key}`: there is no {kind} named `{name}`.\n{fix}")
    module = _import(module_name, last, f"{where}`{key}`")
    if not hasattr(module, last):
        near = get_close_matches(last, [entry for entry in dir(module) if not entry.startswith("_")], n=1)
        fix = f"Did you mean `{module_name}.{near[0]}`?" if near else "Check the class names in that module."
        raise CommandError(f"{where}`{key}`: `{module_name}` has no `{last}`.\n{fix}")
    found = getattr(module, last)
    if isinstance(found, type) and not issubclass(found, tuple(bases)):
        kind = " or ".join(base.__name__ for base in bases)
        raise CommandError(f"{where}`{key}`: {last} is not a {kind}.\nGive a subclass of {kind}.")
    return found


_INSTALL = "Put it into the working folder, or install it."


def _import(name: str, last: str, where: str) -> ModuleType:
    """Import the module of a class that a user named."""
    try:
        return import_module(name)
    except ImportError as error:
        if error.name and not f"{name}.".startswith(f"{error.name}."):
            raise CommandError(
                f"{where}: `{name}` cannot be imported: {error}.\n"
                "Install the missing package, or correct the import."
            ) from None
        near = _nearest_module(name)
        fix = f"Did you mean `{near}.{last}`?" if near else _INSTALL
        raise CommandError(f"{where}: there is no module `{name}`.\n{fix}") from None
    except Exception as error:  # a user's module can raise anything while it is imported
        raise CommandError(
            f"{where}: `{name}` cannot be imported: {type(error).__name__}: {error}.\n"
            f"`python -c 'import {name}'` shows where."
        ) from None


@contextmanager
def ambiguous_names_mean_torch(settings: Setting) -> Iterator[None]:
    """Let the parser resolve a short name as `resolve` does: `Adam` is torch's, not an error.

    jsonargparse has no setting for this. In a release without this function, such a name is an error.

    Args:
        settings: what is parsed.
    """
    original = getattr(_typehints, "resolve_class_path_by_name", None)
    if original is None:
        yield
        return

    def with_preference(cls: Any, name: str) -> Any:
        bases = list(cls) if isinstance(cls, tuple) else classes_of(cls)
        if "." not in name and all(isinstance(base, type) for base in bases):
            classes = _by_name(bases).get(name, [])
            options = _options_given_for(name, settings)
            if len(classes) > 1 and (found := _preferred(classes, options)) is not None:
                return _public_path(found)
        return original(cls, name)

    _typehints.resolve_class_path_by_name = with_preference
    try:
        yield
    finally:
        _typehints.resolve_class_path_by_name = original


def _options_given_for(name: str, settings: Setting) -> set[str]:
    """The options that are given anywhere for the class with this short name."""
    given = set(settings.children) if settings.class_path == name else set()
    return given.union(*(_options_given_for(name, child) for child in settings.children.values()))


def _preferred(classes: list[type], options: Iterable[str] = ()) -> type | None:
    """The class that a short name means: torch's with the shortest path, else ours, else the only one.

    Classes that do not take all the options count only if none does: with `monitor`, `ReduceLROnPlateau` is
    Lightning's.
    """
    wanted = set(options) - {"class_path"}
    classes = [cls for cls in classes if wanted <= _parameters(cls)] or classes
    by_path = {_public_path(cls): cls for cls in classes}
    for package in ("torch.", "nnfoundations."):
        if paths := [path for path in by_path if path.startswith(package)]:
            return by_path[min(paths, key=lambda path: (path.count("."), path))]
    return classes[0] if len(by_path) == 1 else None


def _parameters(cls: type) -> set[str]:
    """The names of a constructor's parameters, those of its base classes included."""
    names: set[str] = set()
    for base in cls.__mro__:
        with suppress(TypeError, ValueError):  # the signature cannot be read
            names.update(signature(base).parameters)
    return names


def _by_name(bases: list[type]) -> dict[str, list[type]]:
    """The concrete subclasses of these, by short name."""
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
    """Return the shortest path to import a class by: `nnfoundations.MLP`, `torch.optim.Adam`."""
    parts = cls.__module__.split(".")
    modules = [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
    shortest = next(name for name in modules if getattr(sys.modules.get(name), cls.__name__, None) is cls)
    return f"{shortest}.{cls.__name__}"


def _nearest_module(name: str) -> str | None:
    """The path with its first wrong part replaced by the nearest module name."""
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
