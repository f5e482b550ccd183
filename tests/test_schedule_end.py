"""Which schedules end before a run of twelve epochs does."""

from types import SimpleNamespace

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from nnfoundations.lightning_modules import early_schedule_end
from nnfoundations.optim import WarmupCosineLR


def warm_up_then(cosine):
    def make(optimizer):
        parts = [LinearLR(optimizer, 0.1, total_iters=2), CosineAnnealingLR(optimizer, cosine)]
        return SequentialLR(optimizer, parts, milestones=[2])

    return make


SHORT = [
    (lambda o: LinearLR(o, 1.0, 0.0, total_iters=6), "after epoch 6 of 12 the rate is 0"),
    (lambda o: LinearLR(o, 1.0, 0.1, total_iters=6), "after epoch 6 of 12 the rate stays at 0.05"),
    (lambda o: LinearLR(o, 1.0, 0.0, total_iters=1), "after epoch 1 of 12 the rate is 0"),
    (lambda o: PolynomialLR(o, total_iters=5), "after epoch 5 of 12 the rate is 0"),
    (lambda o: CosineAnnealingLR(o, T_max=6), "after epoch 6 of 12 the rate rises again"),
    (lambda o: WarmupCosineLR(o, warmup=2, total=8), "after epoch 8 of 12 the rate is 0"),
    (warm_up_then(5), "after epoch 7 of 12 the rate rises again"),
    (lambda o: LambdaLR(o, lambda epoch: max(0.0, 1 - epoch / 4)), "after epoch 4 of 12 the rate is 0"),
]
LAST = [
    lambda o: LinearLR(o, 1.0, 0.0, total_iters=12),
    lambda o: LinearLR(o, 0.1, 1.0, total_iters=4),  # a warm-up
    lambda o: CosineAnnealingLR(o, T_max=12),
    lambda o: CosineAnnealingWarmRestarts(o, T_0=4),
    lambda o: StepLR(o, step_size=4),
    lambda o: MultiStepLR(o, [3, 6]),
    lambda o: ExponentialLR(o, 0.9),
    lambda o: WarmupCosineLR(o, warmup=2, total=12),
    lambda o: OneCycleLR(o, 0.1, total_steps=3),
    ReduceLROnPlateau,
    warm_up_then(10),
]


def run_of(make, **options):
    """A trainer at its first epoch, and its optimizer."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.5, momentum=0.9)
    config = SimpleNamespace(scheduler=make(optimizer), interval="epoch", frequency=1)
    given = {"current_epoch": 0, "max_epochs": 12, "max_steps": -1, "lr_scheduler_configs": [config]}
    return SimpleNamespace(**(given | options)), optimizer


@pytest.mark.parametrize(("make", "text"), SHORT)
def test_a_schedule_that_ends_early_is_described(make, text):
    trainer, _ = run_of(make)
    assert text in early_schedule_end(trainer)


@pytest.mark.parametrize("make", LAST)
def test_a_schedule_that_lasts_is_not(make):
    assert early_schedule_end(run_of(make)[0]) is None


@pytest.mark.parametrize("make", [short[0] for short in SHORT])
def test_looking_changes_nothing(make):
    trainer, optimizer = run_of(make)
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    before = str(optimizer.param_groups), str(scheduler.state_dict())
    early_schedule_end(trainer)
    assert (str(optimizer.param_groups), str(scheduler.state_dict())) == before
    assert scheduler.optimizer is optimizer


@pytest.mark.parametrize("options", [{"max_epochs": -1}, {"max_epochs": None}, {"max_steps": 5}])
def test_a_run_without_a_known_number_of_epochs_is_not_judged(options):
    assert early_schedule_end(run_of(SHORT[0][0], **options)[0]) is None
