"""Rates and schedules: what single runs show beyond the faults and controls of `faults_schedule.py`."""

import pytest
import torch
from controls import GAN, generator
from faults_schedule import scheduled, slow
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from torch.optim import lr_scheduler as schedulers
from watched import silent, unharmed, watch, watcher
from zoo import MLP, Module, digits, run

from nnfoundations.diagnostics import History, diagnose, loss_facts

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
    assert "schedule-ends-early" not in [finding.fault for finding in diagnostics.findings]
    assert "early stopping" in diagnostics.not_run["schedule-ends-early"]


@pytest.mark.parametrize(("length", "found"), [(2, []), (4, ["schedule-ends-early"])])
def test_a_cosine_that_falls_and_rises_several_times_is_meant_so(length, found):
    case = slow("mlp")
    scheduled(lambda optimizer: schedulers.CosineAnnealingLR(optimizer, length), "epoch")(case)
    diagnostics = run(case.build(), case.steps, case.data, diagnostics=watcher())
    assert [finding.fault for finding in diagnostics.findings] == found


def picked(logits, y):
    return logits.log_softmax(1)[torch.arange(len(y)), y]


SIGNS = {
    "cross-entropy": (F.cross_entropy, False),
    "minus": (lambda out, y: -F.cross_entropy(out, y), True),
    "factor": (lambda out, y: F.cross_entropy(out, y) * -0.5, True),
    "subtracted": (lambda out, y: 1 - F.cross_entropy(out, y), True),
    "by hand": (lambda out, y: -picked(out, y).mean(), False),
    "by hand without minus": (lambda out, y: picked(out, y).mean(), True),
    "policy gradient": (lambda out, y: -(picked(out, y) * (y - 4.5)).mean(), False),
    "policy gradient with rewards": (lambda out, y: -(picked(out, y) * y).mean(), False),
    "divergence": (
        lambda out, y: F.kl_div(out.log_softmax(1), F.one_hot(y, 10) * 0.9 + 0.01, reduction="batchmean"),
        False,
    ),
    "focal": (
        lambda out, y: (-((1 - picked(out, y).exp()) ** 2) * picked(out, y)).mean(),
        False,
    ),
    "learned weight": (lambda out, y: F.cross_entropy(out, y) * out.mean(), False),
}


@pytest.mark.parametrize(("loss", "negated"), list(SIGNS.values()), ids=list(SIGNS))
def test_the_sign_of_a_loss_is_read_from_its_graph(loss, negated):
    torch.manual_seed(0)
    out, y = MLP(1)(torch.randn(32, 64)), torch.randint(10, (32,))
    assert any(term.negated for term in loss_facts(loss(out, y)).terms) == negated


SUMS = {
    "mean": (F.cross_entropy, False),
    "sum": (lambda out, y: F.cross_entropy(out, y, reduction="sum"), True),
    "added up": (lambda out, y: F.cross_entropy(out, y, reduction="none").sum(), True),
    "divided": (lambda out, y: F.cross_entropy(out, y, reduction="sum") / len(y), False),
    "sum over classes": (lambda out, y: ((out - y[:, None]) ** 2).sum(1).mean(), False),
    "scaled": (lambda out, y: 1e-3 * F.mse_loss(out[:, 0], y.float(), reduction="sum"), False),
}


@pytest.mark.parametrize(("loss", "summed"), list(SUMS.values()), ids=list(SUMS))
def test_a_sum_in_place_of_a_mean_is_read_from_the_graph(loss, summed):
    torch.manual_seed(0)
    out, y = MLP(1)(torch.randn(32, 64)), torch.randint(10, (32,))
    assert any(term.summed for term in loss_facts(loss(out, y)).terms) == summed


def test_a_monitor_sees_weight_decay():
    torch.manual_seed(0)
    net, (x, y, *_) = MLP(2), digits()
    optimizer = SGD(net.parameters(), 0.02, momentum=0.9, weight_decay=0.5)
    monitor = watch(net, optimizer)
    for rows in torch.randperm(1280).view(20, 64).repeat(6, 1):
        loss = F.cross_entropy(net(x[rows]), y[rows])
        monitor.observe(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    monitor.close()
    (finding,) = monitor.findings
    assert finding.fault == "weight-decay-too-strong"
    assert finding.numbers["suggested_weight_decay"] == pytest.approx(5e-4)
    assert "length of the run" in monitor.not_run["schedule-ends-early"]
