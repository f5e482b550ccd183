"""Where is the mistake in a command that the parser refused? In two lines, with the nearest match.

The parser tries every reading of a value and reports all of them. Here the same settings are walked once,
from the top: keys against the parser, classes against what can be imported, options against their class.
"""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import isabstract
from pathlib import Path
from pkgutil import iter_modules
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

from nnfoundations.cli._settings import CommandError, Setting


def check_keys(parser: ArgumentParser, settings: Setting) -> None:
    """Refuse keys that the parser does not have, abbreviated ones among them.

    Raises:
        CommandError: with the nearest key.
    """
    types = _types(parser)
    within = dict.fromkeys(
        name
        for key, hint in types.items()
        if (found := _find(settings, key))
        for name in _option_keys(key, found, hint)
    )
    for key, setting in settings.children.items():
        _check_key(key, setting, types, within)


def explain(parser: ArgumentParser, settings: Setting, message: str) -> CommandError:
    """The mistake that made the parser fail, as an error of two lines."""
    types = _types(parser)
    try:
        check_keys(parser, settings)
        for key, hint in types.items():
            setting = _find(settings, key)
            if setting is not None:
                _check_value(key, setting, hint)
    except CommandError as mistake:
        return mistake
    named = _key_of(message)
    key = named or ""
    setting = _find(settings, key) if key else None
    if key in types and setting is not None and not _classes(types[key]):
        return _bad_value(key, setting, types[key])
    if "required" in message and "model" not in settings.children:
        return CommandError(
            "nothing says which model.\n"
            "Give `--config NAME` (`nnfoundations configs` lists them), or `--model CLASS`."
        )
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    return CommandError(
        f"{lines[0][:300]}.\n--verbose shows all that the parser says; --help lists the options."
    )


def _types(parser: ArgumentParser) -> dict[str, Any]:
    """Every full key with the type of its value."""
    return {
        action.dest: getattr(action, "_typehint", None)
        for action in parser._actions
        if action.option_strings
        and action.dest not in ("help", "config")
        and not action.dest.endswith(".help")
    }


def _find(settings: Setting, key: str) -> Setting | None:
    found: Setting | None = settings
    for part in key.split("."):
        found = found.children.get(part) if found is not None else None
    return found


def _option_keys(key: str, setting: Setting, hint: Any) -> list[str]:
    """The full keys of all options of the classes that are named here."""
    try:
        target = _resolve(setting.class_path or "", _classes(hint), key, setting)
        _, types = _options_of(target, _skipped(hint))
    except (CommandError, ValueError, TypeError):
        return []
    deeper = [_option_keys(f"{key}.{name}", setting.children[name], types.get(name))
              for name in types if name in setting.children]  # fmt: skip
    return [*(f"{key}.{name}" for name in types), *(name for names in deeper for name in names)]


def _options_of(target: Any, skip: int) -> tuple[ArgumentParser, dict[str, Any]]:
    """A parser for the options of a class under the key `of`, and each with its type."""
    parser = ArgumentParser(exit_on_error=False)
    names = parser.add_class_arguments(
        target, "of", skip={skip} if skip else None, fail_untyped=False, sub_configs=True
    )
    types = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
    return parser, {name.removeprefix("of."): types.get(name) for name in names}


def _check_key(key: str, setting: Setting, types: dict[str, Any], within: Iterable[str]) -> None:
    if not _is_group(key, types):
        if key in types:
            return
        full, deepest = key, setting
        while deepest.children:
            name, deepest = next(iter(deepest.children.items()))
            full += f".{name}"
        near = _nearest_key(full, [*types, *within]) or _nearest_key(key, [*types, *within])
        raise _unknown(f"`{key}`", setting, near)
    if (
        setting.value is not None and not Path(str(setting.value)).is_file()
    ):  # a file with the group's options
        raise CommandError(
            f"{setting.place}: `{key}` is a group of options; got `{setting.value}`.\n"
            f"Set one of its options, such as `{next(name for name in types if name.startswith(key + '.'))}`."
        )
    for name, child in setting.children.items():
        _check_key(f"{key}.{name}", child, types, within)


def _is_group(key: str, types: dict[str, Any]) -> bool:
    return any(name.startswith(f"{key}.") for name in types)


def _nearest_key(key: str, types: Iterable[str]) -> str | None:
    names = list(types)
    last = key.rpartition(".")[2].replace("-", "_")
    same = [name for name in names if name.rpartition(".")[2] == last]
    within = [name for name in names if name.rpartition(".")[0] == key.rpartition(".")[0]]
    groups = sorted({name.partition(".")[0] for name in names if "." in name})
    for candidates in (within, groups if "." not in key else [], names):
        same = same or get_close_matches(key, candidates, n=1, cutoff=0.7)
    if not same:
        lasts = {name.rpartition(".")[2]: name for name in names}
        same = [lasts[near] for near in get_close_matches(last, lasts, n=1, cutoff=0.75)]
    if not same and "." in key:
        head, _, tail = key.partition(".")
        same = [f"{near}.{tail}" for near in get_close_matches(head, [*groups, *names], n=1)]
    return same[0] if same else None


def _unknown(what: str, setting: Setting, near: str | None, known: Iterable[str] = ()) -> CommandError:
    flag = setting.place.startswith("`--")
    place = "" if flag else f"{setting.place}: "
    what = setting.place if flag and "option of" not in what else what
    listing = ", ".join(known)
    if near:
        cure = f"Did you mean `{'--' if flag and 'option of' not in what else ''}{near}`?"
    else:
        cure = f"There are {listing}." if listing else "`nnfoundations fit --help` lists every option."
    return CommandError(
        f"{place}{what} is not known.\n{cure}" if "option of" not in what else f"{place}{what}.\n{cure}"
    )


