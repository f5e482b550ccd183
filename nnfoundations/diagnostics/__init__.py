"""Diagnostics of training runs: why a network does not learn, with root cause, place, evidence and remedy.

`Monitor` adds them to any training loop. `nnfoundations.callbacks.Diagnostics` adds them to a Lightning
Trainer.
"""

from nnfoundations.diagnostics._callback import FindingCallback
from nnfoundations.diagnostics._console import Console
from nnfoundations.diagnostics._diagnosis import Diagnosis
from nnfoundations.diagnostics._engine import Engine
from nnfoundations.diagnostics._error import FaultError, describe
from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Finding, Severity, Suspicion
from nnfoundations.diagnostics._findings_file import FindingsFile, findings_line
from nnfoundations.diagnostics._history import (
    Event,
    GroupFacts,
    History,
    LayerFacts,
    LossFacts,
    LossTerm,
    ParameterFacts,
    ScheduleFacts,
    Series,
    TargetFacts,
)
from nnfoundations.diagnostics._judge import Judge, checked, diagnose
from nnfoundations.diagnostics._metric_names import training_loss, validation_metric
from nnfoundations.diagnostics._monitor import Monitor
from nnfoundations.diagnostics._page import page_command
from nnfoundations.diagnostics._targets import loss_facts
from nnfoundations.diagnostics._training_facts import schedule_facts
from nnfoundations.diagnostics.nonfinite import StepGuard, tensors
from nnfoundations.diagnostics.rules import RULES, SHORT, TENDENCY, Rule, weight_matrices

__all__ = [
    "RULES",
    "SHORT",
    "TENDENCY",
    "Console",
    "Diagnosis",
    "Engine",
    "Event",
    "Family",
    "FaultError",
    "Finding",
    "FindingCallback",
    "FindingsFile",
    "GroupFacts",
    "History",
    "Judge",
    "LayerFacts",
    "LossFacts",
    "LossTerm",
    "Monitor",
    "ParameterFacts",
    "Rule",
    "ScheduleFacts",
    "Series",
    "Severity",
    "StepGuard",
    "Suspicion",
    "TargetFacts",
    "checked",
    "describe",
    "diagnose",
    "findings_line",
    "loss_facts",
    "page_command",
    "schedule_facts",
    "tensors",
    "training_loss",
    "validation_metric",
    "weight_matrices",
]
