"""The results of diagnostics: a rule returns a suspicion, and the arbiter turns suspicions into findings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "Severity", "Suspicion", "listed"]


class Severity(StrEnum):
    """How much harm a fault does: none yet, it slows learning, or the run is lost as it stands."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Suspicion:
    """What one rule finds in the history, before root causes and symptoms are separated.

    Args:
        fault: name of the fault, such as ``dead-units``. It does not change between versions.
        severity: severity of the fault as it shows now.
        onset: optimizer step at which the evidence begins.
        where: names of layers or parameters, the worst first. Empty means the whole run.
        evidence: one sentence with the measured numbers and the healthy range.
        cause: one sentence that explains why this happens.
        remedy: what to change, in the user's own numbers, naming the argument.
        numbers: the measurements behind the evidence, by name.
    """

    fault: str
    severity: Severity
    onset: int
    where: tuple[str, ...]
    evidence: str
    cause: str
    remedy: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One root cause with the symptoms that it explains.

    Args:
        fault: name of the fault, such as ``dead-units``. It does not change between versions.
        severity: severity of the fault as it showed last.
        first_step: optimizer step at which it began.
        last_step: last optimizer step at which it was seen.
        where: names of layers or parameters, the worst first. Empty means the whole run.
        evidence: one sentence with the measured numbers and the healthy range.
        cause: one sentence that explains why this happens.
        remedy: what to change, in the user's own numbers, naming the argument.
        consequences: names of the faults that this one explains.
        resolved: whether the last measurements no longer show it.
        numbers: the measurements behind the evidence, by name.
    """

    fault: str
    severity: Severity
    first_step: int
    last_step: int
    where: tuple[str, ...]
    evidence: str
    cause: str
    remedy: str
    consequences: tuple[str, ...] = ()
    resolved: bool = False
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The first names of `where` as text, such as ``a, b, c and 4 more``; empty for the whole run."""
        return listed(self.where)

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain Python objects, for JSON and checkpoints.

        Returns:
            The fields by name, with lists in place of tuples.
        """
        plain = asdict(self)
        plain["severity"] = str(self.severity)
        plain["where"], plain["consequences"] = list(self.where), list(self.consequences)
        plain["numbers"] = {name: float(value) for name, value in self.numbers.items()}
        return plain

    def __str__(self) -> str:
        place = f" in {self.place}" if self.where else ""
        return f"{self.fault}{place} (step {self.first_step}): {self.evidence} {self.cause} {self.remedy}"


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """Join the first names: ``a, b, c and 4 more``."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
