"""Runs without a signal: what is measured, where the gradient ends, and when units are measured again."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnfoundations.diagnostics import History, Monitor, diagnose
from nnfoundations.diagnostics._constant import ConstantLoss
from nnfoundations.diagnostics._history import LayerFacts, ParameterFacts
from nnfoundations.diagnostics._loss_graph import loss_terms
from nnfoundations.diagnostics._schedule import END, Schedule
from nnfoundations.diagnostics._transfer import LossBuffer
from nnfoundations.diagnostics.rules import RULES
from nnfoundations.diagnostics.rules._rule import constant_loss
from nnfoundations.diagnostics.rules._signal import NoGradient, NoLearning


def watched(net, loss, steps=30, rate=1e-2, x=None, y=None):
    """Train with a plain loop; return the monitor."""
    torch.manual_seed(0)
    x = torch.randn(64, 6) if x is None else x
    y = x[:, :1].sin() if y is None else y
    optimizer = torch.optim.Adam(net.parameters(), rate)
    with Monitor(net, optimizer, verbose=False, budget=1.0) as monitor:
        for step in range(steps):
            rows = torch.arange(step * 16, step * 16 + 16) % len(x)
            value = loss(net(x[rows]), y[rows])
            monitor.observe(value)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    assert monitor.failure is None
    return monitor


class After(nn.Module):
    """Two layers, and then a function."""

    def __init__(self, function):
        super().__init__()
        self.first, self.act, self.last, self.function = nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1), function

    def forward(self, x):
        return self.function(self.last(self.act(self.first(x))))


@pytest.mark.parametrize(
    "function",
    [torch.round, torch.sign, lambda x: x * 0, lambda x: (x + 9).clamp(-1, 1), lambda x: x.softmax(1)],
)
def test_the_last_layer_before_the_end_of_the_gradient_is_named(function):
    (finding,) = diagnose(watched(After(function), F.mse_loss).history, rules=[NoGradient()])
    assert finding.first_step == 0
    assert finding.where == ("last",)
    assert "between last and the loss" in finding.cause


def test_a_module_that_stops_the_gradient_is_named_with_its_class():
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1), nn.Softmax(1))
    y = torch.ones(64, 1) / 2
    (finding,) = diagnose(watched(net, F.binary_cross_entropy, y=y).history, rules=[NoGradient()])
    assert finding.where == ("3",)
    assert "(Softmax) and 0 at its input" in finding.evidence
    assert "single unit" in finding.cause


def test_a_cross_entropy_of_one_output_is_not_at_its_floor():
    y = torch.zeros(64, dtype=torch.int64)
    (finding,) = diagnose(watched(nn.Linear(6, 1), F.cross_entropy, y=y).history, rules=[NoGradient()])
    assert "one output" in finding.evidence
    assert "BCEWithLogitsLoss" in finding.remedy


@pytest.mark.parametrize("function", [torch.round, torch.sign, lambda x: x * 0])
def test_a_missing_gradient_is_the_only_finding(function):
    (finding,) = watched(After(function), F.mse_loss).findings
    assert (finding.fault, finding.first_step) == ("no-gradient", 0)


def test_a_wrong_loss_or_output_explains_a_missing_gradient():
    (finding,) = watched(After(lambda x: x.softmax(1)), F.mse_loss).findings
    assert finding.fault == "softmax-over-one-unit"
    assert "no-gradient" in finding.consequences
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1), nn.ReLU())
    nn.init.constant_(net[2].bias, -9.0)
    y = -torch.rand(64, 1)
    (finding,) = watched(net, F.mse_loss, y=y).findings
    assert finding.fault == "output-activation-mismatch"
    assert "no-gradient" in finding.consequences


def dead_relu(*layers, at):
    """A net whose last bias before the ReLU at a position is so low that no input passes it."""
    net = nn.Sequential(*layers)
    nn.init.constant_(net[at - 1].bias, -100.0)
    (finding,) = diagnose(watched(net, F.mse_loss).history, rules=[NoGradient()])
    assert finding.where == (str(at),)
    return finding.remedy


def test_a_relu_is_to_be_removed_only_at_the_end():
    assert "Remove the ReLU" in dead_relu(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1), nn.ReLU(), at=3)
    hidden = dead_relu(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1, bias=False), at=1)
    assert "Remove the ReLU" not in hidden
    assert "LeakyReLU" in hidden


def test_a_run_whose_targets_are_unknown_does_not_show_that_it_learns_nothing():
    history, rule = History(), NoLearning()
    for step in range(250):
        history.record("loss", step, ("loss",), [1.0])
    for step in range(3):
        history.record("sample_spread", step, ("layer",), [0.0])
    history.layers = {"layer": LayerFacts("Linear", "weighted", "layer", 8)}
    assert rule.judge(history) is None
    assert rule.not_run(history) == "the loss does not show its targets"


def test_a_loss_of_0_without_a_gradient_is_no_fault():
    net = nn.Linear(6, 1)
    nn.init.constant_(net.bias, 50.0)
    assert watched(net, lambda out, y: F.relu(1 - out).mean(), rate=1e-3).findings == []


def test_only_a_run_that_does_not_learn_is_searched():
    history = watched(After(lambda x: x), F.mse_loss, steps=80).history
    assert "dead_share" in history.series
    assert "sample_spread" not in history.series
    assert "output_gradient" not in history.series
    assert "output_gradient" in watched(After(torch.sign), F.mse_loss).history.series


def test_dropout_of_another_kind_may_have_any_attribute():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.p, self.layer = nn.Parameter(torch.randn(6)), nn.Linear(6, 1)

        def forward(self, x):
            return self.layer(x + self.p)

    assert watched(Positions(), F.mse_loss).findings == []


# -- the best constant prediction --------------------------------------------------------------------------


def test_the_loss_of_a_constant_prediction_is_that_of_all_targets_seen():
    y = torch.tensor([[1.0], [3.0], [5.0], [7.0]])
    constant = ConstantLoss()
    for rows in (y[:2], y[2:]):
        facts = constant.update(loss_terms(F.mse_loss(torch.zeros(2, 1, requires_grad=True), rows), {}))
    assert facts.tolist() == [5.0, 1.0, 7.0]


def test_the_constant_prediction_of_classes_is_their_share():
    scores, labels = torch.zeros(4, 3, requires_grad=True), torch.tensor([0, 0, 1, -100])
    facts = ConstantLoss().update(loss_terms(F.cross_entropy(scores, labels), {}))
    share = torch.tensor([2 / 3, 1 / 3])
    assert facts[0].item() == pytest.approx(float(-(share * share.log()).sum()))


@pytest.mark.parametrize(
    "loss",
    [
        lambda scores, labels: F.nll_loss(scores.softmax(1).clamp(1e-7, 1).log(), labels),
        lambda scores, labels: -scores.softmax(1).log()[range(4), labels].mean(),
    ],
)
def test_a_hand_written_cross_entropy_shows_its_classes_too(loss):
    scores, labels = torch.zeros(4, 3, requires_grad=True), torch.tensor([0, 0, 1, 1])
    facts = ConstantLoss().update(loss_terms(loss(scores, labels), {}))
    assert facts[0].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("reduction", "elements"), [("mean", 1), ("sum", 16)])
def test_a_sum_over_the_samples_is_compared_with_a_sum(reduction, elements):
    seen = watched(After(nn.Identity()), partial(F.mse_loss, reduction=reduction)).history
    assert constant_loss(seen) == seen["constant_loss"].rows[-1, 0] * elements


def test_the_constant_prediction_of_two_classes_is_the_mean_of_each_output():
    out, y = torch.zeros(4, 2, requires_grad=True), torch.tensor([[0.0, 1], [0, 1], [1, 1], [1, 1]])
    facts = ConstantLoss().update(loss_terms(F.binary_cross_entropy_with_logits(out, y), {}))
    assert facts[0].item() == pytest.approx(0.6931 / 2, abs=1e-3)


def test_a_loss_that_hides_its_targets_has_no_constant_prediction():
    assert ConstantLoss().update(loss_terms(torch.zeros(4, 1, requires_grad=True).abs().mean(), {})) is None


# -- when activations are measured -------------------------------------------------------------------------


def schedule(steps):
    made = Schedule()
    made.steps, made.trained, made.activations.last = steps, 1.0, steps - 100
    made.activations.price, made.activations.balance = 1e-3, -1.0
    return made


def test_activations_are_measured_at_the_end_of_a_run_of_known_length():
    assert not schedule(500).wants_activations(500, 1000)
    assert not schedule(990).wants_activations(990)
    assert schedule(1000 - END // 2).wants_activations(1000 - END // 2, 1000)


def test_activations_are_measured_after_a_jump():
    jumped = schedule(500)
    jumped.inspect(2)
    assert jumped.wants_activations(501)


@pytest.mark.parametrize(
    ("losses", "jumps"), [([1, 1, 9, 1, 9, 1], []), ([1, 1, 9, 9, 1], [3]), ([1, 9, 27], [2])]
)
def test_two_high_losses_in_a_row_are_a_jump(losses, jumps):
    buffer = LossBuffer(torch.device("cpu"))
    found = []
    for step, loss in enumerate(losses):
        buffer.write(step, torch.tensor(float(loss)), None)
        found += [step] * buffer.jumped
    assert found == jumps


def test_a_suspicion_is_settled_by_a_few_measurements_and_no_more():
    made = schedule(300)
    taken = []
    for step in range(300, 340):
        made.steps = step
        if step == 300 or made.wants_activations(step, unsettled=True):
            taken.append(step)
            made.activations.seconds = 1e-3
            made.measured(step)
    assert taken == list(range(300, 307))


# -- messages ----------------------------------------------------------------------------------------------


def recorded(ratio, rate, losses):
    """A history as of a net with one layer, whose updates and losses are given."""
    again = History()
    again.parameters = {"weight": ParameterFacts("layer", "Linear", "matrix", (4, 4), True, 0)}
    again.record("lr", 0, ("group 0",), [rate])
    for step, loss in enumerate(losses):
        again.record("loss", step, ("loss",), [loss])
        for quantity, value in (("update_ratio", ratio), ("gradient_norm", 1.0)):
            again.record(quantity, step, ("weight",), [value])
        again.record("weight_norm", step, ("weight",), [1.0])
    return again


def test_a_suggested_rate_is_possible():
    (finding,) = diagnose(recorded(4e-6, 1e-3, [1.0] * 80), RULES)
    assert 0 < finding.numbers["suggested_lr"] <= 10


@pytest.mark.parametrize("ratio", [1e-12, 1e-7])
def test_no_rate_is_suggested_where_none_helps(ratio):
    (finding,) = diagnose(recorded(ratio, 1e-3, [1.0] * 80), RULES)
    assert "suggested_lr" not in finding.numbers
    assert "Find what shrinks the gradient" in finding.remedy


def test_weights_that_never_move_have_no_rate():
    assert diagnose(recorded(0.0, 1e-3, [1.0] * 80), RULES) == []


@pytest.mark.parametrize(
    ("ratio", "losses", "found"),
    [
        (0.5, [1.0, *[0.7] * 80], []),  # large updates, no harm
        (0.01, [1.0, *[9.0] * 80], []),  # harm, but not from updates of a healthy size
        (0.5, [1.0, 9.0, *[0.7] * 80], []),  # one loss is noise
        (0.5, [1.0, *[9.0] * 80], ["learning-rate-too-high"]),
    ],
)
def test_a_rate_is_too_high_only_if_large_updates_did_harm(ratio, losses, found):
    assert [finding.fault for finding in diagnose(recorded(ratio, 0.1, losses), RULES)] == found
