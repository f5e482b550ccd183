"""`nnfoundations data NAME`: a data set ahead of time, fetched, checked and described."""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import NoReturn

from nnfoundations import datamodules
from nnfoundations.cli._settings import CommandError
from nnfoundations.datamodules import DataFilesError, TensorDataModule


def data_sets() -> dict[str, type[TensorDataModule]]:
    """Every packaged set by its name, sorted."""
    kinds = (getattr(datamodules, name) for name in datamodules.__all__)
    sets = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, TensorDataModule))
    return dict(sorted((kind.name, kind) for kind in sets if not kind.__abstractmethods__))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        _, unrecognized, rest = message.partition("unrecognized arguments: ")
        near = get_close_matches(rest.split()[0], flags, n=1) if unrecognized else []
        cure = f"Did you mean `{near[0]}`?" if near else "`nnfoundations data --help` lists the options."
        raise CommandError(f"data: {message}.\n{cure}")


def data_command(name: str, args: Sequence[str]) -> int:
    """Run the command and return its exit code: 0 done, 1 the files cannot be had.

    Raises:
        CommandError: an unknown option or set.
    """
    parser = _Parser(
        "nnfoundations data",
        allow_abbrev=False,
        description="Fetch a data set ahead of time, check it and show what is in it.",
        epilog="An interrupted download goes on where it broke off. NNFOUNDATIONS_DATA and "
        "NNFOUNDATIONS_MIRROR stand for --root and --mirror; NNFOUNDATIONS_MIN_SPEED is how slow a mirror "
        "may be, in bytes a second.",
    )
    parser.add_argument("name", nargs="?", help="one of --list")
    parser.add_argument("--list", action="store_true", help="name all data sets, and say which are here")
    parser.add_argument("--root", help="folder of data sets")
    parser.add_argument("--mirror", help="address of a folder laid out like root, asked first")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="write samples of every class there")
    given = parser.parse_args(args)
    sets = data_sets()
    if given.list:
        _print_list(sets, given.root)
        return 0
    if given.name not in sets:
        near = get_close_matches(given.name or "", sets, n=1)
        said = f"no data set is named `{given.name}`" if given.name else "a data set must be named"
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sets)}."
        raise CommandError(f"{said}; {hint}\n`nnfoundations data --list` shows them.")
    try:
        data = sets[given.name](given.root, mirror=given.mirror)
        data.prepare_data()
        data.setup()
        description = data.describe()
        wide = max(40, min(get_terminal_size().columns, 100))
        for line in description.table.splitlines():
            print(fill(line, wide, subsequent_indent="  "))
        if given.figure:
            description.figure.savefig(given.figure, dpi=150)
            print(f"figure in {given.figure}")
    except (DataFilesError, OSError, ValueError) as error:  # of files; of --figure: its folder, its ending
        print(f"nnfoundations: {error}", file=sys.stderr)
        return 1
    return 0


def _print_list(sets: dict[str, type[TensorDataModule]], root: str | None) -> None:
    rows = [("name", "classes", "sample", "files")]
    folders = []
    for name, kind in sets.items():
        data = kind(root)
        state = "needs none"
        if data.files:
            folders.append(f"  {name}\n    {data.path}")  # a path is to be copied whole: on a line of its own
            state = "missing" if any(file.find(data.path) is None for file in data.present()) else "here"
        rows.append((name, str(kind.num_classes), " x ".join(map(str, kind.shape)), state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\n".join(["", "Files are looked for in", *folders]))
