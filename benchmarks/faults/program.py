"""What a program of the benchmark is: a function that builds a run, healthy or with one of its faults.

A healthy run counts if it reaches `level`; a faulty one if its metric is clearly worse than that of its twin,
the same program without the fault. No tool of diagnostics takes part in either.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader

__all__ = ["KINDS", "Fault", "Program", "Setup", "fault_named"]


@dataclass
class Setup:
    """One run: the module, the loaders, and the arguments of the Trainer."""

    module: LightningModule
    train: DataLoader[Any]
    val: DataLoader[Any]
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """A fault of a program.

    Args:
        id: What is wrong, passed to the function that builds the run.
        causes: Names of findings that lead to the right repair; the first is the best one.
        layer: Part of the path of the layer that must be named, if there is one.
        flatters: The fault makes the metric look better than it is, such as a leak.
        chance: Where only the validation loss shows the harm: that loss of a model that ignores its inputs.
    """

    id: str
    causes: tuple[str, ...]
    layer: str | None = None
    flatters: bool = False
    chance: float | None = None

    @property
    def kind(self) -> str:
        return next(kind for kind, causes in KINDS.items() if self.causes[0] in causes)


@dataclass(frozen=True)
class Program:
    """An architecture on a data set, and the faults that people make in it.

    Args:
        id: Data and architecture.
        build: Builds a run from the id of a fault; the empty string is the healthy twin.
        level: What a healthy run must reach in `metric`.
        chance: `metric` of a model that ignores its inputs.
        faults: The faults.
        metric: A metric that the program itself logs in validation; lower is better if it is a loss.
    """

    id: str
    build: Callable[[str], Setup]
    level: float
    chance: float
    faults: tuple[Fault, ...] = ()
    metric: str = "val_acc"

    @property
    def lower(self) -> bool:
        return not self.metric.endswith(("acc", "r2"))


KINDS = {
    "loss and outputs": (
        "softmax-before-cross-entropy", "softmax-over-one-unit", "softmax-over-batch",
        "loss-needs-log-probabilities", "output-activation-mismatch", "targets-out-of-range",
        "shape-broadcast-in-loss", "loss-unfit-for-targets", "unstable-loss-function", "loss-sign-wrong",
        "loss-not-averaged",
    ),
    "wiring": (
        "parameter-not-in-optimizer", "graph-cut", "gradients-not-zeroed", "train-mode-off", "no-gradient",
        "no-learning",
    ),
    "data": (
        "unscaled-inputs", "constant-inputs", "non-finite-input", "unscaled-targets", "constant-targets",
        "labels-unrelated-to-inputs", "batches-not-shuffled", "bad-batch", "one-class-predicted",
    ),
    "initial values": (
        "bad-initialization", "bad-output-scale", "symmetric-weights", "dead-units", "saturated-units",
        "vanishing-gradients", "exploding-gradients",
    ),
    "rates and schedules": (
        "learning-rate-too-high", "learning-rate-too-low", "schedule-interval", "schedule-ends-early",
        "weight-decay-too-strong", "clipping-too-tight",
    ),
    "sequences and attention": (
        "samples-mixed", "causal-leak", "targets-equal-inputs", "sequence-padding-read", "padding-in-loss",
        "attention-saturation",
    ),
    "validation and generalization": (
        "train-val-mismatch", "validation-loss-differs", "train-val-overlap", "batch-statistics-too-noisy",
        "overfitting", "over-regularized",
    ),
    "precision": ("non-finite", "gradient-underflow"),
}  # fmt: skip
"""Names of findings by kind of fault. Some have no rule yet: these faults can only be missed."""


def fault_named(program: Program, id: str) -> Fault:
    return next(fault for fault in program.faults if fault.id == id)
