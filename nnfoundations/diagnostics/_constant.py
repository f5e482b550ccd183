"""Computes the loss of the best constant prediction from the targets seen so far."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from nnfoundations.diagnostics._loss_terms import Term

__all__ = ["ConstantLoss"]


class ConstantLoss:
    """Running facts about the targets, on their device.

    The best constant prediction is the share of each class for cross-entropy, and the mean of each output for
    binary cross-entropy and squared errors. Weights of classes and label smoothing are not counted, so the
    loss is then a lower bound.
    """

    def __init__(self) -> None:
        self._counts: Tensor | None = None
        self._moments: Tensor | None = None
        self._origin: Tensor | None = None
        self._range: Tensor | None = None

    def update(self, terms: Iterable[Term]) -> Tensor | None:
        """Read the targets of a batch from the terms of its loss.

        Args:
            terms: the terms of the loss.

        Returns:
            The loss of the best constant prediction, and the smallest and largest target (NaN for classes);
            None if the loss does not show its targets.
        """
        for term in terms:
            target = term.target
            if target is None or not target.ndim or not target.numel():
                continue
            if _selects(term) and not target.is_floating_point():
                if classes := term.feeding.length:
                    return self._classes(target, classes)
            elif term.kind.startswith("binary-cross-entropy") or term.node.kind == "MseLoss":
                return self._continuous(target, binary=term.kind.startswith("binary"))
        return None

    def _classes(self, target: Tensor, classes: int) -> Tensor:
        # Counting with a slot for ignored labels; selecting them would wait for the device.
        known = (target >= 0) & (target < classes)
        labels = torch.where(known, target, classes).reshape(-1)
        counts = torch.zeros(classes + 1, device=target.device)
        counts = counts.scatter_add_(0, labels, torch.ones_like(labels, dtype=counts.dtype))[:-1]
        self._counts = (
            counts if self._counts is None or self._counts.shape != counts.shape else self._counts + counts
        )
        share = self._counts / self._counts.sum().clamp(min=1)
        unknown = torch.full((), math.nan, device=share.device)
        return torch.stack([torch.special.entr(share).sum(), unknown, unknown])

    def _continuous(self, target: Tensor, binary: bool) -> Tensor:
        rows = target.float().reshape(len(target), -1) if target.ndim > 1 else target.float().reshape(-1, 1)
        if self._origin is None or self._origin.shape[1] != rows.shape[1]:
            self._origin, self._moments = (
                rows[:1].clone(),
                None,
            )  # sums of squares of large targets lose digits
        rows = rows - self._origin
        moments = torch.stack([torch.ones_like(rows[0]) * len(rows), rows.sum(0), rows.square().sum(0)])
        self._moments = moments if self._moments is None else self._moments + moments
        n, total, squares = self._moments
        mean = total / n
        low, high = (rows + self._origin).aminmax()
        if self._range is not None:
            low, high = torch.minimum(low, self._range[0]), torch.maximum(high, self._range[1])
        self._range = torch.stack([low, high])
        share = mean + self._origin[0]
        each = (
            torch.special.entr(share.clamp(0, 1)) + torch.special.entr((1 - share).clamp(0, 1))
            if binary
            else (squares / n - mean.square()).clamp(min=0)
        )
        return torch.stack([each.mean(), low, high])


def _selects(term: Term) -> bool:
    """Return whether a term takes the log-probability of a label, also one written with softmax and log."""
    by_hand = term.kind == "log-likelihood" and term.feeding.activation == "softmax"
    return term.labelled and (term.kind == "cross-entropy" or by_hand)
