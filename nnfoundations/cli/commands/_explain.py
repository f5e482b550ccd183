"""`nnfoundations explain`: print the page of a fault as plain text, or the list of all faults."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from shutil import get_terminal_size
from textwrap import fill

from nnfoundations.cli.commands._command_parser import CommandParser
from nnfoundations.cli.config._settings import CommandError

__all__ = ["explain_command", "plain"]

_LIST = "README"


def _parser() -> CommandParser:
    parser = CommandParser(
        "nnfoundations explain",
        allow_abbrev=False,
        description="Explain a fault that diagnostics can find: symptom, evidence, cause and fix, with the "
        "numbers of a real run. Without a name, list all faults by family.",
    )
    parser.add_argument("fault", nargs="?", help="a fault, such as dead-units")
    return parser


def explain_command(command: str, args: Sequence[str]) -> int:
    """Print the page of a fault, or the list of faults.

    Args:
        command: `explain`.
        args: its arguments.

    Returns:
        The exit code, 0.

    Raises:
        CommandError: there is no such fault.
    """
    given = _parser().parse_args(args)
    try:
        pages = {page.name.removesuffix(".md"): page for page in files("nnfoundations.faults").iterdir()}
    except ModuleNotFoundError as error:  # an editable installation of an earlier version
        raise CommandError("the pages are not installed.\nInstall nnfoundations again.") from error
    name = _LIST if given.fault is None else re.sub("[ _]", "-", given.fault.strip().lower())
    faults = [page for page in pages if page != _LIST]
    if given.fault is not None and name not in faults:
        near = get_close_matches(name, faults, n=1)
        fix = f"Did you mean `{near[0]}`?" if near else "`nnfoundations explain` lists all faults."
        raise CommandError(f"unknown fault `{given.fault}`.\n{fix}")
    print(plain(pages[name].read_text(encoding="utf-8"), max(40, min(get_terminal_size().columns, 80))))
    print()
    if given.fault is None:
        print("Explain one:  nnfoundations explain NAME")
    else:
        print(f"In the repository, with a figure of the run:\n  docs/faults/{name}.md")
    return 0


def plain(page: str, width: int) -> str:
    """Lay out a page as plain text.

    Args:
        page: headings, paragraphs, lists and images in Markdown.
        width: largest number of columns.

    Returns:
        The text. Images are left out.
    """
    blocks = [block for block in page.strip().split("\n\n") if not block.startswith("![")]
    return "\n\n".join(_block(_unmarked(block), width) for block in blocks)


def _unmarked(text: str) -> str:
    """Return the text without the marks of links and code."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text).replace("`", "")


def _block(text: str, width: int) -> str:
    if text.startswith("#"):
        return text.lstrip("# ")
    items = re.split(r"^- ", text, flags=re.M)
    first, *rest = (" ".join(item.split()) for item in items)
    lines = [_filled(first, width, "  ", "  ")] if first else []
    return "\n".join(lines + [_filled(item, width, "  - ", "    ") for item in rest])


def _filled(text: str, width: int, indent: str, hang: str) -> str:
    return fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=hang,
        break_on_hyphens=False,
        break_long_words=False,
    )
