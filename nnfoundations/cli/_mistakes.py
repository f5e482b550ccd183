"""Where is the mistake in a command that the parser refused? In two lines, with the nearest match.

The parser tries every reading of a value and reports all of them. Here the same settings are walked once,
from the top: keys against the parser, classes against what can be imported, options against their class.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, Union, get_args

from jsonargparse import ArgumentError, ArgumentParser

from nnfoundations.cli._classes import classes_of, literals, looks_like_a_class, readable, resolve, skipped
from nnfoundations.cli._settings import CommandError, Setting

MEANT = {"epochs": "trainer.max_epochs", "steps": "trainer.max_steps", "seed": "seed_everything",
         "gpus": "trainer.devices", "learning_rate": "model.optimizer.lr"}  # fmt: skip
"""What people write elsewhere, where the letters lead astray."""


def check_keys(parser: ArgumentParser, settings: Setting) -> None:
    """Refuse keys that the parser does not have, abbreviated ones among them.

    Raises:
        CommandError: with the nearest key.
    """
    types = _types(parser)
    within = dict.fromkeys(
        name
        for key, hint in types.items()
        if (found := settings.find(key))
        for name in _option_keys(key, found, hint)
    )
    for key, setting in settings.children.items():
        _check_key(key, setting, types, within)


def check_nulls(parser: ArgumentParser, settings: Setting) -> None:
    """Refuse `null` where a class has no use for it: the parser lets it pass anywhere.

    Raises:
        CommandError: with what the option takes.
    """
    for key, hint in _types(parser).items():
        if setting := settings.find(key):
            _check_null(key, setting, hint)


def explain(parser: ArgumentParser, settings: Setting, message: str) -> CommandError:
    """The mistake that made the parser fail, as an error of two lines."""
    types = _types(parser)
    try:
        check_keys(parser, settings)
        check_nulls(parser, settings)
        for key, hint in types.items():
            setting = settings.find(key)
            if setting is not None:
                _check_value(key, setting, hint)
    except CommandError as mistake:
        return mistake
    named = _key_of(message)
    key = named or ""
    setting = settings.find(key) if key else None
    if key in types and setting is not None and not classes_of(types[key]):
        return _bad_value(key, setting, types[key])
    model = settings.find("model")
    if "required" in message and (model is None or not (model.children or model.value)):
        return CommandError(
            "nothing says which model.\n"
            "Give `--config NAME` (`nnfoundations configs` lists them), or `--model CLASS`."
        )
    if unrecognized := re.match(r"unrecognized arguments: (\S+)", message):
        return CommandError(f"`{unrecognized[1]}` is not known here.\n--help lists the options.")
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    return CommandError(
        f"{lines[0][:300]}.\n--verbose shows all that the parser says; --help lists the options."
    )


def _types(parser: ArgumentParser) -> dict[str, Any]:
    """Every full key with the type of its value."""
    return {
        action.dest: _hint(action)
        for action in parser._actions
        if action.option_strings
        and action.dest not in ("help", "config")
        and not action.dest.endswith(".help")
    }


def _hint(action: Any) -> Any:
    """The type of an option's value; a default of None is one of them, whatever is written."""
    hint = getattr(action, "_typehint", None)
    optional = action.default is None and not action.required
    return Union[hint, None] if optional and hint is not None else hint  # noqa: UP007  # `|` fails on a text


def _option_keys(key: str, setting: Setting, hint: Any) -> list[str]:
    """The full keys of all options of the classes that are named here."""
    try:
        target = resolve(setting.class_path or "", classes_of(hint), key, setting)
        _, types = _options_of(target, skipped(hint))
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
    types = {action.dest: _hint(action) for action in parser._actions}
    return parser, {name.removeprefix("of."): types.get(name) for name in names}


def _check_key(key: str, setting: Setting, types: dict[str, Any], within: Iterable[str]) -> None:
    if not _is_group(key, types):
        if key in types:
            return
        full, deepest = key, setting
        while deepest.children:
            name, deepest = next(iter(deepest.children.items()))
            full += f".{name}"
        names = [*types, *within, "config"]
        near = _nearest_key(full, names) or _nearest_key(key, names)
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
    if (meant := MEANT.get(last)) in names:
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


def _check_null(key: str, setting: Setting, hint: Any) -> None:
    """A value, and those of the class that it names."""
    if not setting.children:
        takes_null = any(allowed in (None, Any, NoneType) for allowed in (hint, *get_args(hint)))
        if setting.value is None and not setting.is_list and not takes_null:
            raise _bad_value(key, setting, hint)
    elif classes := classes_of(hint):
        try:
            target = resolve(setting.class_path or "", classes, key, setting)
            _, types = _options_of(target, skipped(hint))
        except (
            CommandError,
            ValueError,
            TypeError,
        ):  # found with the rest of what is wrong, or by the parser
            return
        for name, child in setting.children.items():
            if name in types:
                _check_null(f"{key}.{name}", child, types[name])


def _check_value(key: str, setting: Setting, hint: Any) -> None:
    """A value by itself, or the class it names and that class's options."""
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
                f"{setting.place}: `{key}` has the option `{first}`, but no class.\nGive `{key}.class_path`."
            )
        return
    if "class_path" not in setting.children and (str in get_args(hint) or not looks_like_a_class(name)):
        return  # a word such as accelerator's `cpu` is a text
    place = setting.children.get("class_path", setting)
    target = resolve(name, classes, key, place)
    options = {name: child for name, child in setting.children.items() if name != "class_path"}
    _check_options(key, target, options, skipped(hint), setting)


def _check_options(key: str, target: Any, options: dict[str, Setting], skip: int, setting: Setting) -> None:
    try:
        parser, types = _options_of(target, skip)
    except (ValueError, TypeError):  # a signature that cannot be read: the parser's own words must do
        return
    names = list(types)
    for name, option in options.items():
        if name not in names:
            own = next(iter(get_close_matches(name, names, n=1, cutoff=0.5)), None)
            deeper = _deeper(name, key, options, types)
            near = deeper if deeper and (own is None or deeper.endswith(f".{name}")) else own
            raise _unknown(f"`{name}` is no option of {target.__name__}", option, near, names)
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


def _deeper(name: str, key: str, options: dict[str, Setting], types: dict[str, Any]) -> str | None:
    """The full key of such an option of a class that stands within: `lr` of the optimizer."""
    keys = [
        deep
        for option, setting in options.items()
        if option in types
        for deep in _option_keys(f"{key}.{option}", setting, types[option])
    ]
    if (meant := MEANT.get(name)) in keys:
        return meant
    lasts = {deep.rpartition(".")[2]: deep for deep in reversed(keys)}
    return next((lasts[near] for near in get_close_matches(name, lasts, n=1, cutoff=0.75)), None)


def _key_of(message: str) -> str | None:
    found = re.search(r"""[Kk]ey ["'`]([\w.]+)["'`]|are required: ([\w.]+)""", message)
    return next((group for group in found.groups() if group), None) if found else None


def _bad_value(key: str, setting: Setting, hint: Any) -> CommandError:
    place = "" if setting.place.startswith("`--") else f"{setting.place}: "
    given = "null" if (plain := setting.plain()) is None else plain
    allowed = readable(hint)
    near = get_close_matches(str(given), [str(value) for value in literals(hint)], n=1)
    cure = f" Did you mean `{near[0]}`?" if near else ""
    return CommandError(f"{place}`{key}` cannot be `{given}`.\nIt takes {allowed}.{cure}")
