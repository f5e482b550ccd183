"""What lowers the peak of memory of a training step. The gradient stays the same, but for rounding."""

from dataclasses import dataclass

__all__ = ["REMEDIES", "Remedy"]


@dataclass(frozen=True)
class Remedy:
    """A way to train with the same gradient in less memory.

    Args:
        label: its name in tables.
        parts: the batch is cut into so many, whose gradients are accumulated.
        bfloat16: matrix products and their inputs are in bfloat16.
        checkpoints: only every fourth of the network keeps its input; the rest is computed again in backward.
    """

    label: str
    parts: int = 1
    bfloat16: bool = False
    checkpoints: bool = False


REMEDIES = {
    "plain": Remedy("none"),
    "accumulate": Remedy("a sixteenth of the batch, gradients accumulated", parts=16),
    "bfloat16": Remedy("bfloat16", bfloat16=True),
    "checkpoint": Remedy("activation checkpoints", checkpoints=True),
    "all": Remedy("all three", 16, True, True),
}
"""In the order in which to try them."""
