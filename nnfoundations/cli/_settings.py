"""What a command sets, value by value, each with the place it stands in: a flag, or a line of a config.

Read before anything is parsed, so that a mistake can be shown where it was made.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

SWITCHES = ("--help", "-h", "--print_config", "--quiet", "--verbose", "--json")
"""Flags that need no value; the last is `check`'s alone."""


WRAPPERS = ("init_args", "dict_kwargs")


class CommandError(Exception):
    """The command is wrong: what is, and on the next line the cure. Nothing has been run."""


@dataclass
class Setting:
    """A value, or a group of settings; of a class, `class_path` and its options side by side.

    Args: place: where it stands. value: as given; None for a group. children: by key, or by index in a list.
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
        """What is set under this key: dotted, without `init_args`."""
        found: Setting | None = self
        for part in key.split("."):
            found = found.children.get(part) if found is not None else None
        return found

    @property
    def class_path(self) -> str | None:
        """The class that is named here, in the long form or in the short one."""
        value = self.children["class_path"].value if "class_path" in self.children else self.value
        return value if isinstance(value, str) else None

    def overlay(self, other: "Setting") -> None:
        """What comes later wins; another class drops the arguments of the one before it."""
        renamed = other.class_path is not None and other.class_path != self.class_path
        if other.value == {}:  # adds nothing
            return
        if other.is_list or self.is_list or renamed or not other.children:
            anew = other.is_list or self.is_list or renamed or other.value is None
            options = {} if anew else self.children
            self.place, self.value, self.is_list = other.place, other.value, other.is_list
            self.children = {**options, **other.children}
            return
        for key, child in other.children.items():
            if key in self.children:
                self.children[key].overlay(child)
            else:
                self.children[key] = child


_NONE = Setting("")


def read_settings(args: list[str]) -> Setting:
    """All that flags and configs set, as one tree.

    Args: args: what follows the subcommand, with configs as paths.

    Raises:
        CommandError: a config that cannot be read, or an argument that is no flag.
    """
    root = Setting("the command line")
    for key, value in flags(args):
        if key in ("config", "c"):
            root.overlay(read_config(Path(value or "")))
        elif value is not None:
            root.overlay(_nested(key, value))
    return root


def flags(args: list[str]) -> Iterator[tuple[str, str | None]]:
    """Keys without dashes, with their values; None for a switch.

    Raises:
        CommandError: a word that belongs to no flag, a single dash, a flag without its value.
    """
    rest = iter(args)
    for arg in rest:
        key, equals, value = arg.partition("=")
        if key in SWITCHES or (key.startswith("--") and key.endswith(".help")):
            if equals and key in SWITCHES and key != "--print_config":
                raise CommandError(f"`{key}` takes no value.\nWrite `{key}` alone.")
            yield key.lstrip("-"), None
            if key.endswith(".help") and not equals:
                next(rest, None)  # the class, which may be left out at the end
        elif not arg.startswith("-"):
            raise CommandError(
                f"`{arg}` belongs to no flag.\nA flag takes one value: `--key value`; quote what has spaces."
            )
        elif not arg.startswith("--") and key != "-c":
            raise CommandError(f"`{key}` has one dash; flags have two.\nDid you mean `-{key}`?")
        elif equals:
            yield key.lstrip("-").rstrip("+"), value
        else:
            following = next(rest, None)
            if following is None or following.startswith("--"):
                if near := nearest_switch(key):
                    raise CommandError(f"`{key}` is not known.\nDid you mean `{near}`?")
                raise CommandError(f"`{key}` has no value.\nGive one: `{key} VALUE`, or `{key}=VALUE`.")
            yield key.lstrip("-").rstrip("+"), following


def nearest_switch(flag: str) -> str | None:
    """The switch that this flag was meant to be, if any."""
    return next(iter(get_close_matches(flag, SWITCHES, n=1, cutoff=0.8)), None)


def _nested(key: str, value: str) -> Setting:
    try:
        loaded = yaml.safe_load(value)
    except yaml.YAMLError:
        loaded = value
    setting = _of_value(loaded, f"`--{key}`")
    if not setting.children and not isinstance(loaded, int | float | bool | None):
        setting.value = value
    for part in reversed([part for part in key.split(".") if part not in WRAPPERS]):
        setting = Setting(setting.place, children={part: setting})
    return setting


def _of_value(value: Any, place: str) -> Setting:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    children = {str(key): _of_value(item, place) for key, item in items}
    children |= _unwrapped(children)
    return Setting(place, None if children else value, children, isinstance(value, list))


def _unwrapped(children: dict[str, Setting]) -> dict[str, Setting]:
    """Take the options out of `init_args` and `dict_kwargs`: flags may leave these words out."""
    return {key: child for word in WRAPPERS for key, child in children.pop(word, _NONE).children.items()}


def read_config(path: Path) -> Setting:
    """The settings of a YAML file, each with its line.

    Raises:
        CommandError: no such file, not YAML, a key that stands twice, no keys at all.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except FileNotFoundError:
        near = _nearby(path)
        cure = f"Did you mean `{near}`?" if near else "`nnfoundations configs` lists those that are packaged."
        raise CommandError(f"there is no config `{path}`.\n{cure}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"the config `{path}` cannot be read: {error}.\nGive a YAML file.") from None
    except yaml.YAMLError as error:
        raise CommandError(_syntax(path, error)) from None
    if not isinstance(node, yaml.MappingNode):
        what = "is empty" if node is None else "holds no `key: value` lines"
        raise CommandError(f"the config `{path}` {what}.\nIt needs such as `trainer: {{max_epochs: 3}}`.")
    return _of_node(node, path)


def _of_node(node: yaml.Node, path: Path) -> Setting:
    place = f"{path}, line {node.start_mark.line + 1}"
    setting = Setting(place)
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            child = _of_node(value_node, path)
            child.place = f"{path}, line {key_node.start_mark.line + 1}"
            if (key := str(key_node.value)) in setting.children:
                first = setting.children[key].place.rpartition(" ")[2]
                raise CommandError(
                    f"`{key}` stands twice ({child.place}, and line {first}).\nKeep one of them."
                )
            setting.children[key] = child
        setting.children |= _unwrapped(setting.children)
    elif isinstance(node, yaml.SequenceNode):
        setting.is_list = True
        setting.children = {str(i): _of_node(item, path) for i, item in enumerate(node.value)}
    if not setting.children:
        try:
            setting.value = yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:  # a tag, a date that is none
            what = getattr(error, "problem", None) or error
            raise CommandError(
                f"{place}: this value cannot be read: {what}.\nQuote it, or leave the tag out."
            ) from None
    return setting


def _syntax(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return (
        f"{place}: this is no YAML: {problem}.\nIndent with spaces, write `key: value`, close every bracket."
    )


def _nearby(path: Path) -> str | None:
    folder = path.parent
    names = [file.name for file in folder.glob("*.y*ml")] if folder.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return str(folder / near[0]) if near else None
