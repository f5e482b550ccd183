"""The graph under a loss tells what the loss is, what feeds it and which targets it has."""

import json

import pytest
import torch
from loss_graphs import GRAPHS, OURS, THEIRS, Batch, N
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nnfoundations.diagnostics import RULES, Family, History, diagnose, loss_facts
from nnfoundations.diagnostics._targets import LossReader

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a target size"),
    pytest.mark.filterwarnings("ignore:reduction"),
]

FACTS = [rule for rule in RULES if rule.family in (Family.LOSS, Family.DATA) and rule.exact]


class Hooks:
    """Remember outputs of modules, as the hooks of diagnostics do."""

    def __init__(self, net):
        self.modules, self.outputs = {}, {}
        self.handles = [
            module.register_forward_hook(self.remember(name))
            for name, module in net.named_modules()
            if not any(module.children())
        ]

    def remember(self, name):
        def hook(module, inputs, output):
            self.modules[output.grad_fn] = name
            self.outputs[output.grad_fn] = output.detach()

        return hook

    def remove(self):
        for handle in self.handles:
            handle.remove()


def history_of(graph, library):
    """Read two batches, with a net that stays the same."""
    torch.manual_seed(0)
    net, history, reader = {}, History(), LossReader()
    graph.make(Batch(library, net, 0))  # makes the layers
    for step in range(2):
        hooks = Hooks(nn.ModuleDict(net))
        batch = Batch(library, net, step)
        loss, target = graph.make(batch)
        data = (batch.x,) if target is None else (batch.x, target)
        reader.read(loss, data, history, hooks.modules, hooks.outputs)
        hooks.remove()
        history.record("loss", step, ("loss",), [loss.item()])
    return history


@pytest.mark.parametrize("library", [THEIRS, OURS], ids=["torch", "ours"])
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.id)
def test_facts_and_faults(graph, library):
    history = history_of(graph, library)
    first = history.loss.terms[0] if history.loss.terms else None
    read = {name: getattr(first, name, None) for name in graph.facts}
    assert read == graph.facts
    findings = diagnose(history, rules=FACTS)
    assert tuple(finding.fault for finding in findings) == graph.faults, findings
    for finding in findings:
        assert "nan" not in str(finding)
        assert "inf" not in str(finding).replace("info", "")
        json.dumps(finding.as_dict(), allow_nan=False)


def test_ids_are_unique():
    assert len({graph.id for graph in GRAPHS}) == len(GRAPHS) >= 120


def test_several_terms_are_read_apart():
    graph = next(graph for graph in GRAPHS if graph.id == "several-tasks")
    one, two = history_of(graph, THEIRS).loss.terms
    assert (one.kind, one.module, two.kind, two.module) == ("squared", "a.0", "cross-entropy", "b.0")
    assert one.target.entry == 1
    assert two.target.distinct == 4


def test_targets_of_a_hand_written_loss_are_computed_from_its_residual():
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    hooks, x, y = Hooks(net), torch.randn(8, 3), torch.randint(-3, 4, (8, 2)).float()
    for loss in ((net(x) - y).square().mean(), (y - net(x)).abs().sum()):
        (term,) = loss_facts(loss, (x, y), hooks.modules, hooks.outputs).terms
        assert (term.target.low, term.target.high) == (y.min(), y.max())
        assert (term.target.dtype, term.target.entry, term.target.whole) == ("float32", 1, True)
    # Without the hooks the activation keeps its output.
    assert loss_facts((net(x) - y).square().mean(), (x, y)).terms[0].target.entry == 1
    # A raw output is kept by nothing, so the targets are unknown.
    assert loss_facts((net[0](x) - y).square().mean(), (x, y)).terms[0].target is None


def test_a_rule_whose_targets_are_unknown_says_so():
    history, reader, x = History(), LossReader(), torch.randn(8, 3)
    net = nn.Linear(3, 2)
    for step in range(2):
        # Transposed outputs are in another order than their residuals.
        loss = (net(x).relu().T - torch.randn(2, 8)).square().mean()
        reader.read(loss, None, history)
        history.record("loss", step, ("loss",), [loss.item()])
    rule = next(rule for rule in RULES if rule.fault == "output-activation-mismatch")
    assert rule.not_run(history) == "the graph of the loss does not show its targets"
    constant = next(rule for rule in RULES if rule.fault == "constant-targets")
    assert constant.not_run(history) == "the targets of this loss are not a tensor of the batch"


