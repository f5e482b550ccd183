"""Arguments of the small commands: a mistake becomes two lines with the nearest option."""

import argparse
from difflib import get_close_matches
from typing import NoReturn

from nnfoundations.cli.config._settings import CommandError

__all__ = ["CommandParser", "count"]


class CommandParser(argparse.ArgumentParser):
    """A parser whose program is `nnfoundations COMMAND`."""

    def error(self, message: str) -> NoReturn:
        """Turn a mistake into the error that `nnfoundations` prints.

        Args:
            message: what argparse says.

        Raises:
            CommandError: always.
        """
        options = [option for action in self._actions for option in action.option_strings]
        _, unrecognized, rest = message.partition("unrecognized arguments: ")
        near = get_close_matches(rest.split()[0], options, n=1) if unrecognized else []
        fix = f"Did you mean `{near[0]}`?" if near else f"`{self.prog} --help` lists the options."
        said = f"unknown option `{rest}`" if unrecognized else message
        raise CommandError(f"{self.prog.split()[-1]}: {said}.\n{fix}")


def count(text: str) -> int:
    """The type of an option that counts something.

    Args:
        text: as given.

    Raises:
        ArgumentTypeError: it is not a whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1; got {text}")
    return int(text)
