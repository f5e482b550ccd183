"""Writes the files of a run: ``findings.jsonl``, one line per change, and ``history.npz``."""

import json
import math
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._page import page_command

__all__ = ["FINDINGS", "FindingsFile", "change", "findings_line"]

FINDINGS = "findings.jsonl"


class FindingsFile:
    """Append a line to ``findings.jsonl`` whenever a finding changes.

    Each line is a finding as a JSON object, preceded by ``time``, ``step`` and ``change``, and followed by
    ``explain``, the command that explains the fault (empty for a user's own rule). The values of
    ``change`` are ``new``; ``consequences`` (it explains more or fewer faults than before); ``severity``;
    ``resolved``; ``back`` (it shows again after it was resolved); ``explained`` (an earlier cause was found
    that explains it); and ``end`` (its state when the run is over). Lines are written whole, so the file can
    be read during the run. The folder is created with the first line. If writing fails, this is said once
    and the run continues.

    Args:
        folder: folder of the run's logs.
        tell: called with a message if writing fails.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder, self.tell = folder, tell
        self._known: dict[str, Finding] = {}
        self._failed: set[str] = set()

    def update(self, findings: Sequence[Finding], step: int) -> None:
        """Write what has changed since the last call.

        Args:
            findings: all findings as they stand now.
            step: the current optimizer step.
        """
        now = {finding.fault: finding for finding in findings}
        lines = [
            findings_line(changed, finding, step)
            for fault, finding in now.items()
            if (changed := change(self._known.get(fault), finding))
        ]
        gone = [finding for fault, finding in self._known.items() if fault not in now]
        lines += [findings_line("explained", finding, step) for finding in gone]
        self._known = now
        self._append(lines)

    def close(self, findings: Sequence[Finding], step: int) -> None:
        """Write every finding as it stands at the end.

        Args:
            findings: all findings of the run.
            step: the last optimizer step.
        """
        self.update(findings, step)
        self._append([findings_line("end", finding, step) for finding in findings])
        self._known = {}

    def save(self, history: History) -> None:
        """Write ``history.npz``, on which newer rules can run again.

        Args:
            history: all measurements of the run.
        """
        self._try("history.npz", history.save)

    @property
    def path(self) -> Path | None:
        """The path of ``findings.jsonl``; None if it was not or could not be written."""
        path = self.folder / FINDINGS
        return path if FINDINGS not in self._failed and path.exists() else None

    def _append(self, lines: Sequence[str]) -> None:
        def write(path: Path) -> None:
            with path.open("a+b") as stream:
                torn = stream.tell() and stream.seek(-1, os.SEEK_END) >= 0 and stream.read() != b"\n"
                stream.write(
                    ("\n" * bool(torn) + "".join(lines)).encode()
                )  # appended at the end, wherever the stream was read

        if lines:
            self._try(FINDINGS, write)

    def _try(self, name: str, write: Callable[[Path], None]) -> None:
        if name in self._failed:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(self.folder / name)
        except OSError as error:
            self._failed.add(name)
            self.tell(
                f"cannot write {self.folder / name}: {error.strerror or error}. The run continues without it."
            )


def change(before: Finding | None, now: Finding) -> str:
    """Name the change that deserves a line, or return an empty string."""
    if before is None:
        return "new"
    if before.resolved != now.resolved:
        return "resolved" if now.resolved else "back"
    if before.consequences != now.consequences:
        return "consequences"
    return "severity" if before.severity != now.severity else ""


def findings_line(change: str, finding: Finding, step: int) -> str:
    """Make a line of ``findings.jsonl``. JSON has no infinity and no NaN, so they become null.

    Args:
        change: what changed, see `FindingsFile`.
        finding: the finding.
        step: the current optimizer step.

    Returns:
        The line, with its end.
    """
    plain: dict[str, Any] = finding.as_dict()
    plain["numbers"] = {k: v if math.isfinite(v) else None for k, v in plain["numbers"].items()}
    head = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "step": step,
        "change": change,
    }
    return json.dumps(head | plain | {"explain": page_command(finding.fault)}, ensure_ascii=False) + "\n"
