"""Faults of small nets on tables: a run without a signal, units, and rates behind a warm-up.

Each is tried with the layers of `torch.nn` and, in the net whose name ends in ``-ours``, with those of
`nnfoundations.nn`. This file holds no tests.
"""

from collections.abc import Callable
from typing import Any

from cases import Case, Fault
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR
from zoo import Module, table_loaders

from nnfoundations import nn as ours

__all__ = ["TABLE_FAULTS"]

REGRESSION, CANCER = ("regression", "regression-ours"), ("cancer", "cancer-ours")


def layers(name: str) -> Any:
    return ours if name.endswith("-ours") else nn


def regression(name: str, *sizes: int, last: str = "", **changes: Any) -> Case:
    """The progress of diabetes from ten measurements of a patient."""
    kind = layers(name)
    net = nn.Sequential()
    for a, b in zip((10, *sizes), (*sizes, 1), strict=True):
        net.extend([kind.Linear(a, b), kind.ReLU()])
    del net[-1]
    if last:
        net.append(getattr(kind, last)())
    case = Case(name, net, loss=F.mse_loss, data=table_loaders("diabetes"))
    case.options = {"limit_val_batches": 0}  # a net memorizes so few rows, which is a finding of its own
    for key, value in changes.items():
        setattr(case, key, value)
    return case


def cancer(name: str, norm: bool = False, **changes: Any) -> Case:
    """Breast cancer: thirty columns, two classes."""
    kind = layers(name)
    hidden = [kind.Linear(30, 32), *([kind.BatchNorm1d(32)] if norm else []), kind.ReLU()]
    net = nn.Sequential(*hidden, kind.Linear(32, 1), kind.Sigmoid())
    case = Case(name, net, loss=F.binary_cross_entropy, data=table_loaders("cancer"))
    for key, value in changes.items():
        setattr(case, key, value)
    return case


def positive(out: Tensor, y: Tensor) -> Tensor:
    """Targets from 0 on, as an output with ReLU can have them."""
    return F.mse_loss(out, y + 3)


def softmax_of_one(case: Case) -> None:
    case.net[-1] = layers(case.name).Softmax(1)


def output_bias(case: Case) -> None:
    nn.init.constant_(case.net[-2].bias, -8.0)


class TimesZero(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0


def times_zero(case: Case) -> None:
    case.net = TimesZero(*case.net)


def one_feature_norm(case: Case) -> None:
    case.net.append(layers(case.name).LayerNorm(1))


def narrow_bias(case: Case) -> None:
    nn.init.constant_(case.net[2].bias, -20.0)


def late_bias(case: Case) -> None:
    class Late(Module):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.trainer.global_step == 130:
                nn.init.constant_(self.net[0].bias, -50.0)

    case.module = Late


def larger_targets(case: Case) -> None:
    case.loss = lambda out, y: F.mse_loss(out, 50 * (y + 4))


def in_hundreds(case: Case) -> None:
    case.loss = lambda out, y: F.mse_loss(out, 200 * y)


def penalized(case: Case) -> None:
    """A penalty on the weights, written into the loss, that is much too strong."""

    class Penalized(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            for p in self.parameters():
                loss = loss + 0.25 * p.square().sum()
            return loss

    case.module = Penalized
    case.optimizer = lambda p: SGD(p, 0.02, momentum=0.9)


def behind_warm_up(steps: int, rate: float) -> Callable[[Case], None]:
    """Use Adam, whose rate rises linearly over these steps."""

    def inject(case: Case) -> None:
        class WarmUp(Module):
            def configure_optimizers(self) -> Any:
                optimizer = Adam(self.parameters(), rate)
                schedule = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / steps))
                return [optimizer], [{"scheduler": schedule, "interval": "step"}]

        case.module = WarmUp

    return inject


TABLE_FAULTS = (
    Fault("no-gradient/dead-output", REGRESSION, 20, output_bias, where=lambda case: "net.3",
          also=("dead-units", "output-activation-mismatch"),
          twin=lambda name: regression(name, 32, last="ReLU", loss=positive)),
    Fault("no-gradient/softmax-over-one-unit", CANCER, 20, softmax_of_one, where=lambda case: "net.3",
          also=("softmax-over-one-unit",), twin=cancer),
    Fault("no-gradient/times-zero", REGRESSION, 20, times_zero, where=lambda case: "net.2",
          twin=lambda name: regression(name, 32)),
    Fault("no-learning/one-feature-norm", REGRESSION, 230, one_feature_norm, where=lambda case: "net.3",
          twin=lambda name: regression(name, 32, steps=240)),
    Fault("no-learning/weight-penalty", REGRESSION, 300, penalized,
          twin=lambda name: regression(name, 64, 64, steps=300,
                                       optimizer=lambda p: SGD(p, 0.02, momentum=0.9, weight_decay=5e-4))),
    Fault("dead-units/narrow-layer", REGRESSION, 50, narrow_bias, where=lambda case: "net.2",
          twin=lambda name: regression(name, 16, 4, 16)),
    Fault("dead-units/late", CANCER, 160, late_bias, where=lambda case: "net.0",
          twin=lambda name: cancer(name, steps=160)),
    Fault("saturated-units/output", REGRESSION, 120, larger_targets,
          also=("output-activation-mismatch", "unscaled-targets"),
          twin=lambda name: regression(name, 32, last="Tanh", optimizer=lambda p: Adam(p, 1e-2),
                                       loss=lambda out, y: F.mse_loss(out, 0.2 * y))),
    Fault("unscaled-targets/no-mean", REGRESSION, 160, in_hundreds,
          twin=lambda name: regression(name, 32, steps=160)),
    Fault("learning-rate-too-high/warm-up", REGRESSION, 200, behind_warm_up(80, 1.0),
          twin=lambda name: regression(name, 64, 64, steps=200)),
    Fault("learning-rate-too-low/warm-up", CANCER, 120, behind_warm_up(20, 1e-8),
          twin=lambda name: cancer(name, norm=True)),
)  # fmt: skip
"""Appended to the faults of `faults.py`."""
