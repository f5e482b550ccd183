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
from nnfoundations.diagnostics.nonfinite._locate import Origin, locate, without_checkpoints
from nnfoundations.diagnostics.nonfinite._replay import RandomState, preserved, run_again
from nnfoundations.diagnostics.nonfinite._seal import SideEffectError, sealed
from nnfoundations.diagnostics.nonfinite._state import UnsafeError
from nnfoundations.diagnostics.nonfinite._tracer import NonFiniteTracer

__all__ = [
    "GradientCheck",
    "NonFiniteTracer",
    "Origin",
    "RandomState",
    "SideEffectError",
    "StepGuard",
    "UnsafeError",
    "dense",
    "finite",
    "finite_gradients",
    "locate",
    "nonfinite_inputs",
    "preserved",
    "run_again",
    "sealed",
    "tensors",
    "without_checkpoints",
]
