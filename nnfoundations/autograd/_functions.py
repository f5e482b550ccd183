"""What is no operator or method: functions of a value."""

import numpy as np

from nnfoundations._errors import DtypeError, LabelError, ShapeError
from nnfoundations.autograd._engine import Operand, Value, apply
from nnfoundations.formulas import Array

__all__ = ["exp", "gelu", "log", "relu", "sigmoid", "silu", "softmax_cross_entropy", "tanh"]


def exp(x: Operand) -> Value:
    """e^x."""
    return apply("exp", x)


def log(x: Operand) -> Value:
    """The natural logarithm."""
    return apply("log", x)


def tanh(x: Operand) -> Value:
    """(e^x - e^-x) / (e^x + e^-x)."""
    return apply("tanh", x)


def sigmoid(x: Operand) -> Value:
    """1 / (1 + e^-x)."""
    return apply("sigmoid", x)


def relu(x: Operand) -> Value:
    """max(x, 0); slope 0 at 0."""
    return apply("relu", x)


def gelu(x: Operand) -> Value:
    """x P(X < x) for a standard normal X."""
    return apply("gelu", x)


def silu(x: Operand) -> Value:
    """x / (1 + e^-x), Swish."""
    return apply("silu", x)


def softmax_cross_entropy(logits: Value, target: Array) -> Value:
    """-log softmax(logits)_target, the mean over rows: logits (N, C), target (N,) class indices.

    Raises: ShapeError: other shapes. DtypeError: labels of other than integers. LabelError: an index outside
        0 to C - 1.
    """
    target = np.asarray(target)
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise ShapeError(
            f"softmax_cross_entropy needs logits (N, C) and class indices (N,); got {logits.shape} and "
            f"{target.shape}. Give one row of logits and one index a sample."
        )
    if target.dtype.kind not in "iu":
        raise DtypeError(
            f"softmax_cross_entropy needs class indices, which are integers; got {target.dtype}. "
            "Convert them: target.astype(int)."
        )
    if target.size and not (target.min() >= 0 and target.max() < logits.shape[1]):
        raise LabelError(
            f"softmax_cross_entropy needs labels from 0 to {logits.shape[1] - 1}; got {target.min()} to "
            f"{target.max()}. Give the net as many outputs as there are classes."
        )
    return apply("softmax_cross_entropy", logits, target=target)
