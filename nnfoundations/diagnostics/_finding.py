"""What diagnostics say: a suspicion is one rule's word, a finding is the arbiter's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How much harm is done: none yet, learning is hurt, the run is lost as it stands."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Suspicion:
    """What one rule reads in the history, before causes and symptoms are told apart.

    Args:
        fault: the stable id of the catalogue, such as ``dead-units``.
        severity: of the fault as it shows now.
        onset: the optimizer step at which the evidence begins.
        where: names of layers or parameters, the worst first; empty means the whole run.
        evidence: one sentence with the measured numbers and the limit they passed.
        cause: one sentence, why this happens.
        remedy: what to change, in the user's own numbers, naming the argument.
        numbers: the measurements that were judged on.
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
    """One cause, with all that comes of it. Arguments as in `Suspicion`, and:

    Args:
        first_step: the optimizer step at which it began.
        last_step: the last one at which it was seen.
        consequences: fault ids that this one explains.
        resolved: it was not seen in the last looks.
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

    def as_dict(self) -> dict[str, Any]:
        """As plain Python, for JSON and checkpoints."""
        plain = asdict(self)
        plain["severity"] = str(self.severity)
        plain["where"], plain["consequences"] = list(self.where), list(self.consequences)
        plain["numbers"] = {name: float(value) for name, value in self.numbers.items()}
        return plain

    def __str__(self) -> str:
        place = f" in {listed(self.where)}" if self.where else ""
        return f"{self.fault}{place} (step {self.first_step}): {self.evidence} {self.cause} {self.remedy}"


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
