"""Before a sweep: every option of the space goes through the parser, and one batch shows the metrics."""

import re
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO

from nnfoundations.cli.config._arguments import read_settings
from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._dry_cli import whole_config
from nnfoundations.cli.run._lightning_cli import FoundationsCLI
from nnfoundations.cli.run._monitored_metrics import known_modes
from nnfoundations.cli.run._verbosity import Verbosity
from nnfoundations.cli.run._working_folder import working_folder_importable
from nnfoundations.cli.sweep._plan import examples
from nnfoundations.cli.sweep._space import Space, option_words

__all__ = ["Objective", "choose_objective", "rehearse"]

_LOWER = r"loss|error|err\b|mse|mae|perplexity|nll"
_HIGHER = r"acc|auc|auroc|f1|precision|recall|iou|dice|r2|bleu|score|ap\b"


@dataclass(frozen=True)
class Objective:
    """What a sweep compares.

    Args:
        metric: its name.
        mode: `min` or `max`.
    """

    metric: str
    mode: str


@dataclass(frozen=True)
class Logged:
    """What one batch of training and validation has shown.

    Args:
        metrics: all that is logged.
        modes: `min` or `max` of the metrics that say so themselves.
        monitor: the metric of the best checkpoint in the config.
        monitor_mode: its mode.
    """

    metrics: list[str]
    modes: dict[str, str]
    monitor: str | None
    monitor_mode: str


def rehearse(arguments: list[str], space: Space) -> Logged:
    """Parse every choice and both ends of every range, and run one batch with the first values.

    Args:
        arguments: those of `fit`, configs as paths.
        space: what varies.

    Raises:
        CommandError: an option is unknown, or a value is refused.
    """
    with warnings.catch_warnings(), working_folder_importable():
        for values in examples(space):
            given = [*arguments, *option_words(values)]
            try:
                whole_config(given, read_settings(given))
            except CommandError as error:
                raise _at_its_line(error, space) from None
        return _one_batch([*arguments, *option_words(next(examples(space)))])


def _at_its_line(error: CommandError, space: Space) -> CommandError:
    """Say where the option stands: to the parser it is an option of the command line."""
    named = {key: (f"`{key}`", f"`--{key}`", f"`{key.rpartition('.')[2]}`") for key in space}
    keys = [key for key, forms in named.items() if any(form in str(error) for form in forms)]
    return CommandError(f"{space[keys[0]].place}: {error}") if keys else error


def _one_batch(arguments: list[str]) -> Logged:
    given = [
        *arguments,
        *("--trainer.fast_dev_run", "true", "--test", "false", "--diagnostics.enabled", "false"),
    ]
    with redirect_stdout(StringIO()):
        cli = FoundationsCLI("fit", given, read_settings(given), "sweep", Verbosity.QUIET)
    checkpoint = cli.config.fit.checkpoint
    return Logged(
        sorted(cli.trainer.callback_metrics), known_modes(cli.model), checkpoint.monitor, checkpoint.mode
    )


def choose_objective(logged: Logged, metric: str | None, mode: str | None) -> Objective:
    """Choose the metric and its mode.

    Args:
        logged: what one batch has shown.
        metric: the option `--monitor`; None takes that of the best checkpoint.
        mode: the option `--mode`; None takes that of the metric.

    Raises:
        CommandError: nothing logs the metric, or its mode is not known.
    """
    chosen = metric or logged.monitor
    listed = ", ".join(logged.metrics) or "none"
    if chosen is None:
        raise CommandError(
            f"the config names no metric to compare.\nGive --monitor. Logged metrics: {listed}."
        )
    if chosen not in logged.metrics:
        near = get_close_matches(chosen, logged.metrics, n=1)
        meant = f"Did you mean `{near[0]}`? " if near else ""
        raise CommandError(
            f"`--monitor` cannot be `{chosen}`: this metric is not logged.\n{meant}Logged metrics: {listed}."
        )
    found = (
        mode or logged.modes.get(chosen) or _mode_of_the_checkpoint(logged, chosen) or _mode_by_name(chosen)
    )
    if found is None:
        raise CommandError(
            f"nothing says whether a higher `{chosen}` is better.\nGive --mode min or --mode max."
        )
    return Objective(chosen, found)


def _mode_of_the_checkpoint(logged: Logged, metric: str) -> str | None:
    return logged.monitor_mode if metric == logged.monitor else None


def _mode_by_name(metric: str) -> str | None:
    lower, higher = (re.search(words, metric.lower()) for words in (_LOWER, _HIGHER))
    return None if bool(lower) == bool(higher) else "min" if lower else "max"
