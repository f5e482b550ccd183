"""`nnfoundations sweep`: try a config at other settings, and write the best one."""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from nnfoundations.cli.commands._command_parser import CommandParser, count
from nnfoundations.cli.commands._train import FAILED, report_error
from nnfoundations.cli.config._arguments import read_settings
from nnfoundations.cli.config._logger_names import LOGGERS, check_loggers, where_to_look
from nnfoundations.cli.config._packaged import resolve_configs, run_name
from nnfoundations.cli.config._settings import CommandError, Setting, model_class
from nnfoundations.cli.run._environment import TorchvisionMismatchError, command_prefix, import_lightning
from nnfoundations.cli.run._run_folder import check_name
from nnfoundations.cli.run._signals import Interrupted
from nnfoundations.cli.run._verbosity import Verbosity
from nnfoundations.cli.sweep._liveness import fail_stale_trials
from nnfoundations.cli.sweep._plan import Plan, check_options
from nnfoundations.cli.sweep._sampler import SAMPLERS
from nnfoundations.cli.sweep._space import read_space
from nnfoundations.cli.sweep._study import PRUNERS, find_study, open_study, quiet_optuna

if TYPE_CHECKING:
    from optuna import Study

__all__ = ["sweep_command"]

TRIALS = 20
LEAST_SEEDS = 5
"""With fewer, Wilcoxon's test cannot tell two trials apart before the last seed."""


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"takes seconds, a number above 0; got {text}")
    return seconds


def _parser() -> CommandParser:
    parser = CommandParser(
        "nnfoundations sweep",
        allow_abbrev=False,
        usage="nnfoundations sweep --config NAME --space space.yaml [options] [--key value ...]",
        description="Train a config at other settings and write the best one as best.yaml. Each line of the "
        "space is an option of `fit` with its range, such as "
        "`model.optimizer.lr: {low: 0.001, high: 0.3, log: true}` or `data.batch_size: {choices: [16, 64]}`. "
        "The same command continues a sweep that was stopped. All other options are those of `fit`.",
        epilog="Exit code: 0 if a trial finished, 1 if none did, 2 if the command is wrong.",
    )
    parser.add_argument("--space", type=Path, metavar="FILE.yaml", help="which options vary, and how")
    parser.add_argument("--trials", type=count, metavar="N", help=f"trials in all; default {TRIALS}")
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="seconds after which no trial begins")
    parser.add_argument("--seeds", type=count, metavar="N", default=1, help="runs per trial; default 1")
    parser.add_argument("--jobs", type=count, metavar="N", default=1, help="trials at a time; default 1")
    parser.add_argument(
        "--monitor", metavar="METRIC", help="what is compared; default: the metric of the best checkpoint"
    )
    parser.add_argument("--mode", choices=("min", "max"), help="default: that of the metric")
    parser.add_argument(
        "--pruner",
        choices=PRUNERS,
        default="none",
        help="end poor trials early: median by epoch, wilcoxon by seed; default none",
    )
    parser.add_argument(
        "--sampler", choices=SAMPLERS, default="tpe", help="how values are drawn; default tpe"
    )
    parser.add_argument(
        "--storage", metavar="FILE|URL", help="journal or database; default: study.journal in the folder"
    )
    parser.add_argument("--name", help="name of the study; default: the config's")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/sweeps/NAME")
    parser.add_argument("--show", metavar="STORAGE", help="print a study and run nothing")
    return parser


def sweep_command(command: str, args: Sequence[str]) -> int:
    """Run a sweep, or print one.

    Args:
        command: `sweep`.
        args: its arguments.

    Returns:
        The exit code: 0 a trial finished, 1 none did.

    Raises:
        CommandError: the command is wrong; nothing has run.
    """
    verbosity, words = Verbosity.from_arguments(list(args))
    parser = _parser()
    given, rest = parser.parse_known_args(words)
    quiet_optuna()
    if given.show is not None:
        print("\n".join(_shown(given, rest)))
        return 0
    _check_spelling(parser, rest)
    if given.space is None:
        raise CommandError("sweep: --space is missing.\nGive a YAML file with the options that vary.")
    if given.pruner == "wilcoxon" and given.seeds < LEAST_SEEDS:
        raise CommandError(
            f"--pruner wilcoxon compares seeds; got --seeds {given.seeds}.\n"
            f"Give --seeds {LEAST_SEEDS} or more."
        )
    try:
        plan = _plan(given, rest, verbosity)
    except (CommandError, TorchvisionMismatchError):
        raise
    except Exception as error:  # anything that the user's model or data raises in the first batch
        report_error(error, verbosity)
        return FAILED
    study = _open(plan)
    try:
        return _run(plan, study, given.jobs, verbosity)
    except Interrupted as stop:
        _report(plan, study, verbosity)
        print("\nStopped. Trials that have ended are kept; the same command continues.", file=sys.stderr)
        stop.reported = True
        raise


