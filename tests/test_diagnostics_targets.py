"""Rules about targets that follow a run: constant targets, and targets that are too large to be learned."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnfoundations.diagnostics import (
    History,
    LossFacts,
    LossTerm,
    Monitor,
    Severity,
    TargetFacts,
    diagnose,
    loss_facts,
)
from nnfoundations.diagnostics._targets import LossReader
from nnfoundations.diagnostics._transfer import Readings
from nnfoundations.diagnostics.rules._targets import ConstantTargets, UnscaledTargets

COLUMNS = ("low", "high", "spread", "samples")


def constant(rows, **settings):
    history = History()
    history.settings = settings
    for step, row in enumerate(rows):
        history.record("target", step, COLUMNS, row)
        history.record("loss", step, ("loss",), [1.0])
    return diagnose(history, rules=[ConstantTargets()])


def test_a_thousand_samples_of_one_value_are_constant():
    assert constant([[3.0, 3.0, 0.0, 64.0]] * 15) == []
    (finding,) = constant([[3.0, 3.0, 0.0, 64.0]] * 20)
    assert (finding.severity, finding.numbers["value"]) == (Severity.ERROR, 3.0)
    assert "(1,280 samples) are 3." in finding.evidence


@pytest.mark.parametrize(
    "rows",
    [
        [[3.0, 3.0, 0.0, 64.0]] * 15 + [[2.0, 2.0, 0.0, 64.0]],
        [[0.0, 0.0, 0.0, 64.0]] * 10 + [[0.0, 1.0, 1.0, 64.0]] + [[0.0, 0.0, 0.0, 64.0]] * 10,
        [[i % 3.0, i % 3.0, 0.0, 1.0] for i in range(40)],
    ],
    ids=["sorted", "rare", "batches-of-one"],
)
def test_targets_that_differ_once_are_not(rows):
    assert constant(rows) == []


def test_few_samples_may_lack_a_rare_value():
    rare = [[0.0, 0.0, 0.0, 2.0]] * 30
    assert constant(rare, steps_per_epoch=1000) == []
    assert [f.fault for f in constant(rare, steps_per_epoch=15)] == ["constant-targets"], (
        "all of them were seen"
    )


REGRESSION = {"kind": "squared", "node": "MseLoss", "layer": True, "shape": (64, 1)}


def regression(rms, losses, mean=0.0, spread=None, total=0, rate=1e-3, **term):
    history, spread = History(), rms if spread is None else spread
    target = TargetFacts("float32", (64, 1), mean - 2 * spread, mean + 2 * spread, mean, spread, rms)
    term = LossTerm(**{**REGRESSION, **term}, target=target)
    history.loss = LossFacts("squared", baseline=spread**2, terms=(term,), reads=2)
    history.settings = {"total_steps": total} if total else {}
    for step, loss in enumerate(losses):
        history.record("loss", step, ("loss",), [loss])
    history.record("lr", 0, ("group 0",), [rate])
    return diagnose(history, rules=[UnscaledTargets()])


def falling(first, last, n=400):
    return [first + (last - first) * i / (n - 1) for i in range(n)]


def test_large_targets_whose_mean_is_not_learned_are_named():
    (finding,) = regression(170.0, falling(29000, 15000), mean=152.0, spread=77.0)
    assert finding.severity is Severity.WARNING
    assert "Standardize the targets: (targets - 152) / 77." in finding.remedy
    assert "many steps at lr=0.001." in finding.cause
    (finding,) = regression(170.0, falling(29000, 15000), mean=152.0, spread=77.0, rate=float("nan"))
    assert "many steps." in finding.cause


def test_the_same_for_absolute_errors():
    (finding,) = regression(170.0, falling(152, 120), mean=152.0, spread=77.0, kind="absolute", node="Abs")
    assert finding.numbers["constant"] == pytest.approx(61.6)
    assert regression(170.0, falling(152, 60), mean=152.0, spread=77.0, node="HuberLoss", total=400) == []


@pytest.mark.parametrize(
    "run",
    [
        regression(3.0, falling(9.0, 9.0)),
        regression(170.0, falling(29000, 7000, 250) + [5000.0] * 150, mean=152.0, spread=77.0),
        regression(170.0, falling(29000, 3000), mean=152.0, spread=77.0, total=400),
        regression(170.0, falling(29000, 20000, 250), mean=152.0, spread=77.0),
        regression(170.0, falling(29000, 20000, 300), mean=152.0, spread=77.0, total=1000),
        regression(170.0, falling(29000, 90000), mean=152.0, spread=77.0),
        regression(170.0, falling(290, 200), mean=152.0, spread=77.0),
        regression(170.0, falling(29000, 20000), mean=152.0, spread=77.0, activation="tanh"),
    ],
    ids=["small", "learned", "about-to-be", "short", "early", "diverging", "another-scale", "another-cause"],
)
def test_other_regressions_are_not(run):
    assert run == []


def test_targets_are_followed_without_waiting_for_the_device():
    net, reader, history = nn.Linear(3, 4), LossReader(), History()
    x, y = torch.randn(8, 3), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    batch = {"input": x, "label": y}
    reader.read(F.cross_entropy(net(x), y), batch, history)
    readings = Readings(0)
    reader.measure(readings, batch)
    readings.send()
    ((quantity, columns, values),) = readings.rows()
    assert (quantity, columns, values.tolist()) == ("target", COLUMNS, [0.0, 3.0, 3.0, 8.0])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.float64])
def test_targets_of_any_type_are_followed(dtype):
    net, reader, history = nn.Linear(3, 1), LossReader(), History()
    x, y = torch.randn(8, 3), torch.tensor([0, 1] * 4).to(dtype)
    batch = [torch.eye(2).to_sparse(), x, y]
    reader.read(F.binary_cross_entropy_with_logits(net(x)[:, 0], y.float()), batch, history)
    readings = Readings(0)
    reader.measure(readings, batch)
    readings.send()
    assert next(readings.rows())[2].tolist() == [0.0, 1.0, 1.0, 8.0]


def test_large_targets_are_not_measured(monkeypatch):
    monkeypatch.setattr("nnfoundations.diagnostics._target_facts.LARGEST", 4)
    net, x, y = nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8, 1)
    (term,) = loss_facts(F.mse_loss(net(x), y), (x, y)).terms
    assert (term.kind, term.target) == ("squared", None)


def test_a_loss_that_cannot_be_read_ends_nothing(monkeypatch):
    def fails(*args):
        raise RuntimeError("an odd graph")

    monkeypatch.setattr("nnfoundations.diagnostics._targets.loss_terms", fails)
    net = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with Monitor(net, optimizer, verbose=False) as monitor:
        for _ in range(25):
            optimizer.zero_grad()
            loss = net(torch.randn(8, 3)).square().mean()
            monitor.observe(loss)
            loss.backward()
            optimizer.step()
    assert monitor.failure is None
    reason = "reading the graph of the loss failed with RuntimeError: an odd graph"
    assert monitor.not_run["shape-broadcast-in-loss"] == reason
    assert monitor.not_run["constant-targets"] == reason
    assert "learning-rate-too-high" not in monitor.not_run


def test_a_monitor_reads_targets_from_the_graph():
    torch.manual_seed(0)
    net, x, y = nn.Sequential(nn.Linear(3, 1), nn.ReLU()), torch.randn(64, 3), torch.randn(64, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    with Monitor(net, optimizer, verbose=False) as monitor:
        for _ in range(25):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            monitor.observe(loss)
            loss.backward()
            optimizer.step()
    assert [finding.fault for finding in monitor.findings] == ["output-activation-mismatch"]
    assert monitor.findings[0].where == ("1",)
