"""Healthy runs with weight decay, schedules and clipping. This file holds no tests."""

from collections.abc import Callable
from typing import Any

from cases import Case, Control
from faults_schedule import EPOCHS, STEPS, of_net, scheduled, slow
from torch import Tensor
from torch.nn import functional as F
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


def summed_loss(make: Callable[[Any], Any]) -> Callable[[], Case]:
    return lambda: of_net("mlp", optimizer=make, loss=lambda out, y: F.cross_entropy(out, y, reduction="sum"))


def with_entropy(out: Tensor, y: Tensor) -> Tensor:
    """A term with a negative factor that keeps outputs from becoming too certain."""
    entropy = -(out.softmax(1) * out.log_softmax(1)).sum(1).mean()
    return F.cross_entropy(out, y) - 0.01 * entropy


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
    Control("healthy/clipped-adam", "clipping", lambda: of_net("mlp", options={"gradient_clip_val": 1e-4})),
    Control("healthy/normalized-gradient", "clipping",
            lambda: of_net("cnn", optimizer=lambda p: SGD(p, 0.1, momentum=0.9),
                           options={"gradient_clip_val": 0.1})),
    Control("healthy/summed-loss", "not averaged", summed_loss(lambda p: Adam(p, 1e-3))),
    Control("healthy/summed-loss-low-rate", "not averaged",
            summed_loss(lambda p: SGD(p, 3e-4, momentum=0.9))),
    Control("healthy/entropy-bonus", "wrong sign", lambda: of_net("mlp", loss=with_entropy)),
)  # fmt: skip
"""Appended to the controls of `controls.py`."""
