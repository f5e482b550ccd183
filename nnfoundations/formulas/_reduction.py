"""Reduction of a loss to its mean or sum, and the gradient back to the elements."""

import math
from typing import Literal, TypeAlias

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["Reduction", "reduced", "spread"]

Reduction: TypeAlias = Literal["none", "mean", "sum"]


def reduced(loss: Array, reduction: Reduction, xp: Namespace) -> Array:
    """Return the losses themselves, their mean or their sum."""
    if reduction == "none":
        return loss
    return xp.mean(loss) if reduction == "mean" else xp.sum(loss)


def spread(grad_output: Array, like: Array, reduction: Reduction) -> Array:
    """Return the gradient for the loss of each element, with as many elements as in `like`."""
    return grad_output / math.prod(like.shape) if reduction == "mean" else grad_output
