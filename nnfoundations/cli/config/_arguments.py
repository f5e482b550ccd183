"""Read the arguments of a command, options and configs, into one tree of settings."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import yaml

from nnfoundations.cli.config._config_file import read_config
from nnfoundations.cli.config._packaged import packaged_configs
from nnfoundations.cli.config._settings import WRAPPERS, CommandError, Setting, setting_of

__all__ = ["SWITCHES", "nearest_switch", "options", "read_settings"]

SWITCHES = ("--help", "-h", "--print_config", "--quiet", "--verbose", "--json")
"""Options without a value; only `check` takes the last."""


def read_settings(args: list[str]) -> Setting:
    """Everything that options and configs set, as one tree.

    Args:
        args: the arguments after the subcommand, configs as paths.

    Raises:
        CommandError: a config cannot be read, or an argument is not an option.
    """
    root = Setting("the command line")
    for key, value in options(args):
        if key in ("config", "c"):
            root.overlay(read_config(Path(value or "")))
        elif value is not None:
            root.overlay(_nested(key, value))
    return root


def options(args: list[str]) -> Iterator[tuple[str, str | None]]:
    """Keys without dashes, each with its value; None for a switch.

    Raises:
        CommandError: a word that is not an option, a single dash, an option without its value.
    """
    rest = iter(args)
    for arg in rest:
        key, equals, value = arg.partition("=")
        if _is_switch(key):
            _check_switch(key, equals)
            yield key.lstrip("-"), None
            if key.endswith(".help") and not equals:
                next(rest, None)  # the class whose options are shown; may be missing at the end
        else:
            _check_dashes(arg, key)
            yield key.lstrip("-").rstrip("+"), value if equals else _following(key, rest)


def _is_switch(key: str) -> bool:
    return key in SWITCHES or (key.startswith("--") and key.endswith(".help"))


def _check_switch(key: str, equals: str) -> None:
    if equals and key in SWITCHES and key != "--print_config":
        raise CommandError(f"`{key}` takes no value.\nWrite `{key}` alone.")


def _check_dashes(arg: str, key: str) -> None:
    if not arg.startswith("-"):
        named = arg in packaged_configs()
        fix = (
            f"Did you mean `--config {arg}`?" if named else "Write `--key value`; quote a value with spaces."
        )
        raise CommandError(f"`{arg}` is not an option.\n{fix}")
    if not arg.startswith("--") and key != "-c":
        raise CommandError(f"`{key}` has one dash; options have two.\nDid you mean `-{key}`?")


def _following(key: str, rest: Iterator[str]) -> str:
    """The value of an option that is written with a space."""
    value = next(rest, None)
    if value is None or value.startswith("--"):
        if near := nearest_switch(key):
            raise CommandError(f"unknown option `{key}`.\nDid you mean `{near}`?")
        raise CommandError(f"`{key}` needs a value.\nWrite `{key} VALUE` or `{key}=VALUE`.")
    return value


def nearest_switch(option: str) -> str | None:
    """The switch with nearly this name, if there is one."""
    return next(iter(get_close_matches(option, SWITCHES, n=1, cutoff=0.8)), None)


def _nested(key: str, value: str) -> Setting:
    """One option as a tree: `a.b.c` is three levels deep."""
    try:
        loaded = yaml.safe_load(value)
    except yaml.YAMLError:
        loaded = value
    setting = setting_of(loaded, f"`--{key}`")
    if not setting.children and not isinstance(loaded, int | float | bool | None):
        setting.value = value
    for part in reversed([part for part in key.split(".") if part not in WRAPPERS]):
        setting = Setting(setting.place, children={part: setting})
    return setting