def _check_value(key: str, setting: Setting, hint: Any) -> None:
    """A value by itself, or the class it names and that class's options."""
    classes = _classes(hint)
    if not classes:
        return
    if setting.is_list:
        for child in setting.children.values():
            _check_value(key, child, hint)
        return
    name = setting.class_path
    if name is None:
        if setting.children:
            first = next(iter(setting.children))
            raise CommandError(
                f"{setting.place}: `{key}` has the option `{first}`, but no class.\nGive `{key}.class_path`."
            )
        return
    if "class_path" not in setting.children and not _looks_like_a_class(name):
        return
    place = setting.children.get("class_path", setting)
    target = _resolve(name, classes, key, place)
    options = {name: child for name, child in setting.children.items() if name != "class_path"}
    _check_options(key, target, options, _skipped(hint), setting)


def _check_options(key: str, target: Any, options: dict[str, Setting], skip: int, setting: Setting) -> None:
    try:
        parser, types = _options_of(target, skip)
    except (ValueError, TypeError):  # a signature that cannot be read: the parser's own words must do
        return
    names = list(types)
    for name, option in options.items():
        if name not in names:
            near = get_close_matches(name, names, n=1, cutoff=0.5)
            what = f"`{name}` is no option of {target.__name__}"
            raise _unknown(what, option, near[0] if near else None, names)
        _check_value(f"{key}.{name}", option, types.get(name))
    try:
        parser.parse_object({"of": {name: option.plain() for name, option in options.items()}})
    except (ArgumentError, TypeError, ValueError) as error:
        text = str(error)
        name = (_key_of(text) or "").removeprefix("of.").partition(".")[0]
        missing = "required" in text.splitlines()[0]
        if name in options and not missing:
            raise _bad_value(f"{key}.{name}", options[name], types.get(name)) from None
        if name in names and missing:
            raise CommandError(
                f"{setting.place}: {target.__name__} needs `{name}`.\n"
                f"Give `--{key}.{name}`, or `{name}:` under its `init_args:`."
            ) from None


def _key_of(message: str) -> str | None:
    found = re.search(r"""[Kk]ey ["'`]([\w.]+)["'`]|are required: ([\w.]+)""", message)
    return next((group for group in found.groups() if group), None) if found else None


def _bad_value(key: str, setting: Setting, hint: Any) -> CommandError:
    place = "" if setting.place.startswith("`--") else f"{setting.place}: "
    given = setting.plain()
    allowed = readable(hint)
    literals = [str(value) for value in _literals(hint)]
    near = get_close_matches(str(given), literals, n=1)
    cure = f" Did you mean `{near[0]}`?" if near else ""
    return CommandError(f"{place}`{key}` cannot be `{given}`.\nIt takes {allowed}.{cure}")


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
    classes = _classes(hint)
    if classes:
        return f"a class: {' or '.join(cls.__name__ for cls in classes)}"
    return f"a {getattr(hint, '__name__', None) or str(hint).rpartition('.')[2]}"


def _literals(hint: Any) -> list[Any]:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for argument in get_args(hint) for value in _literals(argument)]


def _classes(hint: Any) -> list[type]:
    """The classes that a type lets a user name: itself, of a list, or what a callable returns."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return [] if hint.__module__ in _NO_CLASSES else [hint]
    arguments = get_args(hint)
    if get_origin(hint) is Literal or not arguments:
        return []
    if get_origin(hint) in (Callable, _CALLABLE):
        arguments = arguments[-1:]
    return list(dict.fromkeys(cls for argument in arguments for cls in _classes(argument)))


_NO_CLASSES = ("builtins", "datetime", "pathlib", "jsonargparse.typing", "torch")
_CALLABLE = get_origin(Callable[[int], int])


def _skipped(hint: Any) -> int:
    """How many first arguments of the class the program passes itself: those of the callable."""
    if get_origin(hint) is _CALLABLE:
        first = get_args(hint)[0]
        return len(first) if isinstance(first, list) else 0
    return max((_skipped(argument) for argument in get_args(hint)), default=0)


def _looks_like_a_class(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w.]*", name) is not None


def _resolve(name: str, bases: list[type], key: str, place: Setting) -> Any:
    """The class of this name.

    Raises:
        CommandError: there is none; with the nearest one.
    """
    where = "" if place.place.startswith("`--") else f"{place.place}: "
    module_name, _, last = name.rpartition(".")
    if not module_name:
        named = _by_name(bases)
        if name in named:
            found = list(dict.fromkeys(map(_public_path, named[name])))
            if len(found) > 1:
                raise CommandError(
                    f"{where}`{key}`: several classes are named `{name}`.\nGive one by its full path: "
                    f"{', '.join(found)}."
                )
            return named[name][0]
        near = get_close_matches(name, named, n=1) or [
            named_ for named_ in named if named_.lower() == name.lower()
        ]
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
    """The path without private modules: `nnfoundations.models.MLP`."""
    parts = [part for part in cls.__module__.split(".") if not part.startswith("_")]
    return ".".join([*parts, cls.__name__])


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
            near = get_close_matches(part, siblings, n=1)
            return ".".join([*parts[:i], near[0], *parts[i + 1 :]]) if near else None
        except (ImportError, AttributeError):
            return None
    return None
