"""Turns suspicions into findings: several measurements must agree, and causes come before symptoms."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import Any

from nnfoundations.diagnostics._arbiter import arbitrate
from nnfoundations.diagnostics._error import describe
from nnfoundations.diagnostics._finding import Finding, Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules import RULES, Rule
from nnfoundations.errors import OptionError

__all__ = ["CLEAR", "JUDGED", "WINDOW", "Judge", "RuleState", "checked", "diagnose", "judged_steps", "muted"]

WINDOW, CLEAR = 5, 5
"""A suspicion is confirmed by some of the last 5 measurements, and resolved after 5 without it."""

JUDGED = "judged"
"""Name of the series that holds the steps at which the rules ran, so that a run can be judged again."""


@dataclass
class RuleState:
    """The results of one rule so far."""

    verdicts: list[bool] = field(default_factory=list)
    suspicion: Suspicion | None = None
    first_step: int = 0
    last_step: int = 0
    confirmed: bool = False
    quiet: int = 0
    judged: list[int] = field(default_factory=list)

    @property
    def resolved(self) -> bool:
        return self.confirmed and self.quiet >= CLEAR

    def update(self, suspicion: Suspicion | None, step: int, confirmations: int) -> None:
        self.verdicts = [*self.verdicts, suspicion is not None][-WINDOW:]
        if suspicion is None:
            self.quiet += 1
            return
        self.quiet = 0
        # The first step of a case stays the same as long as the case lasts.
        self.first_step = min(self.first_step, suspicion.onset) if self.suspicion else suspicion.onset
        self.last_step = step
        self.suspicion = suspicion
        self.confirmed = self.confirmed or sum(self.verdicts) >= confirmations


class Judge:
    """Run every rule at every measurement, and keep the list of findings.

    Args:
        rules: the rules to run, such as ``[*RULES, Mine()]``.
        mute: faults that are not reported: one name or pattern, or several. ``FAULT:LAYER`` mutes a fault in
            the layers whose names match. Patterns are those of the shell (``*``, ``?``).

    Raises:
        OptionError: `mute` matches no fault, or two rules have the same fault.
    """

    def __init__(self, rules: Sequence[Rule] = RULES, mute: str | Sequence[str] = ()) -> None:
        self.rules = checked(rules)
        self.mute = muted(mute, [rule.fault for rule in (*RULES, *self.rules)])
        self.cases: dict[str, RuleState] = {rule.fault: RuleState() for rule in self.rules}
        self.findings: list[Finding] = []
        self.failed: dict[str, str] = {}
        """The rules that raised an exception, by fault, each with the reason."""

    def update(self, history: History, step: int) -> list[Finding]:
        """Run the rules on the history as it stands.

        Args:
            history: all measurements so far.
            step: the current optimizer step.

        Returns:
            The findings that are new.
        """
        last = {quantity: int(s.steps[-1]) for quantity, s in history.series.items() if len(s)}
        with warnings.catch_warnings():
            # Medians over parameters that were not measured in a window are NaN, which is intended.
            warnings.simplefilter("ignore", RuntimeWarning)
            suspected = [self._run(rule, history, step, last) for rule in self.rules]
        if not any(suspected):
            return []
        known = {finding.fault for finding in self.findings}
        self.findings = self._reported()
        return [finding for finding in self.findings if finding.fault not in known]

    def _run(self, rule: Rule, history: History, step: int, last: Mapping[str, int]) -> bool:
        """Run a rule on new evidence. Return whether it ran, and has suspected its fault so far.

        One that raises an exception is not run again, and the others continue.
        """
        case = self.cases[rule.fault]
        # A rule on activations does not run at each measurement of gradients.
        stamp = [len(history.events), *(last.get(quantity, -1) for quantity in rule.needs)]
        if rule.fault in self.failed or stamp == case.judged:
            return False
        try:
            if rule.not_run(history):
                return False
            suspicion = rule.judge(history)
            if not isinstance(suspicion, Suspicion | None):
                raise TypeError(f"judge must return a Suspicion or None; got {type(suspicion).__name__}")
        except Exception as error:
            self.failed[rule.fault] = f"the rule failed with {describe(error)}"
            return False
        case.judged = stamp
        case.update(suspicion and self._unmuted(suspicion), step, rule.confirmations)
        return case.suspicion is not None

    def _reported(self) -> list[Finding]:
        """Return the findings that are not muted. Symptoms of a muted cause are not reported either."""
        faults = [pattern for pattern in self.mute if ":" not in pattern]
        return [
            finding
            for finding in arbitrate((rule, self.cases[rule.fault]) for rule in self.rules)
            if not any(fnmatch(finding.fault, pattern) for pattern in faults)
        ]

    def _unmuted(self, suspicion: Suspicion) -> Suspicion | None:
        """Return a suspicion without the layers that are muted; None if no layer is left."""
        patterns = [
            layer
            for fault, colon, layer in (pattern.partition(":") for pattern in self.mute)
            if colon and fnmatch(suspicion.fault, fault)
        ]
        if not patterns:
            return suspicion
        where = tuple(n for n in suspicion.where if not any(fnmatch(n, pattern) for pattern in patterns))
        if not where:
            return None
        return Suspicion(**{**vars(suspicion), "where": where})

    def judge_again(self, history: History) -> None:
        """Run the rules on the history of an earlier run, step by step, as if the run took place now.

        Args:
            history: all measurements of the run.
        """
        for step in judged_steps(history):
            self.update(history.until(step), step)

    def not_run(self, history: History) -> dict[str, str]:
        """List the rules that cannot run.

        Args:
            history: all measurements so far.

        Returns:
            The reason of each such rule, by fault.
        """
        running = [rule for rule in self.rules if rule.fault not in self.failed]
        reasons = {rule.fault: rule.not_run(history) for rule in running} | self.failed
        return {fault: reason for fault, reason in reasons.items() if reason}

    def state_dict(self) -> dict[str, Any]:
        """Return the results of all rules for a checkpoint.

        Returns:
            Plain Python objects, by fault.
        """
        return {
            fault: {
                **{k: v for k, v in vars(case).items() if k != "suspicion"},
                "suspicion": None if case.suspicion is None else _plain(case.suspicion),
            }
            for fault, case in self.cases.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the results of all rules. Rules that the state does not know start empty.

        Args:
            state: what `state_dict` returned. Entries of unknown rules are ignored.
        """
        for fault in self.cases.keys() & state.keys():
            saved = dict(state[fault])
            if saved["suspicion"] is not None:
                fields = dict(saved["suspicion"])
                fields |= {"severity": Severity(fields["severity"]), "where": tuple(fields["where"])}
                saved["suspicion"] = Suspicion(**fields)
            self.cases[fault] = RuleState(**saved)
        self.findings = self._reported()


