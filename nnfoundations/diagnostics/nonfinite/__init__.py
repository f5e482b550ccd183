"""NaN and infinity: finds the first one, names its origin, and keeps optimizers from applying it."""

from nnfoundations.diagnostics.nonfinite._batch import tensors
from nnfoundations.diagnostics.nonfinite._check import (
    dense,
    finite,
    finite_gradients,
    nonfinite_inputs,
)
from nnfoundations.diagnostics.nonfinite._gradient_check import GradientCheck
from nnfoundations.diagnostics.nonfinite._guard import StepGuard
from nnfoundations.diagnostics.nonfinite._locate import Origin, locate
from nnfoundations.diagnostics.nonfinite._replay import RandomState, run_again
from nnfoundations.diagnostics.nonfinite._tracer import NonFiniteTracer

__all__ = [
    "GradientCheck",
    "NonFiniteTracer",
    "Origin",
    "RandomState",
    "StepGuard",
    "dense",
    "finite",
    "finite_gradients",
    "locate",
    "nonfinite_inputs",
    "run_again",
    "tensors",
]
