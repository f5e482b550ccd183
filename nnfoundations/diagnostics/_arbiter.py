"""Separates root causes from symptoms: one finding per cause, with its symptoms.

A fault that begins earlier is the cause. Within 20 steps the order of families decides, and before it a rule
that names another fault as its symptom. What a fault explains is part of its rule.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics.rules import Rule

if TYPE_CHECKING:
    from nnfoundations.diagnostics._judge import RuleState

__all__ = ["WINDOW", "arbitrate"]

WINDOW = 20
"""Steps within which the order of families decides and not the step: measurements may be that far apart."""


def arbitrate(cases: Iterable[tuple[Rule, "RuleState"]]) -> list[Finding]:
    """Return one finding per root cause, the first cause first.

    A suspicion becomes a symptom of an earlier one that explains it. It is a separate cause only if it
    differs from every earlier cause in its layers or in its family.

    Args:
        cases: the rules with their results, in the order of the list of rules.
    """
    found_cases = [(rule, case) for rule, case in cases if case.confirmed and case.suspicion is not None]
    starts = _starts([case.first_step for _, case in found_cases])
    ranked = sorted(found_cases, key=lambda pair: (starts[pair[1].first_step], Family.rank(pair[0].family)))
    ranked = _named_causes_first(ranked, starts)
    causes: list[tuple[Rule, Finding]] = []
    for rule, case in ranked:
        suspicion = case.suspicion
        assert suspicion is not None
        parent = next(
            (i for i, (cause, found) in enumerate(causes) if _explains(cause, found, rule, suspicion.where)),
            None,
        )
        if parent is not None:
            cause, found = causes[parent]
            consequences = (*found.consequences, rule.fault)
            causes[parent] = cause, Finding(**{**vars(found), "consequences": consequences})
            continue
        found = Finding(
            rule.fault,
            suspicion.severity,
            case.first_step,
            case.last_step,
            suspicion.where,
            suspicion.evidence,
            suspicion.cause,
            suspicion.remedy,
            resolved=case.resolved,
            numbers=suspicion.numbers,
        )
        causes.append((rule, found))
    return [found for _, found in causes]


def _named_causes_first(
    ranked: list[tuple[Rule, "RuleState"]], starts: dict[int, int]
) -> list[tuple[Rule, "RuleState"]]:
    """Within a window, put a rule before another one that it names as its symptom."""
    ordered: list[tuple[Rule, RuleState]] = []
    for rule, case in ranked:
        symptoms = (
            i
            for i, (other, its) in enumerate(ordered)
            if _names(rule, other) and starts[its.first_step] == starts[case.first_step]
        )
        ordered.insert(next(symptoms, len(ordered)), (rule, case))
    return ordered


def _names(cause: Rule, symptom: Rule) -> bool:
    mutual = {cause.fault, cause.family} & set(symptom.explains)
    return symptom.fault in cause.explains and not mutual and cause.family in list(Family)


def _starts(steps: list[int]) -> dict[int, int]:
    """Return the first step of the window of each step; a window begins at the first step that is in none."""
    starts: dict[int, int] = {}
    start = 0
    for step in sorted(steps):
        if not starts or step > start + WINDOW:
            start = step
        starts[step] = start
    return starts


def _explains(cause: Rule, found: Finding, rule: Rule, where: tuple[str, ...]) -> bool:
    if rule.fault in cause.explains or rule.family in cause.explains:
        return True
    return cause.family == rule.family and bool(set(found.where) & set(where))
