"""The commands, in one table: what each is for, one line to try, and the function that runs it.

A command is a function from arguments to an exit code; it is imported when it is called for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from nnfoundations.cli._settings import CommandError


@dataclass(frozen=True)
class Command:
    """Args: summary: what it is for. example: arguments to try. where: `module:function` under the cli."""

    summary: str
    example: str
    where: str = "_train:train"

    def load(self) -> Callable[[str, list[str]], int]:
        """The function: the command's name and the arguments after it in, exit code out."""
        module, _, name = self.where.partition(":")
        function: Callable[[str, list[str]], int] = getattr(
            import_module(f"nnfoundations.cli.{module}"), name
        )
        return function


COMMANDS = {
    "fit": Command("train, validate and test", "--config digits"),
    "validate": Command("score a checkpoint on the validation data", "--config digits --ckpt_path last"),
    "test": Command("score a checkpoint on the test data", "--config digits --ckpt_path best"),
    "predict": Command("write predictions.csv, a row a sample", "--config digits --ckpt_path best"),
    "check": Command("is this model sound? in under a minute", "--config digits", "_check:check_command"),
    "data": Command("fetch, check and describe a data set", "mnist", "_data:data_command"),
    "configs": Command("what is packaged, and what it reaches", "", "_configs:configs_command"),
    "doctor": Command("will a fit run on this machine?", "", "_doctor:doctor_command"),
    "completion": Command("tab completion for bash", "bash", "_completion:completion_command"),
}
TRAINING = tuple(name for name, command in COMMANDS.items() if command.where == "_train:train")


def takes_nothing(name: str, args: list[str]) -> bool:
    """For a command without arguments: is it only asked what it is for? Then that is printed.

    Raises:
        CommandError: there are arguments.
    """
    if not args:
        return False
    if args[0] not in ("--help", "-h"):
        raise CommandError(
            f"`{name}` takes no arguments; got `{' '.join(args)}`.\nRun `nnfoundations {name}`."
        )
    print(f"nnfoundations {name}: {COMMANDS[name].summary}")
    return True
