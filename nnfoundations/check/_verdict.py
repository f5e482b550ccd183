"""The result of a check: passed or not, what was measured, what to try next."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["State", "Verdict"]


class State(StrEnum):
    """The four results of a check. A note needs attention, but it is not a failure."""

    PASS = "pass"
    NOTE = "note"
    FAIL = "FAIL"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Verdict:
    """The result of one check.

    Args:
        check: its name.
        state: passed, failed, noted or skipped.
        measured: the evidence.
        remedy: what to try next; empty if the check passed.
    """

    check: str
    state: State
    measured: str
    remedy: str = ""
