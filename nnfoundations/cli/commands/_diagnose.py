"""`nnfoundations diagnose`: run the rules on a finished run, or on a log of another program."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnfoundations.cli.commands._command_parser import CommandParser
from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._recorded_run import find_record

if TYPE_CHECKING:
    from nnfoundations.diagnostics import History

__all__ = ["diagnose_command"]


def _parser() -> CommandParser:
    parser = CommandParser(
        "nnfoundations diagnose",
        allow_abbrev=False,
        description="Run the rules of diagnostics on a finished run and print the findings, root cause "
        "first. All measurements of a run by `fit`, or with the Diagnostics callback, are judged "
        "(history.npz). A log of another program holds only losses, so most faults cannot be found in it; "
        "the last lines say which rules did not run.",
        epilog="Exit code: 0 if nothing was found, or only findings of severity info; 1 if there is "
        "a finding of severity warning or error; 2 if the run could not be judged.",
    )
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="folder of a run, history.npz, metrics.csv, or an event file of TensorBoard",
    )
    parser.add_argument(
        "--loss", metavar="NAME", help="name of the training loss in a log, such as train_loss"
    )
    parser.add_argument("--val-loss", metavar="NAME", help="name of the validation loss in a log")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON per finding, as in findings.jsonl"
    )
    return parser


def diagnose_command(command: str, args: Sequence[str]) -> int:
    """Judge a finished run again.

    Args:
        command: `diagnose`.
        args: its arguments.

    Returns:
        The exit code: 0 nothing found, 1 a finding of severity warning or error.

    Raises:
        CommandError: the run cannot be judged.
    """
    given = _parser().parse_args(args)
    source = find_record(given.run)

    from nnfoundations.diagnostics import Console, Judge, Severity, findings_line

    history, what = _read(source, given)
    judge = Judge()
    judge.judge_again(history)
    if given.json:
        last = _last_step(history)
        print("".join(findings_line("end", finding, last) for finding in judge.findings), end="")
    else:
        Console().judged(judge, history, what)
    return int(any(finding.severity is not Severity.INFO for finding in judge.findings))


def _read(source: Path, given: argparse.Namespace) -> tuple["History", str]:
    """Return the history, and the end of the sentence that says what was judged."""
    from nnfoundations.cli.run._loss_log import read_log
    from nnfoundations.diagnostics import History
    from nnfoundations.errors import HistoryError

    if source.suffix != ".npz":
        log = read_log(source, given.loss, given.val_loss)
        return log.history, f"{' and '.join(log.read)} of {source} ({log.span})."
    if given.loss or given.val_loss:
        raise CommandError(
            f"--loss and --val-loss name series of a log; `{source}` is a history.\nLeave them out."
        )
    try:
        history = History.load(source)
    except (HistoryError, OSError) as error:
        raise CommandError(str(error)) from error
    if not any(map(len, history.series.values())):
        raise CommandError(f"`{source}` has no measurements.\nThe run ended before its first step.")
    steps = _last_step(history) + 1
    return history, f"{steps:,} step{'s' * (steps != 1)} of {source}."


def _last_step(history: "History") -> int:
    return max(int(series.steps[-1]) for series in history.series.values() if len(series))
