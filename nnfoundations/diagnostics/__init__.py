"""Why does it not learn? Measure a run while it goes, name the first cause, the place and the remedy.

`Monitor` drives it from any training loop; `nnfoundations.callbacks.Diagnostics` is the same under Lightning.
"""

from nnfoundations.diagnostics._engine import Engine
from nnfoundations.diagnostics._error import FaultError
from nnfoundations.diagnostics._finding import Finding, Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._judge import Judge, diagnose
from nnfoundations.diagnostics._monitor import Monitor
from nnfoundations.diagnostics.rules import RULES, Rule

__all__ = [
    "RULES",
    "Engine",
    "FaultError",
    "Finding",
    "History",
    "Judge",
    "Monitor",
    "Rule",
    "Severity",
    "Suspicion",
    "diagnose",
]
