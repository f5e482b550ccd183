"""The options of a parser and of a class, each with the type of its value."""

from functools import lru_cache
from typing import Any, Union

from jsonargparse import ArgumentParser

from nnfoundations.cli.config._class_names import classes_of, resolve, skipped
from nnfoundations.cli.config._settings import CommandError, Setting

__all__ = ["option_keys", "options_of", "parser_types"]


def parser_types(parser: ArgumentParser) -> dict[str, Any]:
    """Every full key with the type of its value."""
    return {
        action.dest: _hint(action)
        for action in parser._actions
        if action.option_strings
        and action.dest not in ("help", "config")
        and not action.dest.endswith(".help")
    }


def _hint(action: Any) -> Any:
    """Return the type of an option. With a default of None it also accepts null."""
    hint = getattr(action, "_typehint", None)
    optional = action.default is None and not action.required
    return Union[hint, None] if optional and hint is not None else hint  # noqa: UP007  # `|` fails on a str


def option_keys(key: str, setting: Setting, hint: Any) -> list[str]:
    """The full keys of all options of the classes that are named under this key."""
    try:
        target = resolve(setting.class_path or "", classes_of(hint), key, setting, setting.children)
        _, types = options_of(target, skipped(hint))
    except (CommandError, ValueError, TypeError):
        return []
    deeper = [option_keys(f"{key}.{name}", setting.children[name], types.get(name))
              for name in types if name in setting.children]  # fmt: skip
    return [*(f"{key}.{name}" for name in types), *(name for names in deeper for name in names)]


@lru_cache(maxsize=128)
def options_of(target: Any, skip: int) -> tuple[ArgumentParser, dict[str, Any]]:
    """A parser for the options of a class under the key `of`, and the type of each option."""
    parser = ArgumentParser(exit_on_error=False)
    names = parser.add_class_arguments(
        target, "of", skip={skip} if skip else None, fail_untyped=False, sub_configs=True
    )
    types = {action.dest: _hint(action) for action in parser._actions}
    return parser, {name.removeprefix("of."): types.get(name) for name in names}
