"""From the losses of the elements to one number, and back."""

import math
from typing import Literal, TypeAlias

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["Reduction", "reduced", "spread"]

Reduction: TypeAlias = Literal["none", "mean", "sum"]


def reduced(loss: Array, reduction: Reduction, xp: Namespace) -> Array:
    """The losses themselves, their mean or their sum."""
    if reduction == "none":
        return loss
    return xp.mean(loss) if reduction == "mean" else xp.sum(loss)


def spread(grad_output: Array, like: Array, reduction: Reduction) -> Array:
    """The gradient that each element's loss gets, where the elements are as many as in `like`."""
    return grad_output / math.prod(like.shape) if reduction == "mean" else grad_output
