"""Runs the network on the current batch again, a few times in a run, without a trace."""

from nnfoundations.diagnostics.evaluation._call import Call
from nnfoundations.diagnostics.evaluation._probe import EvaluationProbe

__all__ = ["Call", "EvaluationProbe"]
