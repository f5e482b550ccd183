"""Faults of learning rates, their schedules, weight decay and clipping. This file holds no tests."""

from collections.abc import Callable
from typing import Any

import torch
from cases import Case, Fault, of_optimizer, usual
from faults_tables import cancer, regression
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedulers
from torch.utils.data import DataLoader, TensorDataset
from zoo import Module, loaders, table_loaders

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


def clipped(case: Case) -> None:
    case.options = {**case.options, "gradient_clip_val": 1e-4}


def of_loss(change: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]) -> Callable[[Case], None]:
    """Change the loss of the healthy run."""

    def inject(case: Case) -> None:
        case.loss = change(case.loss)

    return inject


def summed(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda out, y: loss(out, y, reduction="sum")


def added_up(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda out, y: loss(out, y, reduction="none").sum()


def without_minus(case: Case) -> None:
    case.loss = lambda out, y: out.log_softmax(1)[torch.arange(len(y)), y].mean()


def by_sgd(name: str) -> Case:
    return of_net(name, optimizer=lambda p: SGD(p, 0.05 if name == "cnn-batchnorm" else 0.02, momentum=0.9))


def too_high_behind_warm_up(case: Case) -> None:
    """The loss falls in the warm-up. Soon after it, it rises to infinity within some steps."""
    case.optimizer = lambda p: SGD(p, 0.1, momentum=0.9)
    scheduled(lambda o: schedulers.LambdaLR(o, lambda step: min(1, (step + 1) / 100)), "step")(case)


def long(name: str) -> Case:
    """Plain SGD from torch's own initial values: slow, but it learns. `halved` runs half as long."""
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    if name == "recurrent":
        return usual(name, steps=840, optimizer=lambda p: SGD(p, 0.07))
    return usual(name, net=net, steps=840, optimizer=lambda p: SGD(p, 0.011))


def halved(case: Case) -> None:
    case.steps //= 2


def hardly_begun(case: Case) -> None:
    """Too few steps for such a low rate: neither alone would do harm."""
    case.steps, case.optimizer = 60, lambda p: Adam(p, 2e-5)


def full_batch(name: str) -> Case:
    """All samples in one batch, so the loss has no noise."""
    case = of_net(name, steps=220)
    train, validation = loaders() if name == "mlp" else table_loaders("diabetes")
    case.data = DataLoader(train.dataset, len(train.dataset)), validation
    return case


def curve(name: str, loss: Callable[..., Tensor] = F.mse_loss) -> Case:
    """A quadratic function without noise, all points in one batch."""
    x = torch.linspace(0, 1, 100)[:, None]
    net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    data = DataLoader(TensorDataset(x, 4 * (x - 0.5) ** 2), 100)
    return Case(name, net, loss=loss, data=(data, data), steps=400,
                optimizer=lambda p: Adam(p, 1e-2), options={"limit_val_batches": 0})  # fmt: skip


DECAY, INTERVAL, EARLY = "weight-decay-too-strong", "schedule-interval", "schedule-ends-early"

SCHEDULE_FAULTS = (
    Fault(f"{DECAY}/sgd", ("mlp", "cnn-batchnorm", "regression"), 120,
          of_optimizer(lambda p: SGD(p, 0.02, momentum=0.9, weight_decay=0.5)), twin=decayed()),
    Fault(f"{DECAY}/adam", ("mlp",), 300,
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
    Fault("clipping-too-tight/norm-1e-4", ("mlp", "cnn", "cancer"), 60, clipped, twin=by_sgd),
    Fault("loss-sign-wrong/minus", ("mlp", "residual", "autoencoder", "regression"), 50,
          of_loss(lambda loss: lambda out, y: -loss(out, y)), twin=of_net),
    Fault("loss-sign-wrong/factor", ("cancer",), 30,
          of_loss(lambda loss: lambda out, y: -0.5 * loss(out, y)), twin=of_net),
    Fault("loss-sign-wrong/missing-minus", ("cnn",), 30, without_minus, twin=of_net),
    Fault("loss-not-averaged/sum", ("mlp", "cnn-batchnorm", "autoencoder"), 30, of_loss(summed),
          twin=by_sgd),
    Fault("loss-not-averaged/added-up", ("cnn", "regression"), 40, of_loss(added_up), twin=by_sgd),
    Fault("stopped-too-early/half-the-steps", ("mlp", "recurrent"), 420, halved, twin=long),
    Fault("stopped-too-early/hardly-begun", ("mlp", "cnn", "regression"), 60, hardly_begun, twin=of_net),
    Fault("learning-rate-too-low/full-batch", ("mlp", "regression"), 220,
          of_optimizer(lambda p: Adam(p, 1e-8)), twin=full_batch),
    Fault("learning-rate-too-low/quadratic", ("curve",), 320,
          of_optimizer(lambda p: SGD(p, 1e-3)), twin=curve),
    Fault("learning-rate-too-low/absolute", ("curve",), 400,
          of_optimizer(lambda p: SGD(p, 1e-4)), twin=lambda name: curve(name, F.l1_loss)),
    Fault("learning-rate-too-high/diverges", ("mlp",), STEPS, too_high_behind_warm_up, also=("dead-units",),
          twin=slow),
)  # fmt: skip
"""Appended to the faults of `faults.py`."""
