"""From suspicions to findings: several looks in favour, and causes before symptoms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from nnfoundations.diagnostics._arbiter import arbitrate
from nnfoundations.diagnostics._finding import Finding, Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules import RULES, Rule

CONFIRM, WINDOW, CLEAR = 3, 5, 5
"""A suspicion is believed after 3 of 5 looks, and cleared after 5 quiet ones (measured on digits)."""


LOOK = "look"
"""The series of the steps at which the rules were asked: so a run can be judged again as it was."""


@dataclass
class Case:
    """What a rule has said so far."""

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

    def hear(self, suspicion: Suspicion | None, step: int, at_once: bool) -> None:
        self.verdicts = [*self.verdicts, suspicion is not None][-WINDOW:]
        if suspicion is None:
            self.quiet += 1
            return
        self.quiet = 0
        # A case opened again begins anew; while it lasts, the first step stays.
        self.first_step = min(self.first_step, suspicion.onset) if self.suspicion else suspicion.onset
        self.last_step = step
        self.suspicion = suspicion
        self.confirmed = self.confirmed or at_once or sum(self.verdicts) >= CONFIRM


class Judge:
    """Ask every rule at every look, and keep the list of findings.

    Args:
        rules: those to ask.
        mute: faults, or ``FAULT:PATTERN`` for layers whose names match, that are not reported.
    """

    def __init__(self, rules: Sequence[Rule] = RULES, mute: Sequence[str] = ()) -> None:
        self.rules, self.mute = tuple(rules), tuple(mute)
        self.cases: dict[str, Case] = {rule.fault: Case() for rule in self.rules}
        self.findings: list[Finding] = []

    def look(self, history: History, step: int) -> list[Finding]:
        """Judge the history as it stands; return the causes that are new."""
        last = {quantity: int(s.steps[-1]) for quantity, s in history.series.items() if len(s)}
        heard = False
        for rule in self.rules:
            case = self.cases[rule.fault]
            # Only new evidence counts as a look: a rule on activations is not asked at each gradient.
            stamp = [len(history.events), *(last.get(quantity, -1) for quantity in rule.needs)]
            if stamp == case.judged or rule.not_run(history):
                continue
            case.judged = stamp
            case.hear(self._heard(rule.judge(history)), step, rule.at_once)
            heard = heard or case.suspicion is not None
        if not heard:
            return []
        known = {finding.fault for finding in self.findings}
        self.findings = self._reported()
        return [finding for finding in self.findings if finding.fault not in known]

    def _reported(self) -> list[Finding]:
        """What is muted still explains its symptoms: they are no news either."""
        return [finding for finding in arbitrate(self.cases) if finding.fault not in self.mute]

    def _heard(self, suspicion: Suspicion | None) -> Suspicion | None:
        """A suspicion without the layers that are muted; None where nothing is left of it."""
        if suspicion is None:
            return None
        patterns = [
            rest for fault, _, rest in (m.partition(":") for m in self.mute) if fault == suspicion.fault
        ]
        if not patterns:
            return suspicion
        where = tuple(n for n in suspicion.where if not any(fnmatch(n, pattern) for pattern in patterns))
        if not where:
            return None
        return Suspicion(**{**vars(suspicion), "where": where})

    def not_run(self, history: History) -> dict[str, str]:
        """Rules that cannot run here, by fault, each with the reason."""
        reasons = {rule.fault: rule.not_run(history) for rule in self.rules}
        return {fault: reason for fault, reason in reasons.items() if reason}

    def state_dict(self) -> dict[str, Any]:
        return {
            fault: {
                **{k: v for k, v in vars(case).items() if k != "suspicion"},
                "suspicion": None if case.suspicion is None else _plain(case.suspicion),
            }
            for fault, case in self.cases.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Rules that are new since the checkpoint begin anew; those that are gone are dropped."""
        for fault in self.cases.keys() & state.keys():
            saved = dict(state[fault])
            if saved["suspicion"] is not None:
                fields = dict(saved["suspicion"])
                fields |= {"severity": Severity(fields["severity"]), "where": tuple(fields["where"])}
                saved["suspicion"] = Suspicion(**fields)
            self.cases[fault] = Case(**saved)
        self.findings = self._reported()


def _plain(suspicion: Suspicion) -> dict[str, Any]:
    plain = dict(vars(suspicion))
    plain |= {"severity": str(suspicion.severity), "where": list(suspicion.where)}
    plain["numbers"] = {name: float(value) for name, value in suspicion.numbers.items()}
    return plain


def diagnose(history: History, rules: Sequence[Rule] = RULES, mute: Sequence[str] = ()) -> list[Finding]:
    """Judge a history from its file, look by look, as if the run went on now."""
    judge = Judge(rules, mute)
    steps: list[int] = history[LOOK].steps.tolist()
    if not steps:  # it was not written by a run
        steps = [int(step) for series in history.series.values() for step in series.steps]
        steps = sorted(steps + [event.step for event in history.events])
    for step in dict.fromkeys(steps):
        judge.look(history.until(step), step)
    return judge.findings
