"""Faults of learning rates, their schedules, weight decay and clipping. This file holds no tests."""

from collections.abc import Callable
from typing import Any

from cases import Case, Fault, of_optimizer, usual
from faults_tables import cancer, regression
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedulers
from zoo import Module

__all__ = ["SCHEDULE_FAULTS", "scheduled", "slow"]

EPOCHS, STEPS = 12, 252
"""Length of the runs with a schedule: epochs of 21 steps."""


def scheduled(make: Callable[[Any], Any], interval: str) -> Callable[[Case], None]:
    """Add a schedule; `make` makes it from the optimizer."""

    def inject(case: Case) -> None:
        class Scheduled(Module):
            def configure_optimizers(self) -> Any:
                optimizer = super().configure_optimizers()
                return [optimizer], [{"scheduler": make(optimizer), "interval": interval}]

        case.module = Scheduled

    return inject


def of_net(name: str, **changes: Any) -> Case:
    """A net of the zoo, or one on a table."""
    tables = {"regression": lambda: regression(name, 64, 64), "cancer": lambda: cancer(name)}
    case = tables[name]() if name in tables else usual(name)
    for key, value in changes.items():
        setattr(case, key, value)
    return case


def decayed(decay: float = 5e-4, steps: int = 150) -> Callable[[str], Case]:
    return lambda name: of_net(
        name, steps=steps, optimizer=lambda p: SGD(p, 0.02, momentum=0.9, weight_decay=decay)
    )


def slow(name: str) -> Case:
    """Plain SGD at a rate at which a run of 252 steps only just suffices."""
    return of_net(name, steps=STEPS, optimizer=lambda p: SGD(p, 0.02, momentum=0.9))


DECAY, INTERVAL, EARLY = "weight-decay-too-strong", "schedule-interval", "schedule-ends-early"

SCHEDULE_FAULTS = (
    Fault(f"{DECAY}/sgd", ("mlp", "cnn-batchnorm", "regression"), 120,
          of_optimizer(lambda p: SGD(p, 0.02, momentum=0.9, weight_decay=0.5)), twin=decayed()),
    Fault(f"{DECAY}/adam", ("mlp", "autoencoder"), 300,
          of_optimizer(lambda p: Adam(p, 1e-3, weight_decay=1.0)), twin=decayed(steps=300)),
    Fault(f"{DECAY}/adamw", ("cnn", "transformer", "regression"), 120,
          of_optimizer(lambda p: AdamW(p, 1e-3, weight_decay=100.0)), twin=decayed()),
    Fault(f"{INTERVAL}/decay-per-step", ("mlp", "cnn"), 60,
          scheduled(lambda o: schedulers.StepLR(o, 4), "step"), twin=slow),
    Fault(f"{INTERVAL}/cosine-per-step", ("mlp", "residual"), 40,
          scheduled(lambda o: schedulers.CosineAnnealingLR(o, EPOCHS), "step"), twin=slow),
    Fault(f"{INTERVAL}/cosine-per-epoch", ("cnn",), 20,
          scheduled(lambda o: schedulers.CosineAnnealingLR(o, STEPS), "epoch"), twin=slow),
    Fault(f"{INTERVAL}/warm-up-per-epoch", ("mlp", "cnn"), 120,
          scheduled(lambda o: schedulers.LambdaLR(o, lambda step: min(1, (step + 1) / 1000)), "epoch"),
          twin=slow),
    Fault(f"{EARLY}/linear", ("mlp", "autoencoder"), 120,
          scheduled(lambda o: schedulers.LambdaLR(o, lambda step: max(0.0, 1 - step / 38)), "step"),
          twin=slow),
    Fault(f"{EARLY}/cosine", ("cnn",), 120,
          scheduled(lambda o: schedulers.CosineAnnealingLR(o, 4), "epoch"), twin=slow),
    Fault("schedule-longer-than-run/cosine", ("mlp", "recurrent"), 20,
          scheduled(lambda o: schedulers.CosineAnnealingLR(o, 2 * STEPS), "step"), twin=slow),
)  # fmt: skip
"""Appended to the faults of `faults.py`."""
