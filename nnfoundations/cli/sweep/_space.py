"""The search space: which options vary, and between which values."""

import json
import math
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnfoundations.cli.config._config_file import read_config
from nnfoundations.cli.config._settings import CommandError, Setting

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Dimension", "Space", "option_text", "option_words", "read_space"]

Value = bool | int | float | str | None

_NUMBERS, _SWITCH, _CHOICES = ("low", "high", "step"), "log", "choices"
_FORMS = "`{low: 0.001, high: 0.3, log: true}`, `{low: 1, high: 8, step: 1}` or `{choices: [16, 32]}`"


def option_text(value: Any) -> str:
    """A value as one word of the command line.

    Args:
        value: text, or what YAML can hold.

    Returns:
        Text as it is, anything else as JSON, which is YAML too.
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def option_words(values: Mapping[str, Any]) -> list[str]:
    """Values as arguments of `fit`; a class stands before its own options, as the parser needs it.

    Args:
        values: by option.
    """
    keys = sorted(values, key=lambda key: key.count("."))
    return [word for key in keys for word in (f"--{key}", option_text(values[key]))]


@dataclass(frozen=True)
class Dimension:
    """The values of one option: a range, or choices.

    Args:
        place: where it stands in the file, for messages.
        low: least value of a range.
        high: largest value of a range.
        step: distance between values; None means 1 for whole numbers, and any value for others.
        log: whether the logarithm is drawn evenly.
        choices: the values; lists and mappings as JSON. Empty for a range.
    """

    place: str
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether a range has whole numbers only."""
        return all(isinstance(number, int | None) for number in (self.low, self.high, self.step))

    @property
    def examples(self) -> tuple[Value, ...]:
        """The values to try before a sweep: all choices, or both ends of a range."""
        return self.choices or (self.low, self.high)

    def distribution(self) -> "BaseDistribution":
        """Describe it for Optuna.

        Returns:
            The distribution.

        Raises:
            ValueError: the numbers do not fit together.
        """
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a step that does not divide the range
            try:
                if self.is_whole:
                    step = 1 if self.step is None else int(self.step)
                    return distributions.IntDistribution(int(self.low), int(self.high), self.log, step)
                return distributions.FloatDistribution(self.low, self.high, self.log, self.step)
            except UserWarning as warning:
                raise ValueError(str(warning)) from None


Space = Mapping[str, Dimension]
"""The dimensions by option."""


def read_space(path: Path) -> Space:
    """Read a search space.

    Args:
        path: a YAML file with the options of the command line as keys.

    Returns:
        Its dimensions.

    Raises:
        CommandError: the file cannot be read, it is empty, or a range or a choice is wrong.
    """
    if not path.is_file():
        raise CommandError(f"--space: `{path}` does not exist.\nGive a YAML file with a range per option.")
    if not any(line.partition("#")[0].strip() for line in path.read_text("utf-8", "replace").splitlines()):
        raise CommandError(
            f"--space: `{path}` is empty.\nGive a range per option: `model.optimizer.lr: "
            "{low: 0.001, high: 0.3, log: true}`."
        )
    read = {key.removeprefix("--"): setting for key, setting in read_config(path).children.items()}
    return {key: _dimension(key, setting) for key, setting in read.items()}


def _dimension(key: str, setting: Setting) -> Dimension:
    given = setting.children
    if setting.is_list or not given:
        raise _wrong(key, setting, f"got `{setting.plain()}`")
    words = (*_NUMBERS, _SWITCH, _CHOICES)
    if unknown := [word for word in given if word not in words]:
        near = get_close_matches(unknown[0], words, n=1)
        meant = f"; did you mean `{near[0]}`?" if near else ""
        raise _wrong(key, setting, f"`{unknown[0]}` is unknown{meant}")
    if _CHOICES in given:
        if len(given) > 1:
            raise _wrong(key, setting, "`choices` stands alone")
        return Dimension(setting.place, choices=_choices(key, setting))
    if missing := [word for word in ("low", "high") if word not in given]:
        raise _wrong(key, setting, f"`{missing[0]}` is missing")
    numbers = {word: _number(key, given[word]) for word in _NUMBERS if word in given}
    log = given[_SWITCH].value if _SWITCH in given else False
    if not isinstance(log, bool):
        raise _wrong(key, given[_SWITCH], f"`log` is true or false; got `{log}`")
    dimension = Dimension(setting.place, numbers["low"], numbers["high"], numbers.get("step"), log)
    try:
        dimension.distribution()
    except ValueError as error:
        raise _wrong(key, setting, str(error).rstrip(".")) from None
    return dimension


def _choices(key: str, setting: Setting) -> tuple[Value, ...]:
    listed = setting.children[_CHOICES]
    values = [child.plain() for child in listed.children.values()]
    if not (listed.is_list and values):
        raise _wrong(key, setting, "`choices` is a list of at least one value")
    plain = [value if isinstance(value, Value) else option_text(value) for value in values]
    for i, value in enumerate(plain):
        # Python's 1, 1.0 and True are one value to Optuna.
        if value in plain[:i]:
            raise _wrong(key, setting, f"the choice `{option_text(value)}` is given twice")
    return tuple(plain)


def _number(key: str, setting: Setting) -> float:
    """A number; YAML reads 1e-3 as text."""
    value = setting.value
    with suppress(TypeError, ValueError):
        if not isinstance(value, bool) and math.isfinite(number := float(value)):
            return value if isinstance(value, int) else number
    raise _wrong(key, setting, f"`{setting.plain()}` is not a number")


def _wrong(key: str, setting: Setting, what: str) -> CommandError:
    return CommandError(f"{setting.place}: `{key}`: {what}.\nWrite {_FORMS}.")
