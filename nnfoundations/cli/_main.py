"""From arguments to an exit code. Only the commands that need torch and Lightning import them."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from nnfoundations import __version__
from nnfoundations.cli.commands._table import COMMANDS
from nnfoundations.cli.config._arguments import nearest_switch
from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._environment import TorchvisionMismatchError
from nnfoundations.cli.run._signals import Interrupted, handled, interrupt

__all__ = ["command_first", "main", "overview"]

FAILED, WRONG = 1, 2
"""The exit codes of a run that failed and of a wrong command; 0 is success."""


def overview() -> str:
    """What `nnfoundations` alone prints: every command with an example."""
    rows = {
        f"nnfoundations {name} {command.example}".rstrip(): command.summary
        for name, command in COMMANDS.items()
    }
    lines = [f"  {line}\n      {summary}" for line, summary in rows.items()]
    return "\n".join([
        "nnfoundations: train a neural network and see why it does not learn",
        "",
        *lines,
        "",
        "`nnfoundations fit --help` lists the options, the usual ones first.",
        "--print_config prints the whole config as YAML and runs nothing.",
        "--quiet and --verbose print less or more (fit, validate, test, predict).",
    ])  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments after `nnfoundations`; None takes those of the process.

    Returns:
        The exit code: 0 success, 1 the run failed, 2 the command is wrong, 130 after Ctrl-C,
        143 after SIGTERM.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        nnfoundations ...
        0
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["help"]:
        args = [*args[1:], "--help"]
    if args[:1] == ["--version"]:
        print(f"nnfoundations {__version__}")
    elif args[:1] in ([], ["-h"], ["--help"]):
        print(overview())
    else:
        return _run(args)
    return 0


def _run(args: list[str]) -> int:
    """Run a command; turn the exceptions that end it into an exit code."""
    # Threads that spin while they wait make a step 40 times slower when another process is busy. Torch
    # reads this when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with handled(interrupt):
            name, *rest = command_first(args)
            return COMMANDS[name].load()(name, rest)
    except CommandError as error:
        print(f"nnfoundations: {error}", file=sys.stderr)
        return WRONG
    except TorchvisionMismatchError as error:
        print(f"nnfoundations: {error}", file=sys.stderr)
        return FAILED
    except SystemExit as stop:  # a parser has printed its help or the config
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:  # the reader has gone: `nnfoundations ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Interrupted as stop:
        if not stop.reported:
            print(
                f"\nnnfoundations: interrupted by {stop} before a checkpoint was saved; start again.",
                file=sys.stderr,
            )
        return stop.exit_code


def command_first(args: list[str]) -> list[str]:
    """The arguments with the command in front: options may also stand before it.

    Raises:
        CommandError: no command, or an unknown one.
    """
    takes_value = False
    for i, arg in enumerate(args):
        if arg in COMMANDS and not takes_value:
            return [arg, *args[:i], *args[i + 1 :]]
        if not arg.startswith("-") and not takes_value:
            near = get_close_matches(arg.lower(), COMMANDS, n=1)
            fix = f"Did you mean `nnfoundations {near[0]}`?" if near else f"Commands: {', '.join(COMMANDS)}."
            raise CommandError(f"`{arg}` is not a command.\n{fix}")
        takes_value = arg.startswith("-") and "=" not in arg and not nearest_switch(arg)
    raise CommandError(f"no command is given.\nDid you mean `nnfoundations fit {' '.join(args)}`?")
