"""Findings for a person at a terminal, in a pipe or in a notebook: at once, and again at the end.

Text is laid out here and coloured by rich where that is installed. It goes to standard error, past Python's
warning filter, and above a progress bar of tqdm or rich that is drawn at the time.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import StringIO
from textwrap import wrap
from time import monotonic
from typing import TYPE_CHECKING, TextIO

from nnfoundations.diagnostics._finding import Finding, Severity, listed

if TYPE_CHECKING:
    from nnfoundations.diagnostics._engine import Engine

Line = tuple[str, str]
"""A style as rich names it, and the text."""

WIDEST = 100
"""Columns at most: longer lines are hard to read; also the width where there is no terminal."""

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}


class Console:
    """Print findings as they come, and all of them when the run is over.

    Args: most: findings printed within `seconds`; those over it wait for the end.
    """

    def __init__(self, most: int = 5, seconds: float = 10.0) -> None:
        self.most, self.seconds = most, seconds
        self._printed: list[float] = []
        self._told: set[str] = set()
        self._held = False

    def report(self, finding: Finding) -> None:
        """Print a finding, unless this fault was printed before or too many came at once."""
        if finding.fault in self._told:
            return
        now = monotonic()
        self._printed = [then for then in self._printed if now - then < self.seconds]
        if len(self._printed) < self.most:
            self._printed.append(now)
            self._told.add(finding.fault)
            write(announcement(finding, columns()))
        elif not self._held:
            self._held = True
            write(
                [("", "Diagnostics: more findings than can be read now; the end of the run lists them all.")]
            )

    def tell(self, text: str) -> None:
        """Print a sentence of our own."""
        write(_wrapped(f"Diagnostics: {text}", columns(), hang=2))

    def summary(self, engine: "Engine") -> None:
        """Print the findings with what they explain, the rules that did not run, and the price."""
        if engine.schedule.steps or engine.findings:  # else it failed before there was anything to see
            write(closing(engine, columns()))


def announcement(finding: Finding, width: int) -> list[Line]:
    """A finding as it is printed at once."""
    place = f" in {listed(finding.where)}" if finding.where else ""
    head = f"Diagnostics: {finding.fault} ({finding.severity}), step {finding.first_step}{place}"
    return [*_wrapped(head, width, hang=4, style=_STYLES[finding.severity]), *_body(finding, width, 2)]


def closing(engine: "Engine", width: int) -> list[Line]:
    """All findings, the first cause first; one line where there is none."""
    n, spent, trained = engine.schedule.steps, engine.schedule.spent, engine.schedule.trained
    cost = f"{_seconds(spent)} s, {spent / trained:.1%} of training" if trained else f"{_seconds(spent)} s"
    steps = f"{n:,} step{'s' * (n != 1)} ({cost})."
    notes = _not_run(engine.judge.not_run(engine.history)) + _muted(engine.judge.mute)
    findings = engine.findings
    if not findings:
        return _wrapped(f"Diagnostics: nothing found in {steps}{notes}", width, hang=2)
    count = "one cause" if len(findings) == 1 else f"{len(findings)} causes, the first one first"
    lines = _wrapped(f"Diagnostics: {count}, in {steps}", width, hang=2, style="bold")
    for i, finding in enumerate(findings, 1):
        lines += _entry(i, finding, width)
    return [*lines, *_wrapped(notes, width, 2, style="dim")]


def _entry(number: int, finding: Finding, width: int) -> list[Line]:
    state = f"{finding.severity}, resolved" if finding.resolved else str(finding.severity)
    first, last = finding.first_step, finding.last_step
    steps = f"steps {first} to {last}" if last > first else f"step {first}"
    place = f", {listed(finding.where)}" if finding.where else ""
    style = "bold green" if finding.resolved else _STYLES[finding.severity]
    head = f"{number}. {finding.fault} ({state}), {steps}{place}"
    return [*_wrapped(head, width, 2, 5, style), *_body(finding, width, 5)]


def _body(finding: Finding, width: int, indent: int) -> list[Line]:
    """Evidence and cause, the remedy, and what comes of it."""
    lines = _wrapped(f"{finding.evidence} {finding.cause}", width, indent)
    lines += _wrapped(f"-> {finding.remedy}", width, indent, indent + 3)
    if finding.consequences:
        lines += _wrapped(f"explains {', '.join(finding.consequences)}", width, indent, indent + 3, "dim")
    return lines


def _not_run(skipped: dict[str, str]) -> str:
    """The rules that could not be judged, those with one reason together."""
    reasons: dict[str, list[str]] = {}
    for fault, reason in skipped.items():
        reasons.setdefault(reason, []).append(fault)
    listing = "; ".join(f"{', '.join(faults)} ({reason})" for reason, faults in reasons.items())
    return f" Not run: {listing}." if listing else ""


def _muted(mute: Sequence[str]) -> str:
    return f" Muted: {', '.join(mute)}." if mute else ""


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _wrapped(text: str, width: int, indent: int = 0, hang: int | None = None, style: str = "") -> list[Line]:
    hang = indent if hang is None else hang
    # Names of layers and faults are searched for: they stay whole at their hyphens.
    lines = wrap(
        text.strip(), width, initial_indent=" " * indent, subsequent_indent=" " * hang, break_on_hyphens=False
    )
    return [(style, line) for line in lines]


def stream() -> TextIO | None:
    """Standard error; in a notebook, where that is shown as a failure, standard output."""
    return sys.stdout if "ipykernel" in sys.modules else sys.stderr


def is_terminal(out: TextIO | None) -> bool:
    try:
        return out is not None and out.isatty()
    except ValueError:  # it is closed
        return False


def columns() -> int:
    """The width to lay out for."""
    asked = is_terminal(stream()) or "COLUMNS" in os.environ  # the variable counts in a pipe, too
    wide = shutil.get_terminal_size((WIDEST, 24)).columns if asked else WIDEST
    return max(30, min(wide - 1, WIDEST))  # the last column of some terminals breaks the line


def write(lines: Sequence[Line]) -> None:
    """Print them as one piece. What cannot be printed is not worth a run: failures are silent."""
    out = stream()
    if out is None:
        return
    text = _coloured(lines, out)
    encoding = getattr(out, "encoding", None) or "utf-8"
    text = text.encode(encoding, "replace").decode(encoding)
    bars = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    with suppress(OSError, ValueError):  # a pipe that nobody reads any more, a stream that is closed
        if bars is not None and getattr(bars, "_instances", None):
            bars.write(text, file=out, end="")
        else:
            out.write(text)  # while rich draws a bar, this is its own stream and writes above the bar
            out.flush()


def _coloured(lines: Sequence[Line], out: TextIO) -> str:
    try:
        from rich.console import Console as RichConsole  # only where something is printed
        from rich.text import Text
    except ImportError:
        return "".join(f"{line}\n" for _, line in lines)
    # Not to `out` itself: where nobody reads a pipe any more, rich ends the process.
    page = StringIO()
    colours = is_terminal(out) or "ipykernel" in sys.modules or None  # None: the environment says
    console = RichConsole(file=page, force_terminal=colours, force_jupyter=False)
    for style, line in lines:
        console.print(Text(line, style=style), soft_wrap=True)
    return page.getvalue()
