"""What a run leaves of its diagnostics: ``findings.jsonl``, a line a change, and ``history.npz``."""

import json
import math
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import History


class FindingsFile:
    """Append to ``findings.jsonl`` whenever a finding changes.

    A line is the finding as a JSON object with ``time``, ``step`` and ``change`` before it: ``new``;
    ``consequences``, that it explains more or less than before; ``severity``; ``resolved``; ``back``, that it
    shows again; ``explained``, that an earlier cause was found, which has it among its consequences now;
    ``end``, as it stands when the run is over. Lines come whole, so that the file can be read meanwhile. The
    folder is made when there is something to write; where that fails, it is told once and the run goes on.

    Args:
        folder: that of the run's logs.
        tell: called with a sentence when nothing can be written.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder, self.tell = folder, tell
        self._known: dict[str, Finding] = {}
        self._failed: set[str] = set()

    def update(self, findings: Sequence[Finding], step: int) -> None:
        """Write what has changed since the last call."""
        now = {finding.fault: finding for finding in findings}
        lines = [
            line(changed, finding, step)
            for fault, finding in now.items()
            if (changed := change(self._known.get(fault), finding))
        ]
        lines += [line("explained", self._known[fault], step) for fault in self._known if fault not in now]
        self._known = now
        self._append(lines)

    def close(self, findings: Sequence[Finding], step: int) -> None:
        """Write every finding as it stands at the end."""
        self.update(findings, step)
        self._append([line("end", finding, step) for finding in findings])
        self._known = {}

    def save(self, history: History) -> None:
        """Write the history, from which newer rules can judge the run again."""
        self._try("history.npz", history.save)

    def _append(self, lines: Sequence[str]) -> None:
        def write(path: Path) -> None:
            with path.open("a+b") as stream:
                torn = stream.tell() and stream.seek(-1, os.SEEK_END) >= 0 and stream.read() != b"\n"
                stream.write(("\n" * bool(torn) + "".join(lines)).encode())  # at the end, wherever it reads

        if lines:
            self._try("findings.jsonl", write)

    def _try(self, name: str, write: Callable[[Path], None]) -> None:
        if name in self._failed:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(self.folder / name)
        except OSError as error:
            self._failed.add(name)
            self.tell(
                f"cannot write {self.folder / name}: {error.strerror or error}. The run goes on without."
            )


def change(before: Finding | None, now: Finding) -> str:
    """What is worth a line about a finding, empty where nothing is."""
    if before is None:
        return "new"
    if before.resolved != now.resolved:
        return "resolved" if now.resolved else "back"
    if before.consequences != now.consequences:
        return "consequences"
    return "severity" if before.severity != now.severity else ""


def line(changed: str, finding: Finding, step: int) -> str:
    """A line of the file. JSON knows no infinity and no NaN: they become null."""
    plain: dict[str, Any] = finding.as_dict()
    plain["numbers"] = {k: v if math.isfinite(v) else None for k, v in plain["numbers"].items()}
    head = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "step": step,
        "change": changed,
    }
    return json.dumps(head | plain, ensure_ascii=False) + "\n"
