"""After all runs: choose arms on validation data, and test them once, from their checkpoints."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from nnfoundations.cli import write_whole
from nnfoundations.labs._runner.experiment import CHOICE, TESTS, Experiment, write_rows
from nnfoundations.labs._runner.lab import Choice, Lab
from nnfoundations.labs._runner.progress import Progress
from nnfoundations.labs._runner.results import LEAST_SEEDS, Results
from nnfoundations.labs._runner.run import Row, carry_out_test

__all__ = ["choose", "chosen_arms", "run_tests"]


def choose(lab: Lab, results: Results) -> list[dict[str, Any]]:
    """Apply the rules of a lab to its results.

    Args:
        lab: the lab.
        results: of its runs.

    Returns:
        Each rule with the means of its arms and the chosen arm. A rule is left out if an arm has too few
        seeds for a ranking.
    """
    return [chosen for rule in lab.choices if (chosen := _apply(rule, results)) is not None]


def _apply(rule: Choice, results: Results) -> dict[str, Any] | None:
    arms = [arm for arm in rule.among if arm in results.arms]
    seeds = min((len(results.seeds(arm)) for arm in arms), default=0)
    if seeds < LEAST_SEEDS:
        return None
    means = {arm: float(results.values(arm, rule.column).mean()) for arm in arms}
    known = [arm for arm in arms if not math.isnan(means[arm])]  # a run that failed excludes its arm
    pick = max if rule.best == "largest" else min
    return {
        "column": rule.column,
        "best": rule.best,
        "means": {arm: None if math.isnan(mean) else mean for arm, mean in means.items()},
        "seeds": seeds,
        "chosen": pick(known, key=means.__getitem__) if known else None,
    }


def chosen_arms(choices: Sequence[dict[str, Any]]) -> list[str]:
    """Find the arms that are tested.

    Args:
        choices: as `choose` returns them.

    Returns:
        The names of the arms.
    """
    return list(dict.fromkeys(choice["chosen"] for choice in choices if choice["chosen"] is not None))


def run_tests(experiment: Experiment) -> None:
    """Test the chosen arms, if all runs have ended. What has been tested is not tested again.

    `choice.json` has the choices, and an entry for each time that test data were read: it is written before
    they are read. `test.csv` has the numbers.

    Args:
        experiment: after its runs.

    Raises:
        Stopped: a signal has ended a test; the same call continues.
    """
    if not experiment.lab.choices or len(experiment.rows) < len(experiment.runs):
        return
    results = Results(experiment.out)
    choices, readings = choose(experiment.lab, results), results.readings
    if not choices and not readings:
        return
    arms = chosen_arms(choices)
    runs = [run for run in experiment.runs if run.arm.name in arms]
    rows = {run.name: run.tested() for run in runs}
    missing = [run for run in runs if rows[run.name] is None]
    if missing:
        _add_reading(readings, arms, len(missing))
    record = {"choices": choices, "readings": readings}
    _write(experiment, record, rows.values())
    progress = Progress(f"{experiment.lab.name} test", len(missing))
    for run in missing:
        row = rows[run.name] = carry_out_test(run)
        left = sum(run.tested() is None for run in runs)
        readings[-1]["tested"] = readings[-1]["runs"] - left
        _write(experiment, record, rows.values())
        progress.show(f"{run.name.replace('/', ' ')} {row.state}")
    progress.close()


def _add_reading(readings: list[dict[str, Any]], arms: Sequence[str], missing: int) -> None:
    """Log a reading of test data, or continue the last one if it was stopped."""
    reason = "after all runs"
    if readings:
        last = readings[-1]
        if last["arms"] == arms and missing <= last["runs"] - last["tested"]:
            return
        what = "runs" if last["arms"] == arms else "choice"
        reason = f"again, because the {what} had changed"
    readings.append({"reason": reason, "arms": list(arms), "runs": missing, "tested": 0})


def _write(experiment: Experiment, record: dict[str, Any], rows: Iterable[Row | None]) -> None:
    write_whole(experiment.out / CHOICE, json.dumps(record, indent=2) + "\n")
    write_rows(experiment.out / TESTS, [row for row in rows if row is not None])
