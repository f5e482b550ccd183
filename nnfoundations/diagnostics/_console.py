"""Prints findings to a terminal, a pipe or a notebook: each one when it is new, and all of them at the end.

The text is laid out here, and coloured by rich if that is installed. It goes to standard error, so Python's
warning filters do not apply. It appears above a progress bar of tqdm or rich that is drawn at the time.
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

from nnfoundations.diagnostics._error import describe
from nnfoundations.diagnostics._finding import Finding, Severity, listed
from nnfoundations.diagnostics._page import page_command

if TYPE_CHECKING:
    from nnfoundations.diagnostics._engine import Engine
    from nnfoundations.diagnostics._history import History
    from nnfoundations.diagnostics._judge import Judge

__all__ = [
    "LONG_SECONDS",
    "LONG_STEPS",
    "WIDEST",
    "Console",
    "Line",
    "announcement",
    "closing",
    "columns",
    "is_terminal",
    "stream",
    "summary",
    "write",
]

Line = tuple[str, str]
"""A style in the notation of rich, and the text."""

WIDEST = 100
"""Largest width in columns: longer lines are hard to read. Also the width outside a terminal."""

LONG_STEPS, LONG_SECONDS = 500, 5.0
"""Steps and seconds of training below which the cost is not given as a share of the training time. A shorter
run is dominated by the dense measurements at its start."""

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}


class Console:
    """Print each finding when it is new, and all of them when the run is over.

    Args:
        most: largest number of findings printed within `seconds`. Further ones wait for the end of the run.
        seconds: length of that window.
    """

    def __init__(self, most: int = 5, seconds: float = 10.0) -> None:
        self.most, self.seconds = most, seconds
        self._printed: list[float] = []
        self._told: set[str] = set()
        self._held = False

    def report(self, finding: Finding) -> None:
        """Print a finding, unless its fault was printed before or too many are new at once.

        Args:
            finding: the new finding.
        """
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
            self.tell("many findings at once. The summary at the end of the run lists them all.")

    def tell(self, text: str) -> None:
        """Print a message.

        Args:
            text: one or two sentences.
        """
        write(_wrapped(f"Diagnostics: {text}", columns(), hang=2))

    def summary(self, engine: "Engine", saved: Sequence[str] = ()) -> None:
        """Print all findings with the symptoms they explain, the rules that did not run, and the cost.

        Nothing is printed if the run failed before its first step.

        Args:
            engine: the engine of the run.
            saved: lines that say where findings and measurements are stored. A run without findings shows
                none.
        """
        if engine.schedule.steps or engine.findings or engine.failure is not None:
            write(closing(engine, columns(), saved))

    def judged(self, judge: "Judge", history: "History", run: str) -> None:
        """Print all findings in the history of an earlier run to standard output.

        Args:
            judge: the rules, after they ran on the history.
            history: the measurements of the run.
            run: what was judged, such as ``1,230 steps of history.npz.``
        """
        write(summary(judge, history, run, columns(sys.stdout)), sys.stdout)


def announcement(finding: Finding, width: int) -> list[Line]:
    """Lay out a finding as it is printed when it is new."""
    place = f" in {finding.place}" if finding.where else ""
    head = f"Diagnostics: {finding.fault} ({finding.severity}), step {finding.first_step}{place}"
    return [*_wrapped(head, width, hang=4, style=_STYLES[finding.severity]), *_body(finding, width, 2)]


def closing(engine: "Engine", width: int, saved: Sequence[str] = ()) -> list[Line]:
    """Lay out all findings, root cause first; a run without findings and failures gets one line."""
    run = f"{_count(engine.schedule.steps, 'step')} ({_cost(engine)}).{_ended(engine)}"
    return summary(engine.judge, engine.history, run, width, saved)


def summary(
    judge: "Judge", history: "History", run: str, width: int, saved: Sequence[str] = ()
) -> list[Line]:
    """Lay out the findings of a judge in a run, which the first line describes."""
    notes = _not_run(judge.not_run(history)) + _unseen(history.unseen) + _muted(judge.mute)
    findings = judge.findings
    if not findings:
        return _wrapped(f"Diagnostics: nothing found in {run}{notes}", width, hang=2)
    first = ", root cause first," if len(findings) > 1 else ""
    head = f"Diagnostics: {_count(len(findings), 'finding')}{first} in {run}"
    lines = _wrapped(head, width, hang=2, style="bold")
    for i, finding in enumerate(findings, 1):
        lines += _entry(i, finding, width)
    for line in saved:  # paths are copied from the terminal: they are not wrapped
        lines.append(("", f"  {line}"))
    return [*lines, *_wrapped(notes, width, 2, style="dim")]


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"


def _cost(engine: "Engine") -> str:
    """Say what the measurements cost; as a share only of a run that is long enough."""
    spent, trained = engine.schedule.spent, engine.schedule.trained
    if engine.schedule.steps < LONG_STEPS or trained < LONG_SECONDS:
        return f"cost {_seconds(spent)} s"
    return f"cost {_seconds(spent)} s, {spent / trained:.1%} of training"


def _ended(engine: "Engine") -> str:
    """Say since when diagnostics did not run; empty if they ran to the end."""
    if engine.failure is None:
        return ""
    return (
        f" Diagnostics ended at step {engine.step} because of an internal error "
        f"({describe(engine.failure)}); later steps were not checked."
    )


def _entry(number: int, finding: Finding, width: int) -> list[Line]:
    state = f"{finding.severity}, resolved" if finding.resolved else str(finding.severity)
    first, last = finding.first_step, finding.last_step
    steps = f"steps {first} to {last}" if last > first else f"step {first}"
    place = f", {finding.place}" if finding.where else ""
    style = "bold green" if finding.resolved else _STYLES[finding.severity]
    head = f"{number}. {finding.fault} ({state}), {steps}{place}"
    return [*_wrapped(head, width, 2, 5, style), *_body(finding, width, 5)]


def _body(finding: Finding, width: int, indent: int) -> list[Line]:
    """Lay out evidence and cause, the remedy, the symptoms, and the command that explains the fault."""
    lines = _wrapped(f"{finding.evidence} {finding.cause}", width, indent)
    lines += _wrapped(f"-> {finding.remedy}", width, indent, indent + 3)
    if finding.consequences:
        lines += _wrapped(f"explains {', '.join(finding.consequences)}", width, indent, indent + 3, "dim")
    if command := page_command(finding.fault):
        lines += _wrapped(f"more: {command}", width, indent, indent + 3, "dim")
    return lines


def _not_run(skipped: dict[str, str]) -> str:
    """List the rules that could not run. Those for which a run has nothing, as no attention, are left out."""
    relevant = {fault: reason for fault, reason in skipped.items() if not reason.startswith("no ")}
    return f" Not run: {_by_reason(relevant, most=4)}." if relevant else ""


def _unseen(unseen: dict[str, str]) -> str:
    """List the layers whose activations could not be measured."""
    return f" Activations not seen: {_by_reason(unseen, most=3)}." if unseen else ""


def _by_reason(reasons: dict[str, str], most: int) -> str:
    """Group names by their reasons, with at most so many names each."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return "; ".join(f"{listed(tuple(group), most)} ({reason})" for reason, group in names.items())


