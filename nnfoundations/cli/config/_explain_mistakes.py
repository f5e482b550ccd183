"""Explain in two lines why the parser refused a command, with the nearest match.

The parser tries every reading of a value and reports all of them. Here the same settings are walked once,
from the top: keys against the parser, classes against what can be imported, options against their class.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from jsonargparse import ArgumentError, ArgumentParser

from nnfoundations.cli.config._class_names import (
    classes_of,
    literals,
    looks_like_a_class,
    readable,
    resolve,
    skipped,
)
from nnfoundations.cli.config._option_types import option_keys, options_of, parser_types
from nnfoundations.cli.config._settings import CommandError, Setting

__all__ = ["ALIASES", "check_keys", "check_nulls", "explain"]

ALIASES = {"epochs": "trainer.max_epochs", "steps": "trainer.max_steps", "seed": "seed_everything",
           "gpus": "trainer.devices", "learning_rate": "model.optimizer.lr"}  # fmt: skip
"""Option names of other tools. By spelling alone they would be matched to a wrong option."""


def check_keys(parser: ArgumentParser, settings: Setting) -> None:
    """Refuse options that the parser does not have, abbreviations included.

    Raises:
        CommandError: an option is unknown; the text suggests the nearest one.
    """
    types = parser_types(parser)
    within = dict.fromkeys(
        name
        for key, hint in types.items()
        if (found := settings.find(key))
        for name in option_keys(key, found, hint)
    )
    for key, setting in settings.children.items():
        _check_key(key, setting, types, within)


def check_nulls(parser: ArgumentParser, settings: Setting) -> None:
    """Refuse `null` for a class that cannot use it: the parser accepts it everywhere.

    Raises:
        CommandError: an option cannot be null; the text says what it takes.
    """
    for key, hint in parser_types(parser).items():
        if setting := settings.find(key):
            _check_null(key, setting, hint)


def explain(parser: ArgumentParser, settings: Setting, message: str) -> CommandError:
    """The mistake that made the parser fail, as an error of two lines.

    Args:
        parser: the parser that failed.
        settings: what was given, with places.
        message: what the parser said.
    """
    types = parser_types(parser)
    try:
        check_keys(parser, settings)
        check_nulls(parser, settings)
        for key, hint in types.items():
            setting = settings.find(key)
            if setting is not None:
                _check_value(key, setting, hint)
    except CommandError as mistake:
        return mistake
    key = _key_of(message) or ""
    setting = settings.find(key) if key else None
    if key in types and setting is not None:
        names_a_class = setting.class_path is not None and isinstance(setting.value, str | None)
        given = setting if names_a_class or setting.is_list else Setting(setting.place, setting.value)
        return _bad_value(key, given, types[key])
    model = settings.find("model")
    if "required" in message and (model is None or not (model.children or model.value)):
        return CommandError(
            "no model is given.\n"
            "Give `--config NAME` (`nnfoundations configs` lists the names) or `--model CLASS`."
        )
    if unrecognized := re.match(r"unrecognized arguments: (\S+)", message):
        return CommandError(f"unknown option `{unrecognized[1]}`.\n--help lists the options.")
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    return CommandError(
        f"{lines[0][:300]}.\n--verbose shows the whole message of the parser; --help lists the options."
    )


def _check_key(key: str, setting: Setting, types: dict[str, Any], within: Iterable[str]) -> None:
    if not _is_group(key, types):
        if key in types:
            return
        full, deepest = key, setting
        while deepest.children:
            name, deepest = next(iter(deepest.children.items()))
            full += f".{name}"
        names = [*types, *within, "config"]
        raise _unknown_option(key, setting, _nearest_key(full, names) or _nearest_key(key, names))
    names_a_file = Path(str(setting.value)).is_file()  # it may hold the options of the group
    if setting.value is not None and not names_a_file:
        example = next(name for name in types if name.startswith(f"{key}."))
        raise CommandError(
            f"{setting.prefix}`{key}` is a group of options; got `{setting.value}`.\n"
            f"Set one of its options, such as `--{example}`."
        )
    for name, child in setting.children.items():
        _check_key(f"{key}.{name}", child, types, within)


def _is_group(key: str, types: dict[str, Any]) -> bool:
    return any(name.startswith(f"{key}.") for name in types)


def _nearest_key(key: str, known: Iterable[str]) -> str | None:
    """The known key that was most likely meant."""
    names = list(known)
    last = key.rpartition(".")[2].replace("-", "_")
    if (meant := ALIASES.get(last)) in names:
        return meant
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


def _unknown_option(key: str, setting: Setting, near: str | None) -> CommandError:
    name = setting.place if setting.on_command_line else f"`{key}`"
    fix = "`nnfoundations fit --help` lists the options."
    return CommandError(f"{setting.prefix}unknown option {name}.\n{_did_you_mean(near, setting) or fix}")


def _no_such_option(
    owner: str, name: str, setting: Setting, near: str | None, known: Iterable[str]
) -> CommandError:
    fix = _did_you_mean(near, setting) or f"Its options: {', '.join(known)}."
    return CommandError(f"{setting.prefix}{owner} has no option `{name}`.\n{fix}")


def _did_you_mean(near: str | None, setting: Setting) -> str:
    return f"Did you mean `{'--' if setting.on_command_line else ''}{near}`?" if near else ""


def _check_null(key: str, setting: Setting, hint: Any) -> None:
    """A value, and the values of the class that it names."""
    if not setting.children:
        takes_null = any(allowed in (None, Any, NoneType) for allowed in (hint, *get_args(hint)))
        if setting.value is None and not setting.is_list and not takes_null:
            raise _bad_value(key, setting, hint)
    elif classes := classes_of(hint):
        try:
            target = resolve(setting.class_path or "", classes, key, setting, setting.children)
            _, types = options_of(target, skipped(hint))
        except (CommandError, ValueError, TypeError):  # another check, or the parser, reports it
            return
        for name, child in setting.children.items():
            if name in types:
                _check_null(f"{key}.{name}", child, types[name])


def _check_value(key: str, setting: Setting, hint: Any) -> None:
    """A value alone, or the class that it names with the options of that class."""
    classes = classes_of(hint)
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
                f"{setting.prefix}`{key}` has the option `{first}` but no class.\n"
                f"Name the class: `--{key} CLASS`, or `class_path:` in a file."
            )
        return
    place = setting.children.get("class_path", setting)
    if str not in get_args(hint):
        _check_colon(key, name, place)
    if "class_path" not in setting.children and (str in get_args(hint) or not looks_like_a_class(name)):
        return  # a plain word, such as `cpu` for the accelerator
    options = {name: child for name, child in setting.children.items() if name != "class_path"}
    target = resolve(name, classes, key, place, options)
    _check_options(key, target, options, skipped(hint), setting)


def _check_colon(key: str, name: str, place: Setting) -> None:
    """Refuse `package.module:Class`, the form of other tools."""
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise CommandError(
            f"{place.prefix}`{key}` cannot be `{name}`: the path of a class has dots only.\n"
            f"Did you mean `{name.replace(':', '.')}`?"
        )


def _check_options(key: str, target: Any, options: dict[str, Setting], skip: int, setting: Setting) -> None:
    try:
        parser, types = options_of(target, skip)
    except (ValueError, TypeError):  # the signature cannot be read; only the parser can say more
        return
    names = list(types)
    for name, option in options.items():
        if name not in names:
            near = _nearest_option(name, key, options, types, option.on_command_line)
            raise _no_such_option(target.__name__, name, option, near, names)
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
                f"{setting.prefix}{target.__name__} needs `{name}`.\n"
                f"Give `--{key}.{name}`, or `{name}:` under its `init_args:` in a file."
            ) from None


def _nearest_option(
    name: str, key: str, options: dict[str, Setting], types: dict[str, Any], on_command_line: bool
) -> str | None:
    """The option of a class that was most likely meant: its own, or that of a class within it."""
    own = next(iter(get_close_matches(name, list(types), n=1, cutoff=0.5)), None)
    deeper = _deeper(name, key, options, types)
    if deeper and (own is None or deeper.endswith(f".{name}")):
        return deeper
    return f"{key}.{own}" if own and on_command_line else own


def _deeper(name: str, key: str, options: dict[str, Setting], types: dict[str, Any]) -> str | None:
    """The full key of such an option of a class within this one: `lr` of the optimizer."""
    keys = [
        deep
        for option, setting in options.items()
        if option in types
        for deep in option_keys(f"{key}.{option}", setting, types[option])
    ]
    if (meant := ALIASES.get(name)) in keys:
        return meant
    lasts = {deep.rpartition(".")[2]: deep for deep in reversed(keys)}
    return next((lasts[near] for near in get_close_matches(name, lasts, n=1, cutoff=0.75)), None)


def _key_of(message: str) -> str | None:
    """The key that a message of the parser names."""
    found = re.search(r"""[Kk]ey ["'`]([\w.]+)["'`]|are required: ([\w.]+)""", message)
    return next((group for group in found.groups() if group), None) if found else None


def _bad_value(key: str, setting: Setting, hint: Any) -> CommandError:
    names = [name for name in setting.children if name != "class_path"]
    if names and setting.class_path is not None:
        return CommandError(
            f"{setting.prefix}`{key}`: {setting.class_path} does not accept this {' or '.join(names)}.\n"
            "--verbose shows the whole message of the parser; --help lists the options."
        )
    given = "null" if (plain := setting.plain()) is None else plain
    near = get_close_matches(str(given), [str(value) for value in literals(hint)], n=1)
    fix = f" Did you mean `{near[0]}`?" if near else ""
    return CommandError(f"{setting.prefix}`{key}` cannot be `{given}`.\nIt takes {readable(hint)}.{fix}")
