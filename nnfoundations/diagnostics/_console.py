"""Findings for a person at a terminal, or in a notebook: at once, and again at the end."""

import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from nnfoundations.diagnostics._finding import Finding, Severity, listed

if TYPE_CHECKING:
    from nnfoundations.diagnostics._engine import Engine

_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


class Console:
    """Print through rich where it is installed, plainly otherwise; never through Python's warning filter.

    Args: most: findings printed within `seconds`; those over it wait for the table at the end.
    """

    def __init__(self, most: int = 5, seconds: float = 10.0) -> None:
        self.most, self.seconds = most, seconds
        self._printed: list[float] = []

    def report(self, finding: Finding) -> None:
        now = monotonic()
        self._printed = [then for then in self._printed if now - then < self.seconds]
        if len(self._printed) >= self.most:
            return
        self._printed.append(now)
        place = f" in {listed(finding.where)}" if finding.where else ""
        head = f"{finding.severity}: {finding.fault}{place}, step {finding.first_step}"
        lines = (finding.evidence, finding.cause, f"-> {finding.remedy}")
        rich = _rich()
        if rich is None:
            print(head, *(f"  {line}" for line in lines), sep="\n", file=sys.stderr)
            return
        rich.print(head, style=_COLOURS[finding.severity], markup=False, highlight=False, soft_wrap=True)
        for line in lines:
            rich.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)

    def summary(self, engine: "Engine") -> None:
        findings = engine.findings
        spent, trained = engine.schedule.spent, engine.schedule.trained
        cost = f"Diagnostics took {spent:.2g} s, {spent / max(trained, 1e-9):.2%} of training."
        skipped = engine.judge.not_run(engine.history)
        if not findings:
            head = f"Diagnostics found nothing. {cost}"
        else:
            head = f"Diagnostics: {len(findings)} finding{'s' * (len(findings) > 1)}, the first cause first. {cost}"
        lines = [head]
        for finding in findings:
            place = listed(finding.where) or "the run"
            state = "resolved" if finding.resolved else str(finding.severity)
            lines.append(
                f"  {finding.fault} ({state}), {place}, steps {finding.first_step} to {finding.last_step}"
            )
            lines.append(f"    {finding.evidence}")
            lines.append(f"    -> {finding.remedy}")
            if finding.consequences:
                lines.append(f"    explains: {', '.join(finding.consequences)}")
        if skipped:
            reasons: dict[str, list[str]] = {}
            for fault, reason in skipped.items():
                reasons.setdefault(reason, []).append(fault)
            lines += [f"  not run, {reason}: {', '.join(faults)}" for reason, faults in reasons.items()]
        rich = _rich()
        for line in lines:
            if rich is None:
                print(line, file=sys.stderr)
            else:
                rich.print(line, markup=False, highlight=False, soft_wrap=True)


def _rich() -> Any:
    try:
        from rich.console import Console as RichConsole
    except ImportError:
        return None
    return RichConsole(stderr=True)
