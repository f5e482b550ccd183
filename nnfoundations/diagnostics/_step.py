"""The state of one optimizer step: made when its first batch begins, gone when it ends."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Step"]


@dataclass(slots=True)
class Step:
    """One optimizer step. Several batches belong to it if gradients are accumulated.

    Args:
        index: number of the step.
        batch: the current batch.
        batch_index: its number in the epoch.
        gradients: whether gradients, weights and updates are measured.
        activations: whether activations are measured.
        evaluates: whether the network runs again at the end, in other modes and on changed inputs.
        hooked: whether hooks are attached to the layers.
        quiet: whether nothing is measured and the first gradients of the backward pass stand for all.
        batches: number of batches so far.
        losses: number of losses seen so far.
        measured: optimizers (by id) whose gradients were seen.
        stepped: whether an optimizer changed the weights.
        skipped: whether a loss scaler skipped the step.
    """

    index: int
    batch: Any = None
    batch_index: int | None = None
    gradients: bool = False
    activations: bool = False
    evaluates: bool = False
    hooked: bool = False
    quiet: bool = False
    batches: int = 1
    losses: int = 0
    measured: tuple[int, ...] = ()
    stepped: bool = False
    skipped: bool = False

    @property
    def measures(self) -> bool:
        """Whether anything is measured in this step."""
        return self.gradients or self.activations or self.evaluates

    @property
    def complete(self) -> bool:
        """Whether an optimizer was about to step, so that no more batches follow."""
        return self.stepped or self.skipped or bool(self.measured)
