"""What a command sets: a tree of values, each with its origin (an option, or a line of a config).

It is read before anything is parsed, so that an error can name the place of a mistake.
"""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["WRAPPERS", "CommandError", "Setting", "model_class", "setting_of", "unwrapped"]

WRAPPERS = ("init_args", "dict_kwargs")
"""Levels that jsonargparse puts between a class and its options; an option may leave them out."""


class CommandError(Exception):
    """The command is wrong. The first line says what is wrong, the second how to fix it; nothing has run."""


@dataclass
class Setting:
    """A value, or a group of settings. A class is a group with `class_path` and the options of the class.

    Args:
        place: where it was set, for messages.
        value: as given; None for a group.
        children: by key, or by index in a list.
        is_list: whether it is a list.
    """

    place: str
    value: Any = None
    children: dict[str, "Setting"] = field(default_factory=dict)
    is_list: bool = False

    def plain(self) -> Any:
        """The value without places."""
        if self.is_list:
            return [child.plain() for child in self.children.values()]
        if not self.children:
            return self.value
        options = {key: child.plain() for key, child in self.children.items() if key != "class_path"}
        return options if self.class_path is None else {"class_path": self.class_path, "init_args": options}

    def find(self, key: str) -> "Setting | None":
        """The setting with this dotted key, without `init_args`; None if it is not set."""
        found: Setting | None = self
        for part in key.split("."):
            found = found.children.get(part) if found is not None else None
        return found

    @property
    def class_path(self) -> str | None:
        """The class that is named here, in the long form or in the short form."""
        value = self.children["class_path"].value if "class_path" in self.children else self.value
        return value if isinstance(value, str) else None

    @property
    def on_command_line(self) -> bool:
        """Whether it was set by an option of the command line, not in a config file."""
        return self.place.startswith("`--")

    @property
    def prefix(self) -> str:
        """How a message about it begins: with the line of a config file; empty for an option."""
        return "" if self.on_command_line else f"{self.place}: "

    def overlay(self, other: "Setting") -> None:
        """Merge in a later setting, which wins; another class drops the options of the class before it."""
        renamed = other.class_path is not None and other.class_path != self.class_path
        if other.value == {}:  # adds nothing
            return
        if other.is_list or self.is_list or renamed or not other.children:
            replaces = other.is_list or self.is_list or renamed or other.value is None
            kept = {} if replaces else self.children
            self.place, self.value, self.is_list = other.place, other.value, other.is_list
            self.children = {**kept, **other.children}
            return
        for key, child in other.children.items():
            if key in self.children:
                self.children[key].overlay(child)
            else:
                self.children[key] = child


def setting_of(value: Any, place: str) -> Setting:
    """A value from YAML as a tree, all of it set at one place."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    children = {str(key): setting_of(item, place) for key, item in items}
    children |= unwrapped(children)
    return Setting(place, None if children else value, children, isinstance(value, list))


def model_class(settings: Setting) -> str:
    """The class that `--model` or a config names; empty if there is none."""
    model = settings.find("model")
    return (model and model.class_path) or ""


def unwrapped(children: dict[str, Setting]) -> dict[str, Setting]:
    """Take the options out of `init_args` and `dict_kwargs`, the same as the short form has them."""
    groups = [children.pop(word) for word in WRAPPERS if word in children]
    return {key: child for group in groups for key, child in group.children.items()}
