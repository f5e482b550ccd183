"""Turn an error of Lightning, torch or the parser into an error of two lines."""

from traceback import walk_tb

from lightning.fabric.utilities.exceptions import MisconfigurationException

from nnfoundations.cli.config._settings import CommandError

__all__ = ["in_two_lines", "raised_by_lightning"]


def in_two_lines(error: BaseException) -> CommandError:
    """Convert the first error of a chain of exceptions."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    first, *rest = [line.strip() for line in str(cause).splitlines() if line.strip()] or [repr(cause)]
    fix = rest[0] if rest else "--verbose shows where it was raised; --help lists the options."
    return CommandError(f"{first}\n{fix}")


def raised_by_lightning(error: BaseException) -> bool:
    """Whether Lightning itself refused a value, not the user's code that it calls."""
    if not isinstance(error, ValueError | MisconfigurationException) or error.__traceback__ is None:
        return False
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith("lightning.")
