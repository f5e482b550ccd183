"""Finds the training loss and validation metrics among the names under which people log them."""

import re
from collections.abc import Iterable

__all__ = ["name_words", "training_loss", "validation_metric"]

_TRAINING = {"train", "training"}
_VALIDATION = {"val", "valid", "validation", "eval", "evaluation"}
_WHEN = {"step", "epoch", "batch"}
"""Words that say over what a metric was averaged."""


def name_words(name: str) -> set[str]:
    """Return the lower-case words in the name of a metric: val and loss in ``valLoss`` and ``val/loss``."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def validation_metric(names: Iterable[str], *what: str) -> str | None:
    """Find a validation metric: ``val_loss``, ``val/loss``, ``valid_loss_epoch``.

    Args:
        names: the names of all metrics.
        what: words that say what is measured, such as ``loss``. One of them must occur.

    Returns:
        The name; of several the one with the fewest words: ``val_loss`` before ``val_kl_loss``. None if there
        is none.
    """
    said = {name: name_words(name) for name in names}
    found = [
        n for n, words in said.items() if words & set(what) and words & _VALIDATION and not words & _TRAINING
    ]
    return min(found, key=lambda n: (len(said[n] - _WHEN), len(n), n)) if found else None


def training_loss(names: Iterable[str]) -> str | None:
    """Find the training loss: ``train_loss``, ``train/loss``, ``loss``, ``training_loss_step``.

    Args:
        names: the names of all metrics.

    Returns:
        The name; of several the one with the fewest words: ``loss`` before ``train_kl_loss``. Of equal ones
        the one that says training, then the loss per step. None if there is none.
    """
    said = {name: name_words(name) for name in names}
    found = [n for n, words in said.items() if "loss" in words and not words & (_VALIDATION | {"test"})]
    return min(found, key=lambda n: _training_rank(n, said[n])) if found else None


def _training_rank(name: str, words: set[str]) -> tuple[int, bool, bool, int, str]:
    return len(words - _WHEN - _TRAINING), not words & _TRAINING, "step" not in words, len(name), name
