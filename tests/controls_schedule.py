"""Healthy runs with weight decay, schedules and clipping. This file holds no tests."""

from collections.abc import Callable
from typing import Any

from cases import Case, Control
from faults_schedule import EPOCHS, STEPS, scheduled, slow
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedulers

__all__ = ["SCHEDULE_CONTROLS"]


def with_schedule(make: Callable[[Any], Any], interval: str, net: str = "mlp") -> Callable[[], Case]:
    def build() -> Case:
        case = slow(net)
        scheduled(make, interval)(case)
        return case

    return build


def with_decay(make: Callable[[Any], Any], net: str = "mlp") -> Callable[[], Case]:
    def build() -> Case:
        case = slow(net)
        case.optimizer = make
        return case

    return build


def warm_up_and_cosine(optimizer: Any) -> Any:
    first = schedulers.LinearLR(optimizer, 0.1, total_iters=40)
    then = schedulers.CosineAnnealingLR(optimizer, STEPS - 40)
    return schedulers.SequentialLR(optimizer, [first, then], [40])


SCHEDULE_CONTROLS = (
    Control("healthy/strong-decay-sgd", "weight decay",
            with_decay(lambda p: SGD(p, 0.02, momentum=0.9, weight_decay=1e-2))),
    Control("healthy/strong-decay-adamw", "weight decay",
            with_decay(lambda p: AdamW(p, 1e-3, weight_decay=1.0), "cnn")),
    Control("healthy/strong-decay-adam", "weight decay",
            with_decay(lambda p: Adam(p, 1e-3, weight_decay=1e-2), "cnn-batchnorm")),
    Control("healthy/cosine-per-epoch", "wrong unit",
            with_schedule(lambda o: schedulers.CosineAnnealingLR(o, EPOCHS), "epoch")),
    Control("healthy/cosine-with-restarts", "ends early",
            with_schedule(lambda o: schedulers.CosineAnnealingWarmRestarts(o, 60), "step")),
    Control("healthy/divided-by-100", "ends early",
            with_schedule(lambda o: schedulers.MultiStepLR(o, [5, 7]), "epoch", "cnn")),
    Control("healthy/cyclic", "ends early",
            with_schedule(lambda o: schedulers.CyclicLR(o, 1e-5, 0.02, 30), "step")),
    Control("healthy/warm-up-then-cosine", "wrong unit", with_schedule(warm_up_and_cosine, "step")),
    Control("healthy/warm-up-by-epoch", "wrong unit",
            with_schedule(lambda o: schedulers.LinearLR(o, 0.1, total_iters=4), "epoch", "cnn")),
)  # fmt: skip
"""Appended to the controls of `controls.py`."""