def test_an_unknown_loss_is_listed_as_not_run():
    history, reader = History(), LossReader()
    loss = nn.Linear(3, 1)(torch.randn(8, 3)).mean()
    reader.read(loss, None, history)
    history.record("loss", 0, ("loss",), [loss.item()])
    assert history.loss.kind == "unknown"
    rule = next(rule for rule in RULES if rule.fault == "softmax-over-batch")
    assert rule.not_run(history) == "the graph of the loss shows no loss of a known kind"
    assert rule.not_run(History()) == "no loss was seen"


def test_what_one_batch_shows_is_no_fact():
    """A last batch of one sample makes an axis of length 1."""
    history, reader, net = History(), LossReader(), nn.Linear(3, 8)
    for step, n in enumerate((1, 5)):
        scores = net(torch.randn(n, 3)) @ torch.randn(8, n)
        loss = F.cross_entropy(scores, torch.arange(n))
        reader.read(loss, None, history)
        history.record("loss", step, ("loss",), [loss.item()])
        assert diagnose(history, rules=FACTS) == []
    assert history.loss.reads == 2


def test_facts_survive_a_file_and_a_checkpoint(tmp_path):
    graph = next(graph for graph in GRAPHS if graph.id == "shape/mse")
    history = history_of(graph, THEIRS)
    history.save(tmp_path / "history.npz")
    again = History()
    again.load_state_dict(json.loads(json.dumps(history.state_dict())))
    for other in (again, History.load(tmp_path / "history.npz")):
        assert repr(other.loss) == repr(history.loss)  # NaN is not equal to itself
        assert [f.fault for f in diagnose(other, rules=FACTS)] == ["shape-broadcast-in-loss"]


def test_facts_of_an_older_or_newer_version_are_read():
    old = {"kind": "squared", "classes": 0, "baseline": 1.0, "softmax_before": False}
    history, state = History(), History().state_dict()
    history.load_state_dict({**state, "loss": {**old, "mood": "unknown to this version"}})
    assert (history.loss.kind, history.loss.terms, history.loss.reads) == ("squared", (), 0)
    assert diagnose(history, rules=FACTS) == []


class Counted(nn.Module):
    """Counts its forward passes. Everything up to the loss is inside the checkpoint."""

    def __init__(self, reentrant):
        super().__init__()
        self.layer, self.reentrant, self.calls = nn.Linear(3, 2), reentrant, 0

    def inside(self, x):
        self.calls += 1
        return self.layer(x).softmax(1).log()

    def forward(self, x):
        return checkpoint(self.inside, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
def test_reading_repeats_no_forward_pass_of_a_checkpoint(reentrant):
    model, x, y = Counted(reentrant), torch.randn(8, 3, requires_grad=True), torch.randint(2, (8,))
    facts = loss_facts(F.nll_loss(model(x), y), (x, y))
    assert model.calls == 1
    assert facts.kind == "cross-entropy"
    weighted = loss_facts(-(model(x) * F.one_hot(y, 2)).sum(1).mean(), (x, y))
    assert model.calls == 2
    assert weighted.terms if not reentrant else not weighted.terms

    def loss(x):
        return (
            F.binary_cross_entropy(model.inside(x).exp(), F.one_hot(y, 2).float(), reduction="none")
        ).sum()

    whole = loss_facts(checkpoint(loss, x, use_reentrant=reentrant), (x, y))
    assert model.calls == 3
    assert all(term.target is None for term in whole.terms)


def test_reading_is_before_the_backward_pass_and_changes_nothing():
    net, x, y = nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1)), torch.randn(8, 3), torch.rand(8, 2)
    loss = F.mse_loss(net(x), y)
    assert loss_facts(loss, (x, y)).terms[0].axis == 1, "softmax(-1) counts from the front"
    loss.backward()
    assert net[0].weight.grad is not None
    after = loss_facts(loss, (x, y)).terms[0]  # the saved tensors are gone, the graph is not
    assert after.activation == "softmax"
    assert after.target is None


def test_a_batch_may_be_a_dict_or_unknown():
    net, x, y = nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8, 1)
    (term,) = loss_facts(F.mse_loss(net(x), y), {"target": y, "input": x}).terms
    assert term.target.entry == 0
    (term,) = loss_facts(F.mse_loss(net(x), y)).terms
    assert term.target.entry == -1
    assert term.target.spread == pytest.approx(float(y.std(correction=0)))


@pytest.mark.parametrize("n", [1, N])
def test_an_autoencoder_has_its_input_as_targets(n):
    net, x = nn.Linear(3, 3), torch.randn(n, 3)
    (term,) = loss_facts(F.mse_loss(net(x), x), (x, torch.arange(n))).terms
    assert term.target.is_input
