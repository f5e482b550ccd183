"""Computes the loss of the best constant prediction from the targets seen so far."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from nnfoundations.diagnostics._loss_terms import Term
from nnfoundations.diagnostics._loss_weights import class_weights, element_weights, is_mean, positive_weights

__all__ = ["ConstantLoss"]


class ConstantLoss:
    """Running facts about the targets, on their device.

    The best constant prediction is the share of each class for cross-entropy, and the mean of each output for
    binary cross-entropy and squared errors. Weights of classes and of positive answers count. Label smoothing
    does not, so the loss is then a lower bound.
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
            None if the loss does not show its targets, weights them in an unknown way or has other terms.
        """
        term = next((term for term in terms if term.target is not None), None)
        if term is None or not (term.alone and term.clear) or term.diluted:
            return None
        target = term.target
        if target is None or not target.ndim or not target.numel():
            return None
        if _selects(term) and not target.is_floating_point():
            return self._classes(term, target) if term.feeding.length else None
        if term.kind.startswith("binary-cross-entropy"):
            return self._binary(term, target)
        return self._squared(term, target) if term.node.kind == "MseLoss" else None

    def _classes(self, term: Term, target: Tensor) -> Tensor | None:
        classes, weight = term.feeding.length, class_weights(term.node)
        if weight is not None and not is_mean(term.node):  # what it is divided by is not known
            return None
        # Counting with a slot for labels that do not count; selecting them would wait for the device.
        labels = target.reshape(-1)
        known = (labels >= 0) & (labels < classes)
        known = known if term.kept is None else known & term.kept
        counts = torch.zeros(classes + 1, device=target.device)
        ones = torch.ones_like(labels, dtype=counts.dtype)
        counts = counts.scatter_add_(0, torch.where(known, labels, classes), ones)[:-1]
        self._counts = (
            counts if self._counts is None or self._counts.shape != counts.shape else self._counts + counts
        )
        weighted = self._counts if weight is None else self._counts * weight
        share = weighted / weighted.sum().clamp(min=torch.finfo(weighted.dtype).tiny)
        unknown = torch.full((), math.nan, device=share.device)
        return torch.stack([torch.special.entr(share).sum() * _counted_share(term), unknown, unknown])

    def _binary(self, term: Term, target: Tensor) -> Tensor | None:
        positive = positive_weights(term.node)
        if element_weights(term.node) is not None:
            return None
        if positive is not None:
            try:
                positive = positive.expand(target.shape[1:]).reshape(-1)
            except RuntimeError:  # weights of single samples
                return None
        n, mean, _, limits = self._update(term, target)
        yes, no = mean.clamp(0, 1), (1 - mean).clamp(0, 1)
        yes = yes if positive is None else yes * positive
        each = torch.special.entr(yes) + torch.special.entr(no) - torch.special.entr(yes + no)
        return _facts(term, each, n, limits)

    def _squared(self, term: Term, target: Tensor) -> Tensor:
        n, _, variance, limits = self._update(term, target)
        return _facts(term, variance, n, limits)

    def _update(self, term: Term, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Add the targets of a batch; return number, mean and variance of each column, and their range."""
        rows = target.float().reshape(len(target), -1)
        if self._origin is None or self._origin.shape[1] != rows.shape[1]:
            # Sums of squares of large targets lose digits. What a mask removes may be NaN.
            self._origin, self._moments = rows[:1].nan_to_num(0.0, 0.0, 0.0), None
        kept = torch.ones_like(rows, dtype=torch.bool) if term.kept is None else term.kept.reshape(rows.shape)
        low = torch.where(kept, rows, math.inf).amin()
        high = torch.where(kept, rows, -math.inf).amax()
        rows = torch.where(kept, rows - self._origin, 0.0)
        moments = torch.stack([kept.float().sum(0), rows.sum(0), rows.square().sum(0)])
        self._moments = moments if self._moments is None else self._moments + moments
        n, total, squares = self._moments
        mean = total / n.clamp(min=1)
        if self._range is not None:
            low, high = torch.minimum(low, self._range[0]), torch.maximum(high, self._range[1])
        self._range = torch.stack([low, high])
        variance = (squares / n.clamp(min=1) - mean.square()).clamp(min=0)
        return n, mean + self._origin[0], variance, self._range


def _facts(term: Term, each: Tensor, n: Tensor, limits: Tensor) -> Tensor:
    """Return the mean of the losses of all columns, each as often as it has targets, and the range."""
    loss = (each * n).sum() / n.sum() * _counted_share(term)
    return torch.cat([loss[None], limits])


def _counted_share(term: Term) -> Tensor | float:
    """Return the share of the elements that count, if the loss is their sum; 1 for a mean over these."""
    return 1.0 if term.kept is None or not term.summed else term.kept.float().mean()


def _selects(term: Term) -> bool:
    """Return whether a term takes the log-probability of a label, also one written with softmax and log."""
    by_hand = term.kind == "log-likelihood" and term.feeding.activation == "softmax"
    return term.labelled and (term.kind == "cross-entropy" or by_hand)
