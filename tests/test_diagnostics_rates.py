"""Rates and schedules: what single runs show beyond the faults and controls of `faults_schedule.py`."""

import pytest
import torch
from controls import GAN, generator
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.optim import SGD, Adam
from torch.optim import lr_scheduler as schedulers
from watched import silent, unharmed, watcher
from zoo import MLP, Module, run

from nnfoundations.diagnostics import History, diagnose

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def gan(generator_rate, critic_rate):
    class Both(GAN):
        def configure_optimizers(self):
            return Adam(self.net.parameters(), generator_rate), Adam(self.critic.parameters(), critic_rate)

    torch.manual_seed(0)
    return Both(generator())


@pytest.mark.parametrize(("rates", "wrong"), [((0.2, 2e-4), 0), ((2e-4, 0.2), 1)])
def test_a_rate_too_high_in_one_of_two_optimizers(rates, wrong):
    diagnostics = run(gan(*rates), 40, diagnostics=watcher())
    (finding,) = diagnostics.findings
    assert finding.fault == "learning-rate-too-high"
    assert finding.numbers["optimizer"] == wrong
    assert f"optimizer {wrong} (Adam" in finding.evidence
    assert finding.where[0].startswith(("net.", "critic.")[wrong])
    assert 1e-4 < finding.numbers["suggested_lr"] < 5e-3


class Convolutions(GAN):
    """A DCGAN on the digits, with its usual initial values."""

    def __init__(self, net):
        super().__init__(net)
        self.critic = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 32, 3, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(256, 1),
        )  # fmt: skip


@pytest.mark.slow
def test_a_healthy_dcgan():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (16, 1, 1)), nn.ConvTranspose2d(16, 64, 2), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Flatten(),
    )  # fmt: skip
    for layer in net.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.02)
    silent(run(Convolutions(net), 300, diagnostics=watcher()))


class Decaying(Module):
    """Its rate is 0 after a fourth of 80 steps."""

    def configure_optimizers(self):
        optimizer = SGD(self.parameters(), 0.01)
        schedule = schedulers.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / 20))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def test_facts_about_a_schedule_are_kept_in_a_file(tmp_path):
    diagnostics = run(Decaying(MLP(2)), 80, diagnostics=watcher())
    (finding,) = diagnostics.findings
    assert finding.fault == "schedule-ends-early"
    assert "at step 20, with 75% of the 80 steps left" in finding.evidence
    diagnostics.history.save(tmp_path / "history.npz")
    history = History.load(tmp_path / "history.npz")
    assert history.schedules[0].kind == "LambdaLR"
    assert history.groups == diagnostics.history.groups
    assert [found.fault for found in diagnose(history)] == ["schedule-ends-early"]


def test_a_run_that_may_stop_early_has_no_known_length():
    stopping = EarlyStopping("val_loss", patience=100)
    diagnostics = run(Decaying(MLP(2)), 80, diagnostics=watcher(), callbacks=[stopping])
    unharmed(diagnostics)
    assert diagnostics.findings == []
    assert "early stopping" in diagnostics.not_run["schedule-ends-early"]
