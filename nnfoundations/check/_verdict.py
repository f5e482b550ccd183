"""What a check says: passed or not, what was measured, what to try next."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    PASS = "pass"
    NOTE = "note"
    FAIL = "FAIL"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Verdict:
    """Args: check: its name. measured: the evidence. remedy: the next thing to try; empty where it passed."""

    check: str
    state: State
    measured: str
    remedy: str = ""
