"""Diagnostics of training runs: why a network does not learn, with root cause, place, evidence and remedy.

`Monitor` adds them to any training loop. `nnfoundations.callbacks.Diagnostics` adds them to a Lightning
Trainer.
"""

from nnfoundations.diagnostics._callback import FindingCallback
from nnfoundations.diagnostics._console import Console
from nnfoundations.diagnostics._engine import Engine
from nnfoundations.diagnostics._error import FaultError
from nnfoundations.diagnostics._finding import Finding, Severity, Suspicion
from nnfoundations.diagnostics._findings_file import FindingsFile
from nnfoundations.diagnostics._history import Event, History, LayerFacts, LossFacts, ParameterFacts, Series
from nnfoundations.diagnostics._judge import Judge, diagnose
from nnfoundations.diagnostics._loss import loss_facts
from nnfoundations.diagnostics._monitor import Monitor
from nnfoundations.diagnostics._nonfinite import tensors
from nnfoundations.diagnostics.rules import RULES, Rule, weight_matrices

__all__ = [
    "RULES",
    "Console",
    "Engine",
    "Event",
    "FaultError",
    "Finding",
    "FindingCallback",
    "FindingsFile",
    "History",
    "Judge",
    "LayerFacts",
    "LossFacts",
    "Monitor",
    "ParameterFacts",
    "Rule",
    "Series",
    "Severity",
    "Suspicion",
    "diagnose",
    "loss_facts",
    "tensors",
    "weight_matrices",
]
