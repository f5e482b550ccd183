"""The results of a sweep: tables, the best config, and the lines at the end."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnfoundations.cli.config._arguments import read_settings
from nnfoundations.cli.run._captured import write_whole
from nnfoundations.cli.sweep._liveness import stopped_trials
from nnfoundations.cli.sweep._plan import Plan
from nnfoundations.cli.sweep._space import option_text
from nnfoundations.cli.sweep._study import IDENTITY

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["closing_lines", "is_best", "state_of", "trial_line", "write_best", "write_results"]

TRIALS, RUNS, BEST = "trials.csv", "runs.csv", "best.yaml"
SHOWN = 5
"""Trials in the table at the end."""


def state_of(study: "Study", trial: "FrozenTrial") -> str:
    """How a trial ended: finished, pruned, failed, stopped (its values are tried again), or running.

    Args:
        study: of the trial.
        trial: any.
    """
    if trial.number in stopped_trials(study):
        return "stopped"
    return {"COMPLETE": "finished", "FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())


def _begun(study: "Study") -> list["FrozenTrial"]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name != "WAITING"]


def _metric(study: "Study") -> str:
    return str(study.user_attrs.get(IDENTITY, {}).get("monitor", "value"))


def write_results(plan: Plan, study: "Study") -> None:
    """Write a table with a row per trial, and one with a row per run.

    Args:
        plan: the sweep.
        study: its study.
    """
    trials, stopped = _begun(study), stopped_trials(study)
    header = ("trial", "state", plan.metric, *plan.space, "runs", "seconds", "cause", "error")
    rows = []
    for trial in trials:
        runs = trial.user_attrs.get("runs", [])
        cells = (trial.number, state_of(study, trial), trial.value,
                 *(option_text(trial.params[key]) if key in trial.params else "" for key in plan.space),
                 len(runs), round(sum(run["seconds"] for run in runs), 1),
                 stopped.get(trial.number, trial.user_attrs.get("cause", "")),
                 trial.user_attrs.get("error", ""))  # fmt: skip
        rows.append(cells)
    write_whole(plan.out / TRIALS, _table(header, rows))
    names = ("seed", "value", "epochs", "seconds", "folder")
    lines = (
        (trial.number, *map(run.get, names)) for trial in trials for run in trial.user_attrs.get("runs", [])
    )
    write_whole(plan.out / RUNS, _table(("trial", "seed", plan.metric, *names[2:]), lines))


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_best(plan: Plan, study: "Study") -> Path | None:
    """Write the whole config of the best trial.

    Args:
        plan: the sweep.
        study: its study.

    Returns:
        The file; None if no trial has finished.
    """
    from nnfoundations.cli.run._dry_cli import whole_config

    best = _best(study)
    if best is None:
        return None
    options = plan.options(best.params)
    text = whole_config(options, read_settings(options))
    head = f"# Trial {best.number} of the sweep {plan.name}: {plan.metric} {best.value:.4f}" + (
        f", the mean of {plan.seeds} seeds.\n" if plan.seeds > 1 else ".\n"
    )
    write_whole(plan.out / BEST, head + text)
    return plan.out / BEST


def is_best(study: "Study", number: int) -> bool:
    """Whether this trial is the best until now."""
    best = _best(study)
    return best is not None and best.number == number


def _best(study: "Study") -> "FrozenTrial | None":
    return next(iter(_ranked(study)), None)


def _ranked(study: "Study") -> list["FrozenTrial"]:
    """The finished trials, the best first."""
    finished = [trial for trial in _begun(study) if trial.state.name == "COMPLETE"]
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    return sorted(finished, key=lambda trial: sign * (trial.value or 0.0))


def trial_line(study: "Study", number: int) -> str:
    """Say how a trial ended, and which is the best so far.

    Args:
        study: of the trial.
        number: of the trial.
    """
    trial = study.get_trials(deepcopy=False)[number]
    state, best = state_of(study, trial), _best(study)
    how = trial.user_attrs.get("cause", "") if state == "failed" else _number(trial.value)
    so_far = f" (best {_number(best.value)}, trial {best.number})" if best is not None else ""
    return f"trial {number}: {state} {how}{so_far}  {_values(trial)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _values(trial: "FrozenTrial") -> str:
    texts = {
        key: f"{value:.4g}" if isinstance(value, float) else option_text(value)
        for key, value in trial.params.items()
    }
    return "  ".join(f"{key} {text}" for key, text in texts.items())


def closing_lines(study: "Study") -> Iterator[str]:
    """The table at the end: the best trials, how many failed, and why.

    Args:
        study: with its trials.

    Yields:
        Lines.
    """
    trials, ranked = _begun(study), _ranked(study)
    states = Counter(state_of(study, trial) for trial in trials)
    again = states.pop("stopped", 0)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    yield f"{study.study_name}: {states.total()} trials ({counted or 'none'})"
    if failed := states["failed"]:
        causes = Counter(
            trial.user_attrs.get("cause", "unknown") for trial in trials if state_of(study, trial) == "failed"
        )
        listed = causes.most_common()
        named = listed[0][0] if len(listed) == 1 else ", ".join(f"{cause} ({n})" for cause, n in listed)
        yield f"{failed} of {states.total()} failed: {named}"
    if again:
        yield f"{again} stopped before their end; their values are tried again"
    if ranked:
        yield ""
        yield from _ranking(study, ranked[:SHOWN])


def _ranking(study: "Study", trials: Sequence["FrozenTrial"]) -> Iterator[str]:
    """A table of trials, with the range over the seeds."""
    keys = list(trials[0].params)
    rows = [["trial", _metric(study), "seeds", *keys]]
    for trial in trials:
        runs = [run["value"] for run in trial.user_attrs.get("runs", [])]
        spread = f"{min(runs):.4f} to {max(runs):.4f}" if len(runs) > 1 else "1"
        cells = (trial.params[key] for key in keys)
        rows.append([
            str(trial.number), _number(trial.value), spread,
            *(f"{cell:.4g}" if isinstance(cell, float) else option_text(cell) for cell in cells),
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