def _plain(suspicion: Suspicion) -> dict[str, Any]:
    plain = dict(vars(suspicion))
    plain |= {"severity": str(suspicion.severity), "where": list(suspicion.where)}
    plain["numbers"] = {name: float(value) for name, value in suspicion.numbers.items()}
    return plain


def checked(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Check a list of rules.

    Args:
        rules: the rules.

    Returns:
        The rules as a tuple.

    Raises:
        OptionError: an entry is not a rule or its declaration is wrong, or two rules have the same fault.
    """
    faults: set[str] = set()
    for rule in rules:
        if not isinstance(rule, Rule):
            raise OptionError(f"rules takes instances of Rule, such as [*RULES, Mine()]; got {rule!r}.")
        if rule.fault in faults:
            raise OptionError(f"rules takes one rule per fault; got two for {rule.fault!r}.")
        for name in ("needs", "explains"):
            if isinstance(value := getattr(rule, name), str):
                raise OptionError(f"{name} of a rule is a tuple of names; got {value!r}. Write ({value!r},).")
        faults.add(rule.fault)
    return tuple(rules)


def muted(mute: str | Sequence[str], faults: Sequence[str]) -> tuple[str, ...]:
    """Check the patterns of `mute`.

    Args:
        mute: one name or pattern, or several, each as ``FAULT`` or ``FAULT:LAYER``.
        faults: the names that they may match.

    Returns:
        The patterns.

    Raises:
        OptionError: a pattern matches none of the faults.
    """
    given: Any = mute
    patterns = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for pattern in patterns:
        fault = str(pattern).partition(":")[0]
        if any(fnmatch(name, fault) for name in faults):
            continue
        names = list(dict.fromkeys(faults))
        near = get_close_matches(fault, names, 1)
        fix = f"Did you mean {near[0]!r}?" if near else f"Faults are {', '.join(names)}."
        raise OptionError(f"mute takes names of faults, or patterns such as 'dead-*'; got {pattern!r}. {fix}")
    return patterns


def diagnose(
    history: History, rules: Sequence[Rule] = RULES, mute: str | Sequence[str] = ()
) -> list[Finding]:
    """Judge the history of an earlier run, step by step, as if the run took place now.

    Args:
        history: the measurements, such as ``History.load("history.npz")``.
        rules: the rules to run, such as ``[*RULES, Mine()]``.
        mute: faults that are not reported, as in `Judge`.

    Returns:
        The findings at the end of the run, root cause first.
    """
    judge = Judge(rules, mute)
    judge.judge_again(history)
    return judge.findings


def judged_steps(history: History) -> list[int]:
    """Return the steps at which the rules ran.

    Args:
        history: the measurements of a run.

    Returns:
        The steps. If the history was not written by a run, all steps of its measurements and events.
    """
    steps: list[int] = history[JUDGED].steps.tolist()
    if not steps:
        steps = [int(step) for series in history.series.values() for step in series.steps]
        steps = sorted(steps + [event.step for event in history.events])
    return list(dict.fromkeys(steps))