def _muted(mute: Sequence[str]) -> str:
    return f" Muted: {', '.join(mute)}." if mute else ""


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _wrapped(text: str, width: int, indent: int = 0, hang: int | None = None, style: str = "") -> list[Line]:
    hang = indent if hang is None else hang
    lines = wrap(
        text.strip(),
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * hang,
        break_on_hyphens=False,  # people search for the names of layers and faults
        break_long_words=False,  # and copy paths
    )
    return [(style, line) for line in lines]


def stream() -> TextIO | None:
    """Return standard error. In a notebook, which shows that as a failure, return standard output.

    A program that only starts kernels imports other parts of ipykernel.
    """
    return sys.stdout if "ipykernel.kernelapp" in sys.modules else sys.stderr


def is_terminal(out: TextIO | None) -> bool:
    try:
        return out is not None and out.isatty()
    except ValueError:  # the stream is closed
        return False


def columns(out: TextIO | None = None) -> int:
    """Return the width to lay out for, on `out` or the stream of findings."""
    asked = is_terminal(out or stream()) or "COLUMNS" in os.environ  # the variable counts in a pipe too
    wide = shutil.get_terminal_size((WIDEST, 24)).columns if asked else WIDEST
    return max(30, min(wide - 1, WIDEST))  # some terminals break the line at the last column


def write(lines: Sequence[Line], out: TextIO | None = None) -> None:
    """Print the lines as one piece. Failures are silent: they must not end a run."""
    out = out or stream()
    if out is None:
        return
    text = _coloured(lines, out)
    encoding = getattr(out, "encoding", None) or "utf-8"
    text = text.encode(encoding, "replace").decode(encoding)
    bars = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    with suppress(OSError, ValueError):  # a pipe without a reader, or a closed stream
        if bars is not None and getattr(bars, "_instances", None):
            bars.write(text, file=out, end="")
        else:
            out.write(text)  # while rich draws a bar, this is a stream of rich that writes above the bar
            out.flush()


def _coloured(lines: Sequence[Line], out: TextIO) -> str:
    try:
        from rich.console import Console as RichConsole  # imported only if something is printed
        from rich.text import Text
    except ImportError:
        return "".join(f"{line}\n" for _, line in lines)
    # Not to `out` itself: rich ends the process if a pipe has no reader.
    page = StringIO()
    # None lets rich decide by the environment.
    colours = is_terminal(out) or "ipykernel.kernelapp" in sys.modules or None
    console = RichConsole(file=page, force_terminal=colours, force_jupyter=False)
    for style, line in lines:
        console.print(Text(line, style=style), soft_wrap=True)
    return page.getvalue()
