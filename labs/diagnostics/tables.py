"""Answers computed from the results: what each fault looks like, the checklist, and symptom - cause - fix."""

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.markdown import markdown, markdown_table, number
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.diagnostics.catalogue import CHECKS, COURSE, FAULTS, SOUND, SYMPTOMS

if TYPE_CHECKING:
    from IPython.display import Markdown

__all__ = [
    "catches",
    "checklist",
    "checklist_order",
    "false_alarms",
    "fault_table",
    "recovered",
    "remedies",
    "shares_of_symptoms",
    "symptom_table",
]  # fmt: skip

LEAST_HARM = 2.0
"""Points of accuracy that a fault must cost for the share of them that a fix recovers."""
OF_A_RUN = {"explodes": "the training", "rises": "the training", "diagnostics": "the training"}


def faults_in(results: Results) -> list[str]:
    """Find the broken arms that have results.

    Args:
        results: of the lab.

    Returns:
        Their names, in the order of the lab.
    """
    return [name for name in FAULTS if name in results.arms]


def catches(results: Results, check: str, arm: str) -> float:
    """Find the share of the runs of an arm in which a check says that something is wrong.

    Args:
        results: of the lab.
        check: a key of CHECKS.
        arm: a broken or a sound one.

    Returns:
        The share; for Diagnostics on a broken arm only runs whose root cause has an accepted name count.
    """
    column = "named" if check == "diagnostics" and arm in FAULTS else check
    return float((results.values(arm, column) == 1).mean())


def false_alarms(results: Results, check: str) -> tuple[int, int]:
    """Count the sound runs in which a check says that something is wrong.

    Args:
        results: of the lab.
        check: a key of CHECKS.

    Returns:
        Their number, and that of all sound runs.
    """
    values = [results.values(arm, check) for arm in SOUND if arm in results.arms]
    runs = np.concatenate(values) if values else np.zeros(0)
    return int((runs == 1).sum()), len(runs)


def checklist_order(results: Results, checks: tuple[str, ...]) -> list[tuple[str, set[str], set[str]]]:
    """Order checks: first the one that catches most faults, then the one that adds most to it.

    Args:
        results: of the lab.
        checks: keys of CHECKS.

    Returns:
        Each check with the faults that it catches, and those of them that no earlier one does.
    """
    caught = {
        check: {arm for arm in faults_in(results) if catches(results, check, arm) > 0.5} for check in checks
    }
    order, known, left = [], set[str](), list(checks)
    while left:
        best = max(left, key=lambda check: (len(caught[check] - known), len(caught[check]),
                                            -false_alarms(results, check)[0]))  # fmt: skip
        left.remove(best)
        order.append((best, caught[best], caught[best] - known))
        known |= caught[best]
    return order


def checklist(results: Results, course: bool = False) -> "Markdown":
    """The checklist, ordered by what each check adds to those before it.

    Args:
        results: of the lab.
        course: whether only the four checks of the course are listed.

    Returns:
        The table.
    """
    count, rows = len(faults_in(results)), []
    for place, (check, caught, new) in enumerate(
        checklist_order(results, tuple(COURSE if course else CHECKS)), 1
    ):
        alarms, runs = false_alarms(results, check)
        added = ", ".join(FAULTS[arm].label for arm in FAULTS if arm in new) or "-"
        when = _when(results, check, caught)
        rows.append(
            (str(place), CHECKS[check], when, f"{len(caught)} of {count}", added, f"{alarms} of {runs}")
        )
    found = {
        arm
        for _, caught, _ in checklist_order(results, tuple(COURSE if course else CHECKS))
        for arm in caught
    }
    missed = ", ".join(FAULTS[arm].label for arm in faults_in(results) if arm not in found)
    below = f"No check finds: {missed}." if missed else "Each fault is found by a check."
    heads = ("", "check", "when", "catches", "what it adds", "false alarms on sound runs")
    return markdown_table(heads, rows, right=(0, 3, 5), below=below)


def _when(results: Results, check: str, caught: set[str]) -> str:
    if check not in OF_A_RUN:
        return "before the training"
    column = "named_step" if check == "diagnostics" else f"{check}_step"
    steps = [results.values(arm, column) for arm in caught]
    known = np.concatenate(steps)[~np.isnan(np.concatenate(steps))] if steps else np.zeros(0)
    if not len(known):
        return "during the training"
    return f"step {number(float(np.median(known)))} (at most {number(float(known.max()))})"


