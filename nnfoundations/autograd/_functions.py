"""Functions of a value that are neither operators nor methods."""

import numpy as np

from nnfoundations.autograd._engine import Operand, Value, apply, as_value
from nnfoundations.errors import DtypeError, LabelError, ShapeError
from nnfoundations.formulas import Array, check_plain

__all__ = [
    "exp", "gelu", "log", "mean_squared_error", "relu", "sigmoid", "silu", "softmax_cross_entropy", "tanh",
]  # fmt: skip


def exp(x: Operand) -> Value:
    """Compute e^x.

    Args:
        x: a value, a number or an array.

    Returns:
        The result, entry by entry.
    """
    return apply("exp", x)


def log(x: Operand) -> Value:
    """Compute the natural logarithm of x.

    Args:
        x: a value, a number or an array.

    Returns:
        The result, entry by entry.
    """
    return apply("log", x)


def tanh(x: Operand) -> Value:
    """Compute the hyperbolic tangent (e^x - e^-x) / (e^x + e^-x).

    Args:
        x: a value, a number or an array.

    Returns:
        The result, entry by entry.
    """
    return apply("tanh", x)


def sigmoid(x: Operand) -> Value:
    """Compute the logistic function 1 / (1 + e^-x).

    Args:
        x: a value, a number or an array.

    Returns:
        The result, entry by entry.
    """
    return apply("sigmoid", x)


def relu(x: Operand) -> Value:
    """Compute max(x, 0), with slope 0 at 0.

    Args:
        x: a value, a number or an array.

    Returns:
        The result, entry by entry.
    """
    return apply("relu", x)


def gelu(x: Operand) -> Value:
    """Compute x P(X < x) for a standard normal X.

    Args:
        x: a value, a number or an array.

    Returns:
        The result, entry by entry.
    """
    return apply("gelu", x)


def silu(x: Operand) -> Value:
    """Compute x / (1 + e^-x), also called Swish.

    Args:
        x: a value, a number or an array.

    Returns:
        The result, entry by entry.
    """
    return apply("silu", x)


def softmax_cross_entropy(logits: Operand, target: Array) -> Value:
    """Compute the cross-entropy -log softmax(logits)_target, the mean over rows.

    Args:
        logits: `(N, C)`, any real numbers; the function applies softmax itself.
        target: class indices `(N,)` from 0 to C - 1, an array or a list.

    Returns:
        The mean loss; NaN for an empty batch.

    Raises:
        ShapeError: the shapes are different.
        DtypeError: target has no integers, or is a masked array.
        LabelError: an index is outside 0 to C - 1.
    """
    logits = as_value(logits, None)
    check_plain("softmax_cross_entropy's target", target)
    target = np.asarray(target)
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise ShapeError(
            f"softmax_cross_entropy needs logits (N, C) and class indices (N,); got {logits.shape} and "
            f"{target.shape}. Pass one row of logits and one index per sample."
        )
    if target.dtype.kind not in "iu":
        raise DtypeError(
            f"softmax_cross_entropy needs class indices, which are integers; got {target.dtype}. "
            "Convert them: target.astype(int)."
        )
    if target.size and not (target.min() >= 0 and target.max() < logits.shape[1]):
        raise LabelError(
            f"softmax_cross_entropy needs labels from 0 to {logits.shape[1] - 1}; got {target.min()} to "
            f"{target.max()}. Give the network as many outputs as there are classes."
        )
    return apply("softmax_cross_entropy", logits, target=target)


def mean_squared_error(prediction: Operand, target: Operand) -> Value:
    """Compute the mean of (prediction - target)^2 over all entries.

    Args:
        prediction: any shape.
        target: numbers of the same shape, which broadcasting would otherwise hide.

    Returns:
        The mean loss.

    Raises:
        ShapeError: the shapes are different.
    """
    prediction = as_value(prediction, None)
    target = as_value(target, prediction.data.dtype)
    if prediction.shape != target.shape:
        raise ShapeError(
            f"mean_squared_error needs predictions of the target's shape, {target.shape}; got "
            f"{prediction.shape}. Reshape one of them."
        )
    return ((prediction - target) ** 2.0).mean()