def _check_spelling(parser: CommandParser, rest: list[str]) -> None:
    """An option that is nearly one of the sweep's own is not one of `fit`."""
    own = [option for action in parser._actions for option in action.option_strings]
    for word in rest:
        option = word.partition("=")[0]
        if option.startswith("--") and (near := get_close_matches(option, own, n=1, cutoff=0.8)):
            raise CommandError(f"unknown option `{option}`.\nDid you mean `{near[0]}`?")


def _plan(given: argparse.Namespace, rest: list[str], verbosity: Verbosity) -> Plan:
    """Check all that can be checked without a run, then run one batch; nothing is written."""
    space = read_space(given.space)
    arguments, configs = resolve_configs(rest)
    settings = read_settings(arguments)
    check_options(settings, space)
    loggers = _loggers(settings)
    name = given.name or run_name(configs, model_class(settings))
    check_name(name)
    verbosity.silence_parser()
    import_lightning()

    from nnfoundations.cli.sweep._rehearsal import choose_objective, rehearse

    logged = rehearse(arguments, space)
    objective = choose_objective(logged, given.monitor, given.mode)
    out = given.out or Path("runs") / "sweeps" / name
    return Plan(
        name=name,
        arguments=tuple(arguments),
        space=space,
        metric=objective.metric,
        mode=objective.mode,
        seeds=given.seeds,
        trials=given.trials or (None if given.timeout else TRIALS),
        deadline=time.time() + given.timeout if given.timeout else math.inf,
        sampler=given.sampler,
        pruner=given.pruner,
        storage=given.storage or str(out / "study.journal"),
        out=out,
        loggers=loggers,
        quiet=verbosity is Verbosity.QUIET,
    )


def _loggers(settings: Setting) -> tuple[str, ...]:
    """The loggers of the runs; none of ours if the config has its own."""
    named = settings.find("logger")
    if named is None or named.plain() is None:
        return () if settings.find("trainer.logger") else ("tensorboard",)
    plain = named.plain()
    names = tuple(plain) if isinstance(plain, list) else (str(plain),)
    if not set(names) <= set(LOGGERS):
        return ()  # the parser refuses it
    check_loggers(names)
    return names


def _open(plan: Plan) -> "Study":
    """Open the study and make the folder of the results; leave nothing if one of the two fails."""
    made = [folder for folder in (plan.out, *plan.out.parents) if not folder.exists()]
    is_new_file = "://" not in plan.storage and not Path(plan.storage).exists()
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        return open_study(plan)
    except (OSError, CommandError) as error:
        with suppress(OSError):
            if is_new_file:
                Path(plan.storage).unlink()
        for folder in made:
            if folder.is_dir():
                folder.rmdir()
        if isinstance(error, CommandError):
            raise
        raise CommandError(
            f"--out: `{plan.out}` cannot be made: {error.strerror}.\nGive another --out."
        ) from None


def _run(plan: Plan, study: "Study", jobs: int, verbosity: Verbosity) -> int:
    from nnfoundations.cli.sweep._workers import ended_by_the_system, run_workers, taken, work

    fail_stale_trials(study)
    if verbosity is not Verbosity.QUIET and (done := taken(study)):
        of = f" of {plan.trials}" if plan.trials is not None else ""
        print(f"Continues {plan.name}: {done}{of} trials are done.", file=sys.stderr)
    if jobs == 1:
        work(plan, study)
        codes = []
    else:
        missing = math.inf if plan.trials is None else max(1, plan.trials - taken(study))
        codes = run_workers(plan, int(min(jobs, missing)))
    best = _report(plan, study, verbosity)
    if ended_by_the_system(codes):
        print(
            f"The system has killed one of {jobs} workers, probably for memory. Give fewer --jobs; the same "
            "command continues.",
            file=sys.stderr,
        )
    return int(best is None or any(codes))


def _report(plan: Plan, study: "Study", verbosity: Verbosity) -> Path | None:
    """Write tables, figures and the best config; print what they say and where they are."""
    from nnfoundations.cli.sweep._figures import write_figures
    from nnfoundations.cli.sweep._results import closing_lines, write_best, write_results

    write_results(plan, study)
    best = write_best(plan, study)
    write_figures(plan, study)
    if verbosity is Verbosity.QUIET:
        print(plan.out)
        return best
    print("\n".join(["", *closing_lines(study), ""]))
    print(f"Results      {plan.out}")
    for logger in plan.loggers:
        label, place = where_to_look(logger, plan.out / "runs")
        print(f"{label:<12} {place}")
    if best is not None:
        print(f"Best         {command_prefix()}nnfoundations fit --config {best}")
    return best


def _shown(given: argparse.Namespace, rest: list[str]) -> list[str]:
    from nnfoundations.cli.sweep._results import closing_lines

    if rest:
        raise CommandError(
            f"--show takes no further options; got `{' '.join(rest)}`.\nGive --name, or nothing."
        )
    return list(closing_lines(find_study(given.show, given.name)))