def recovered(results: Results, arm: str) -> np.ndarray:
    """Find the share of the way from a broken run to the sound one that the fix covers.

    Args:
        results: of the lab.
        arm: the broken arm.

    Returns:
        The share by seed; NaN where the fault costs less than LEAST_HARM points.

    Raises:
        ArmNotRun: there are no runs of the fixed or of the sound arm.
    """
    fault = FAULTS[arm]
    broken, sound = results.pairs(arm, fault.sound, "accuracy")
    _, fixed = results.pairs(arm, fault.fixed_arm, "accuracy")
    lost = sound - broken
    return np.where(lost >= LEAST_HARM, (fixed - broken) / np.where(lost == 0, math.nan, lost), math.nan)


def fault_table(results: Results) -> "Markdown":
    """Each fault: symptom, root cause, when it was said, and accuracy before and after the fix.

    Args:
        results: of the lab.

    Returns:
        The table.
    """
    rows = []
    for arm in faults_in(results):
        fault = FAULTS[arm]
        if not {fault.sound, fault.fixed_arm} <= set(results.arms):
            continue
        said = Counter(results.text(arm, seed, "fault") or "nothing" for seed in results.finished(arm))
        steps = results.values(arm, "named_step")
        step = "-" if np.isnan(steps).all() else number(float(np.nanmedian(steps)))
        accuracies = [
            f"{results.values(one, 'accuracy').mean():.1f}" for one in (arm, fault.fixed_arm, fault.sound)
        ]
        part = recovered(results, arm)
        share = "-" if np.isnan(part).all() else "the fix is the sound run" if not fault.fixed else (
            f"{100 * np.nanmean(part):.0f} %")  # fmt: skip
        symptoms = ", ".join(name for name, _ in shares_of_symptoms(results, arm))
        names = ", ".join(f"`{name}` ({times})" for name, times in said.most_common())
        rows.append((fault.label, symptoms, names, step, fault.fix, *accuracies, share))
    heads = ("fault", "symptom", "Diagnostics (runs)", "at step", "fix", "broken, %", "fixed, %", "sound, %",
             "recovered")  # fmt: skip
    return markdown_table(heads, rows, right=(3, 5, 6, 7))


def remedies(results: Results) -> "Markdown":
    """What Diagnostics said in the first run of each broken arm.

    Args:
        results: of the lab.

    Returns:
        The table.
    """
    rows = []
    for arm in faults_in(results):
        seed = results.seeds(arm)[0]
        fault, evidence, remedy = (results.text(arm, seed, name) for name in ("fault", "evidence", "remedy"))
        said = f"`{fault}`: {evidence}" if fault else "nothing"
        rows.append((FAULTS[arm].label, said, remedy or "-"))
    return markdown_table(
        ("fault", f"root cause and evidence, seed {results.seeds(results.arms[0])[0]}", "remedy"), rows
    )


def shares_of_symptoms(results: Results, arm: str) -> list[tuple[str, float]]:
    """Find the symptoms of an arm.

    Args:
        results: of the lab.
        arm: its name.

    Returns:
        Each symptom with its share of the runs, the commonest first.
    """
    values = results.values(arm, "symptom")
    known = Counter(SYMPTOMS[int(value)] for value in values if not math.isnan(value))
    return [(name, count / len(values)) for name, count in known.most_common()]


def symptom_table(results: Results) -> "Markdown":
    """Symptom - cause - fix, from the broken runs; the symptom with the most causes first.

    Args:
        results: of the lab.

    Returns:
        The table.
    """
    causes: dict[str, list[tuple[str, float]]] = {}
    for arm in faults_in(results):
        for symptom, share in shares_of_symptoms(results, arm):
            causes.setdefault(symptom, []).append((arm, share))
    if not causes:
        return markdown("*No broken run has ended.*")
    rows = []
    for symptom, arms in sorted(causes.items(), key=lambda one: (-len(one[1]), SYMPTOMS.index(one[0]))):
        sound = sum(share > 0 for arm in SOUND if arm in results.arms
                    for name, share in shares_of_symptoms(results, arm) if name == symptom)  # fmt: skip
        for arm, share in sorted(arms, key=lambda one: -one[1]):
            alone = " (its only cause here)" if len(arms) == 1 and not sound else ""
            rows.append(
                (symptom + alone, f"{FAULTS[arm].label} ({100 * share:.0f} % of its runs)", FAULTS[arm].fix)
            )
    return markdown_table(("symptom", "cause", "fix"), rows)
