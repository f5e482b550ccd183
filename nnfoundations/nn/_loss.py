"""Losses: `cross_entropy` and `CrossEntropyLoss`."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._record import Record

__all__ = ["CrossEntropyLoss", "cross_entropy"]

_cross_entropy = Operation(
    Record(
        formulas.cross_entropy,
        formulas.cross_entropy_backward,
        formulas.cross_entropy_jvp,
        needs={"logits": ("logits", "target", "weight")},
        autocast="float32",
    )
)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(x)[t]. Drop-in for torch.nn.functional.cross_entropy."""
    loss: Tensor = _cross_entropy(
        input,
        target,
        weight,
        axis=min(1, input.ndim - 1),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    return loss


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    r"""Cross-entropy between logits and labels."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
