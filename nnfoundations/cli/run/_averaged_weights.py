"""Averaged weights (EMA, SWA) by Lightning's callback: a test uses them, and a signal does not mix them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging

__all__ = ["averaged_weights_stay", "averages_weights"]


def averages_weights(trainer: Trainer) -> bool:
    """Return whether this run averages its weights; its model then holds the average during validation.

    Args:
        trainer: of the run.
    """
    return any(isinstance(callback, WeightAveraging) for callback in _callbacks(trainer))


@contextmanager
def averaged_weights_stay(trainer: Trainer) -> Iterator[None]:
    """Let a checkpoint that is loaded after training keep the averaged weights.

    Lightning's callback gives the model the weights of the training, so that a run can be resumed. It does
    this in a test after `fit` too, which then would not test the average that was validated.

    Args:
        trainer: after `fit`.
    """
    if not averages_weights(trainer):
        yield
        return
    callbacks = _callbacks(trainer)
    kept = [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]
    try:
        trainer.callbacks = kept  # type: ignore[attr-defined]  # set by its connector
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks")
            yield
    finally:
        trainer.callbacks = callbacks  # type: ignore[attr-defined]  # set by its connector


def _callbacks(trainer: Trainer) -> list[object]:
    callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]  # set by its connector
    return callbacks
