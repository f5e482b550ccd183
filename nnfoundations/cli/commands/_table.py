"""The table of subcommands: what each is for, an example, and the function that runs it.

A command is a function from arguments to an exit code. It is imported only when it is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from nnfoundations.cli.config._settings import CommandError

__all__ = ["COMMANDS", "TRAINING", "Command", "prints_help"]


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Args:
        summary: what it is for.
        example: arguments to try.
        where: `module:function` in `nnfoundations.cli.commands`.
    """

    summary: str
    example: str
    where: str = "_train:train"

    def load(self) -> Callable[[str, list[str]], int]:
        """The function that runs it: takes the command's name and its arguments, returns the exit code."""
        module, _, name = self.where.partition(":")
        function: Callable[[str, list[str]], int] = getattr(
            import_module(f"nnfoundations.cli.commands.{module}"), name
        )
        return function


COMMANDS = {
    "fit": Command("train, validate and test a model", "--config digits"),
    "validate": Command("evaluate a checkpoint on the validation data", "--config digits --ckpt_path last"),
    "test": Command("evaluate a checkpoint on the test data", "--config digits --ckpt_path best"),
    "predict": Command("write predictions.csv, one row per sample", "--config digits --ckpt_path best"),
    "check": Command("check a model for faults before a long run", "--config digits", "_check:check_command"),
    "explain": Command(
        "explain a fault: symptom, evidence, cause, fix", "dead-units", "_explain:explain_command"
    ),
    "diagnose": Command(
        "judge a finished run again, or a log of losses", "runs/digits/RUN", "_diagnose:diagnose_command"
    ),
    "sweep": Command(
        "try a config at other settings", "--config digits --space space.yaml", "_sweep:sweep_command"
    ),
    "lab": Command("run an experiment and write its report", "perceptron", "_lab:lab_command"),
    "data": Command("download, verify and describe a data set", "mnist", "_data:data_command"),
    "configs": Command("list the packaged configs with their goals", "", "_configs:configs_command"),
    "doctor": Command("check whether `fit` will run on this machine", "", "_doctor:doctor_command"),
    "completion": Command("print tab completion for bash", "bash", "_completion:completion_command"),
}
TRAINING = tuple(name for name, command in COMMANDS.items() if command.where == "_train:train")


def prints_help(name: str, args: list[str]) -> bool:
    """Handle the arguments of a command that takes none: print its summary if they ask for help.

    Returns:
        Whether help was asked for and printed.

    Raises:
        CommandError: there are other arguments.
    """
    if not args:
        return False
    if args[0] not in ("--help", "-h"):
        raise CommandError(
            f"`{name}` takes no arguments; got `{' '.join(args)}`.\nRun `nnfoundations {name}`."
        )
    print(f"nnfoundations {name}: {COMMANDS[name].summary}")
    return True
