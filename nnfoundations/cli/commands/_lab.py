"""`nnfoundations lab`: run an experiment and write its report, or list the experiments."""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from nnfoundations.cli.commands._command_parser import CommandParser, count
from nnfoundations.cli.config._logger_names import LOGGERS, check_loggers, where_to_look
from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._signals import Interrupted
from nnfoundations.errors import OptionError

if TYPE_CHECKING:
    from nnfoundations.labs import Experiment, Lab

__all__ = ["lab_command"]

INSTALL = 'pip install "nnfoundations[labs]"'


def _parser() -> CommandParser:
    parser = CommandParser(
        "nnfoundations lab",
        allow_abbrev=False,
        description="Run an experiment and write its report. Without a name, list the experiments. "
        "Finished runs are kept: the same command continues where it was stopped.",
    )
    parser.add_argument("name", nargs="?", help="a lab, such as perceptron")
    parser.add_argument("--preset", choices=("smoke", "quick", "full"), default="quick")
    parser.add_argument("--seeds", type=count, metavar="N", help="runs of each arm; default: the preset's")
    parser.add_argument("--jobs", type=count, metavar="N", default=1, help="runs at a time; default 1")
    parser.add_argument("--only", action="append", default=[], metavar="ARM", help="run this arm only")
    parser.add_argument(
        "--arm",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.yaml",
        help="a config of your own, compared with the arms of the lab",
    )
    parser.add_argument("--logger", choices=LOGGERS, help="log the runs here too, beside TensorBoard")
    parser.add_argument("--report-only", action="store_true", help="run nothing; write the report again")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder of the results; default runs/labs/NAME/PRESET"
    )
    parser.add_argument("--student", action="store_true", help="also write the notebook without solutions")
    return parser


def lab_command(command: str, args: Sequence[str]) -> int:
    """Run a lab, or list all.

    Args:
        command: `lab`.
        args: its arguments.

    Returns:
        The exit code: 0 success, 1 runs failed, 130 or 143 after a signal.

    Raises:
        CommandError: an unknown option, lab or arm, or nothing to report on.
    """
    given = _parser().parse_args(args)
    from nnfoundations.labs import find_labs

    labs = find_labs()
    if given.name is None:
        _print_list(labs)
        return 0
    name = given.name.replace("-", "_")
    if name not in labs:
        near = get_close_matches(name, labs, n=1)
        fix = f"Did you mean `{near[0]}`?" if near else f"Labs: {', '.join(labs)}."
        raise CommandError(f"there is no lab `{given.name}`.\n{fix}")
    return _run(labs[name], given)


def _default_out(lab: str, preset: str) -> Path:
    return Path("runs") / "labs" / lab / preset


def _print_list(labs: "dict[str, Lab]") -> None:
    from nnfoundations.labs import duration, ended_runs

    for name, lab in labs.items():
        print(f"{name}\n  {lab.question}")
        for preset, chosen in lab.presets.items():
            arms = len(lab.arms_of(preset))
            part = f" ({arms} of {len(lab.arms)} arms)" if arms < len(lab.arms) else ""
            done = ended_runs(_default_out(name, preset))
            state = f", {done} done" if done else ""
            time = duration(chosen.seconds)
            print(f"  {preset:<6} {arms * chosen.seeds} runs{part}, {time} of CPU time{state}")
        if lab.data:
            print(f"  data   {', '.join(lab.data)}, downloaded once")
    print("\nRun one:  nnfoundations lab NAME --preset quick --jobs 2")


def _run(lab: "Lab", given: argparse.Namespace) -> int:
    from nnfoundations.labs import Experiment, Stopped, run_tests

    for path in given.arm:
        if not path.is_file():
            raise CommandError(
                f"--arm: `{path}` does not exist.\nGive the path of a config that `fit` can run."
            )
    logger = None if given.logger == "tensorboard" else given.logger
    check_loggers([logger] if logger else [])
    out = given.out or _default_out(lab.name, given.preset)
    try:
        if not given.report_only:
            experiment = Experiment(lab, given.preset, out, seeds=given.seeds, mine=given.arm, logger=logger)
            _check_arms(experiment, given.only)
            experiment.run(given.only, given.jobs)
            run_tests(experiment)
        return _report(lab, out, given)
    except OptionError as error:
        raise CommandError(f"lab: {error}") from None
    except Stopped as stop:
        return _say_stopped(stop.code)
    except Interrupted as stop:
        return _say_stopped(stop.exit_code)


def _say_stopped(code: int) -> int:
    print("\nStopped. Finished runs are kept; the same command continues.", file=sys.stderr)
    return code


def _check_arms(experiment: "Experiment", only: Sequence[str]) -> None:
    lab, arms = experiment.lab, list(dict.fromkeys(run.arm.name for run in experiment.runs))
    for name in only:
        if name in {arm.name for arm in lab.arms} - set(arms):
            raise CommandError(
                f"--only: the preset `{experiment.preset}` does not run `{name}`.\nGive --preset full."
            )
        if name not in arms:
            near = get_close_matches(name, arms, n=1)
            fix = f"Did you mean `{near[0]}`?" if near else f"Arms: {', '.join(arms)}."
            raise CommandError(f"--only: {lab.name} has no arm `{name}`.\n{fix}")


def _report(lab: "Lab", out: Path, given: argparse.Namespace) -> int:
    from nnfoundations.labs import Results, write_verdicts

    if not (out / "results.csv").exists():
        raise CommandError(
            f"--report-only: there are no results in `{out}`.\nRun the lab first, or give another --out."
        )
    for one in write_verdicts(lab, out):
        print(f"{one.verdict:<13} {one.claim.claim}" + (f" ({one.reason})" if one.reason else ""))
    results = Results(out)
    for choice in results.choices:
        among = f"{choice['best']} {choice['column']} of {', '.join(choice['means'])}"
        print(f"{'chosen':<13} {choice['chosen'] or 'none'}: {among}")
    failed = results.failures
    for row in failed:
        print(f"failed: {row['arm']} seed {row['seed']}: {row['cause']}", file=sys.stderr)
    _draw(lab, out, given)
    print(f"Results      {out}")
    for logger in dict.fromkeys(("tensorboard", given.logger or "tensorboard")):
        label, place = where_to_look(logger, out / "runs")
        print(f"{label:<12} {place}")
    return int(bool(failed))


def _draw(lab: "Lab", out: Path, given: argparse.Namespace) -> None:
    """Draw the figures and write the notebook, if there are results and packages for them."""
    from nnfoundations.labs import arms_without_results, has_notebook_packages, write_figures, write_notebook

    if missing := arms_without_results(lab, out):
        print(f"No figures and no report yet: no finished run of {', '.join(missing)}.")
        return
    write_figures(lab, out)
    if not (lab.presets[given.preset].notebook or given.report_only or given.student):
        return
    if has_notebook_packages():
        print(f"Report       {write_notebook(lab, out, student=given.student)}")
    else:
        print(f"No notebook and no report: they need more packages. {INSTALL}")
