"""`nnfoundations configs`: the packaged configs, each with its goal."""

from itertools import takewhile
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill

from nnfoundations.cli.commands._table import prints_help
from nnfoundations.cli.config._packaged import packaged_configs

__all__ = ["configs_command", "goal"]


def goal(path: Path) -> str:
    """The first sentence of a config's comment: the result that it reaches."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    return head.removeprefix("Goal: ").partition(". ")[0].rstrip(".")


def configs_command(command: str, args: list[str]) -> int:
    """Print the packaged configs, each with its goal.

    Args:
        command: `configs`.
        args: its arguments; it takes none.

    Returns:
        The exit code, 0.

    Raises:
        CommandError: there are arguments.
    """
    if prints_help(command, args):
        return 0
    width = max(30, min(get_terminal_size().columns, 100))
    for name, path in packaged_configs().items():
        print(name)
        print(fill(goal(path), width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))
    print("\nTrain one:  nnfoundations fit --config NAME")
    print("Print one:  nnfoundations fit --config NAME --print_config")
    return 0
