"""The model that is checked, its batches and the first trial, which several checks read."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch.nn.modules.dropout import _DropoutNd

from nnfoundations.check._inputs import Inputs
from nnfoundations.check._trial import Trial, train, trained
from nnfoundations.check._verdict import State

__all__ = ["STEPS", "Judgement", "TrainedCopy"]

STEPS = 100
"""Length of the first trial."""

Judgement = tuple[State, str, str]
"""State, measurement and remedy of a check."""


@dataclass
class TrainedCopy:
    """A model whose copies are trained.

    Args:
        model: is never trained itself.
        batches: real training batches.
        trainer: options of its Trainer.
        trial: `STEPS` steps at the given learning rate.
        failed: names of the checks that failed so far.
    """

    model: LightningModule
    batches: Sequence[Any]
    trainer: Mapping[str, Any]
    trial: Trial = field(default_factory=Trial)
    failed: list[str] = field(default_factory=list)

    def train(
        self, steps: int, trial: Trial, *, batches: Sequence[Any] | None = None, dropout: bool = True
    ) -> Trial:
        """Train a copy as `fit` would, on all batches or on these, with or without torch's dropout."""
        model = self.model if dropout else _without_dropout(self.model)
        train(model, batches or self.batches, steps, trial, **self.trainer)
        return trial

    @property
    def inputs(self) -> Inputs:
        """The inputs of the model's forward in a training step."""
        seen = self.trial.inputs if self.trial.inputs is not None else Inputs.of_batch(self.batches[0])
        return seen.for_model(self.model)

    @property
    def is_too_small(self) -> bool:
        """Whether the model has fewer parameters than the batch has targets."""
        size = sum(value.numel() for _, value in trained(self.model))
        return size < sum(term.numbers for term in self.trial.terms)

    @property
    def least(self) -> float:
        """The cross-entropy of labels that were smoothed by a layer of the model, at the smoothed optimum."""
        smoothing = max(
            (float(getattr(module, "label_smoothing", 0.0) or 0.0) for module in self.model.modules()),
            default=0.0,
        )
        classes = self.trial.facts.classes
        return -math.log(1 - smoothing + smoothing / classes) if smoothing and classes > 1 else 0.0


def _without_dropout(model: LightningModule) -> LightningModule:
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        elif isinstance(module, torch.nn.MultiheadAttention | torch.nn.RNNBase):
            module.dropout = 0.0
    return twin
