"""Read a YAML file into settings, each with its line."""

from difflib import get_close_matches
from pathlib import Path

import yaml

from nnfoundations.cli.config._settings import CommandError, Setting, unwrapped

__all__ = ["read_config"]


def read_config(path: Path) -> Setting:
    """The settings of a YAML file, each with its line.

    Raises:
        CommandError: the file does not exist, is not YAML, is empty, or defines a key twice.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except FileNotFoundError:
        near = _nearby(path)
        fix = f"Did you mean `{near}`?" if near else "`nnfoundations configs` lists the packaged configs."
        raise CommandError(f"config file `{path}` does not exist.\n{fix}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"config file `{path}` cannot be read: {error}.\nGive a YAML file.") from None
    except yaml.YAMLError as error:
        raise CommandError(_invalid_yaml(path, error)) from None
    if not isinstance(node, yaml.MappingNode):
        problem = "is empty" if node is None else "has no `key: value` lines"
        raise CommandError(
            f"config file `{path}` {problem}.\nWrite options such as `trainer: {{max_epochs: 3}}`."
        )
    return _setting_of_node(node, path)


def _setting_of_node(node: yaml.Node, path: Path) -> Setting:
    setting = Setting(f"{path}, line {node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            child = _setting_of_node(value_node, path)
            child.place = f"{path}, line {key_node.start_mark.line + 1}"
            if (key := str(key_node.value)) in setting.children:
                first = setting.children[key].place.rpartition(" ")[2]
                raise CommandError(
                    f"{child.place}: `{key}` is already defined in line {first}.\nKeep one of the two."
                )
            setting.children[key] = child
        setting.children |= unwrapped(setting.children)
    elif isinstance(node, yaml.SequenceNode):
        setting.is_list = True
        setting.children = {str(i): _setting_of_node(item, path) for i, item in enumerate(node.value)}
    if not setting.children:
        setting.value = _value(node, setting.place)
    return setting


def _value(node: yaml.Node, place: str) -> object:
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:  # a tag, or a date such as 2024-13-45
        problem = getattr(error, "problem", None) or error
        raise CommandError(
            f"{place}: the value cannot be read: {problem}.\nQuote it, or remove the tag."
        ) from None


def _invalid_yaml(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{place}: invalid YAML: {problem}.\nIndent with spaces, write `key: value`, close every bracket."


def _nearby(path: Path) -> str | None:
    """The YAML file in the same folder with nearly this name."""
    folder = path.parent
    names = [file.name for file in folder.glob("*.y*ml")] if folder.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return str(folder / near[0]) if near else None
