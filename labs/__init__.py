"""Experiments with a report, a folder each, run by `nnfoundations lab`. docs/labs.md: how to write one."""

from nnfoundations.labs._runner.choice import run_tests
from nnfoundations.labs._runner.experiment import Experiment, ended_runs
from nnfoundations.labs._runner.lab import Arm, Choice, Lab, Measured, Preset, find_labs
from nnfoundations.labs._runner.notebook import write_notebook
from nnfoundations.labs._runner.page import Page
from nnfoundations.labs._runner.progress import duration
from nnfoundations.labs._runner.report import (
    arms_without_results,
    has_notebook_packages,
    write_figures,
    write_verdicts,
)
from nnfoundations.labs._runner.results import ArmNotRun, Results
from nnfoundations.labs._runner.run import Stopped
from nnfoundations.labs._runner.scalars import logged_by_epoch

__all__ = [
    "Arm",
    "ArmNotRun",
    "Choice",
    "Experiment",
    "Lab",
    "Measured",
    "Page",
    "Preset",
    "Results",
    "Stopped",
    "arms_without_results",
    "duration",
    "ended_runs",
    "find_labs",
    "has_notebook_packages",
    "logged_by_epoch",
    "run_tests",
    "write_figures",
    "write_notebook",
    "write_verdicts",
]
