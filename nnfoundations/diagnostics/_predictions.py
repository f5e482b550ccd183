"""Reads from the graph of a loss the classes of a batch, and which ones the network predicts."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from nnfoundations.diagnostics._loss_terms import Term, taken_scores

__all__ = [
    "BATCH_CLASSES",
    "LABEL_RANKS",
    "PREDICTIONS",
    "ClassCounts",
    "Labels",
    "label_ranks",
    "labels_of",
    "predictions",
]

PREDICTIONS = ("correct", "commonest", "found", "others", "samples")
"""Columns: the share of correct predictions, the class that is predicted most often, how many samples of
other classes are predicted right, how many there are, and the number of samples."""

BATCH_CLASSES = ("equal_pairs", "expected", "classes", "samples")
"""Columns: the share of pairs of samples of the batch that have the same class, that share in all batches so
far taken together, the number of classes seen so far, and the samples of the batch."""

LABEL_RANKS = ("rank", "sure_wrong", "sure_right", "wrong", "samples")
"""Columns, sums over samples: of the place of the label among the classes that are not predicted, from 0 (the
next best) to 1, where the label is not predicted; of the probability of the predicted class there, and where
it is; the number of such samples, and of all."""

FEWEST_CLASSES, MOST_CLASSES = 5, 1000
"""Numbers of classes for which the place of a label is measured: few places say little, many cost much."""


class Labels(NamedTuple):
    """The class of each sample of a batch, below `classes`, which stands for ignored ones, and its scores."""

    target: Tensor
    classes: int
    scores: Tensor | None
    middle: float

    @property
    def chosen(self) -> Tensor | None:
        """The predicted class of each sample."""
        if self.scores is None:
            return None
        return self.scores.argmax(1) if self.scores.ndim > 1 else (self.scores > self.middle).long()


def labels_of(terms: Iterable[Term], samples: int) -> Labels | None:
    """Find the labels of a loss if it has one for each sample, without waiting for the device.

    Args:
        terms: the terms of the loss.
        samples: number of samples of the batch.
    """
    for term in terms:
        target = term.target
        if target is None or target.numel() != samples or not term.clear:
            continue
        scores = taken_scores(term.node) if term.scores is None else term.scores
        if term.kind == "cross-entropy" and term.labelled and not target.is_floating_point():
            classes = term.feeding.length
            fits = scores is not None and scores.shape == (samples, classes)
            target = target.reshape(-1)
            known = (target >= 0) & (target < classes)
            known = known if term.kept is None else known & term.kept
            target = torch.where(known, target, classes)
            return Labels(target, classes, scores if fits else None, 0.0) if classes > 1 else None
        if term.kind.startswith("binary-cross-entropy"):
            fits = scores is not None and scores.numel() == samples
            middle = 0.0 if term.kind.endswith("logits") else 0.5
            scores = scores.reshape(-1) if scores is not None and fits else None
            target = (target.reshape(-1) > 0.5).long()
            target = target if term.kept is None else torch.where(term.kept, target, 2)
            return Labels(target, 2, scores, middle)
    return None


def predictions(labels: Labels) -> Tensor | None:
    """Return the numbers of `PREDICTIONS`; None if the graph does not show the scores."""
    chosen, target = labels.chosen, labels.target
    if chosen is None:
        return None
    known = target < labels.classes
    predicted = _counts(torch.where(known, chosen, labels.classes), labels.classes)
    wanted = _counts(target, labels.classes)
    n, commonest, right = wanted.sum(), predicted.argmax(), chosen == target
    numbers = (
        right.sum() / n, commonest, (right & (target != commonest)).sum(),
        n - wanted.gather(0, commonest[None])[0], n,  # an index that is a tensor would wait for the device
    )  # fmt: skip
    return torch.stack([number.float() for number in numbers])


def label_ranks(labels: Labels) -> Tensor | None:
    """Return the numbers of `LABEL_RANKS`; None for scores that are not shown, or too few classes."""
    scores, n = labels.scores, labels.classes
    if scores is None or scores.ndim != 2 or not FEWEST_CLASSES <= n <= MOST_CLASSES:
        return None
    known = labels.target < n
    label = labels.target.clamp(max=n - 1)[:, None]
    better = (scores > scores.gather(1, label)).sum(1)
    sure = scores.float().softmax(1).amax(1)
    wrong, right = known & (better > 0), known & (better == 0)
    place = (better - 1) / (n - 2)
    numbers = (place * wrong, sure * wrong, sure * right, wrong, known)
    return torch.stack([number.sum().float() for number in numbers])


class ClassCounts:
    """Counts how often each class occurs, on the device."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def update(self, labels: Labels) -> Tensor:
        """Count the labels of a batch, and return the numbers of `BATCH_CLASSES`."""
        counts = _counts(labels.target, labels.classes)
        if self._total is None or self._total.shape != counts.shape:
            self._total = counts
        else:
            self._total = self._total + counts
        both = torch.stack([counts, self._total])
        n = both.sum(1)
        pairs = (both * (both - 1)).sum(1) / (n * (n - 1))
        return torch.cat([pairs, (self._total > 0).sum()[None], n[:1]])


def _counts(labels: Tensor, classes: int) -> Tensor:
    zeros = torch.zeros(classes + 1, device=labels.device)
    return zeros.scatter_add_(0, labels, torch.ones_like(labels, dtype=zeros.dtype))[:-1]
