"""`nnfoundations data NAME`: download a data set ahead of time, verify and describe it."""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING

from nnfoundations.cli.commands._command_parser import CommandParser
from nnfoundations.cli.config._settings import CommandError

if TYPE_CHECKING:
    from nnfoundations.datamodules import TensorDataModule

__all__ = ["DATA_SETS", "data_command", "data_sets"]

DATA_SETS = {
    "blobs": "BlobsDataModule",
    "cifar10": "CIFAR10DataModule",
    "circles": "CirclesDataModule",
    "digits": "DigitsDataModule",
    "fashion_mnist": "FashionMNISTDataModule",
    "iris": "IrisDataModule",
    "mnist": "MNISTDataModule",
    "moons": "MoonsDataModule",
    "setosa": "SetosaDataModule",
    "spirals": "SpiralsDataModule",
    "versicolor": "VersicolorDataModule",
    "xor": "XORDataModule",
}
"""Every packaged set with its class in `nnfoundations.datamodules`. A name is checked without torch."""


def data_sets() -> dict[str, type["TensorDataModule"]]:
    """The class of every packaged set by its name, sorted."""
    from nnfoundations import datamodules

    return {name: getattr(datamodules, kind) for name, kind in DATA_SETS.items()}


def _parser() -> CommandParser:
    parser = CommandParser(
        "nnfoundations data",
        allow_abbrev=False,
        description="Download a data set ahead of time, verify its files and describe it.",
        epilog="An interrupted download continues where it stopped. Environment variables: "
        "NNFOUNDATIONS_DATA and NNFOUNDATIONS_MIRROR are the defaults of --root and --mirror; a mirror "
        "slower than NNFOUNDATIONS_MIN_SPEED bytes per second is abandoned.",
    )
    parser.add_argument("name", nargs="?", help="a data set, such as mnist")
    parser.add_argument(
        "--list", action="store_true", help="list all data sets, with the state of their files"
    )
    parser.add_argument("--root", help="folder that holds the data sets")
    parser.add_argument("--mirror", help="URL to try first; its folders are those of --root")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="draw samples of every class")
    return parser


def data_command(name: str, args: Sequence[str]) -> int:
    """Download, verify and describe a data set, or list all.

    Args:
        name: `data`.
        args: its arguments.

    Returns:
        The exit code: 0 success, 1 the files are not available.

    Raises:
        CommandError: an unknown option or data set.
    """
    given = _parser().parse_args(args)
    if given.list:
        _print_list(data_sets(), given.root)
        return 0
    if given.name not in DATA_SETS:
        near = get_close_matches(given.name or "", DATA_SETS, n=1)
        said = f"there is no data set `{given.name}`" if given.name else "no data set is given"
        fix = f"Did you mean `{near[0]}`?" if near else f"Data sets: {', '.join(DATA_SETS)}."
        raise CommandError(f"{said}.\n{fix}")
    return _describe(given)


def _describe(given: argparse.Namespace) -> int:
    from nnfoundations.datamodules import DataFilesError

    try:
        data = data_sets()[given.name](given.root, mirror=given.mirror)
        data.prepare_data()
        data.setup()
        description = data.describe()
        width = max(40, min(get_terminal_size().columns, 100))
        for line in description.table.splitlines():
            print(fill(line, width, subsequent_indent="  "))
        if given.figure:
            description.figure.savefig(given.figure, dpi=150)
            print(f"Figure: {given.figure}")
    except (DataFilesError, OSError, ValueError) as error:  # also the folder or the ending of --figure
        print(f"nnfoundations: {error}", file=sys.stderr)
        return 1
    return 0


def _print_list(sets: dict[str, type["TensorDataModule"]], root: str | None) -> None:
    rows = [("name", "classes", "sample", "files")]
    folders = []
    for name, kind in sets.items():
        data = kind(root)
        state = "none needed"
        if data.files:
            folders.append(f"  {name}\n    {data.path}")  # on a separate line, so that it can be copied
            state = "missing" if any(file.find(data.path) is None for file in data.present()) else "present"
        rows.append((name, str(kind.num_classes), " x ".join(map(str, kind.shape)), state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\n".join(["", "Folders of the files:", *folders]))
