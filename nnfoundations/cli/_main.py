"""From arguments to an exit code. Torch and Lightning are imported only by the commands that need them."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from nnfoundations import __version__
from nnfoundations.cli._commands import COMMANDS
from nnfoundations.cli._settings import CommandError, nearest_switch
from nnfoundations.cli._signals import Interrupted, handled, interrupt

FAILED, WRONG = 1, 2
"""The exit codes of a run that failed and of a wrong command; 0 is done."""


def overview() -> str:
    """What `nnfoundations` alone prints: every command with an example."""
    rows = {
        f"nnfoundations {name} {command.example}".rstrip(): command.summary
        for name, command in COMMANDS.items()
    }
    lines = [f"  {line}\n      {summary}" for line, summary in rows.items()]
    return "\n".join([
        "nnfoundations: train, test and look into networks",
        "",
        *lines,
        "",
        "`nnfoundations fit --help` begins with what people change;",
        "`--print_config` shows all of it, as YAML.",
        "--quiet and --verbose go with fit, validate, test, predict.",
    ])  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 done, 1 the run failed, 2 the command is wrong, 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        argv: the arguments after `nnfoundations`; None takes those of the process.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["--version"]:
        print(f"nnfoundations {__version__}")
        return 0
    if args[:1] == ["help"]:
        args = [*args[1:], "--help"]
    if args[:1] in ([], ["-h"], ["--help"]):
        print(overview())
        return 0
    # Threads that spin while they wait cost 40 times the step beside a busy neighbour. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with handled(interrupt):
            name, *rest = command_first(args)
            return COMMANDS[name].load()(name, rest)
    except CommandError as error:
        print(f"nnfoundations: {error}", file=sys.stderr)
        return WRONG
    except SystemExit as stop:  # of a parser that has printed what it was asked for
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:  # nobody reads any more: `nnfoundations ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Interrupted as stop:
        if not stop.told:
            print(f"\nnnfoundations: {stop}: stopped; there is nothing to go on from.", file=sys.stderr)
        return stop.exit_code


def command_first(args: list[str]) -> list[str]:
    """The arguments with the command in front: flags may also stand before it.

    Raises:
        CommandError: no command, or an unknown one.
    """
    takes_value = False
    for i, arg in enumerate(args):
        if arg in COMMANDS and not takes_value:
            return [arg, *args[:i], *args[i + 1 :]]
        if not arg.startswith("-") and not takes_value:
            near = get_close_matches(arg.lower(), COMMANDS, n=1)
            cure = f"Did you mean `nnfoundations {near[0]}`?" if near else f"There are {', '.join(COMMANDS)}."
            raise CommandError(f"`{arg}` is no command.\n{cure}")
        takes_value = arg.startswith("-") and "=" not in arg and not nearest_switch(arg)
    raise CommandError(f"no command is given.\nDid you mean `nnfoundations fit {' '.join(args)}`?")


def run() -> None:
    """The console script."""
    sys.exit(main())
