"""The right batch and the right module are named in unusual batches, networks and loops."""

import collections
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import lightning.pytorch as lightning
import pytest
import torch
import torch.utils.checkpoint
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from watched import NAN, trainer, watch, watcher

from nnfoundations import nn as ours
from nnfoundations.diagnostics import Monitor, tensors
from nnfoundations.diagnostics.nonfinite import finite_gradients, nonfinite_inputs
from nnfoundations.diagnostics.nonfinite._check import total_norm


def diabetes(size=32, *, spoilt=None, collate=None):
    """Ten standardized measurements of 442 patients, and the progress of the disease."""
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) * 20, torch.tensor(y, dtype=torch.float32)[:, None]
    y = (y - y.mean()) / y.std()
    if spoilt is not None:
        x[spoilt] = NAN
    return DataLoader(TensorDataset(x, y), size, collate_fn=collate)


class Regression(lightning.LightningModule):
    def __init__(self, net=None):
        super().__init__()
        torch.manual_seed(3)
        self.net = net or nn.Sequential(nn.Linear(10, 12), nn.Tanh(), nn.Linear(12, 1))
        self.loss = F.mse_loss

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)


def only(diagnostics):
    assert diagnostics.failure is None
    (event,) = diagnostics.history.events_of("non-finite")
    (finding,) = [f for f in diagnostics.findings if f.fault in ("non-finite", "non-finite-input")]
    for text in (finding.evidence, finding.remedy, finding.cause):
        assert not re.search(r"\bnan\b", text), text  # NaN is a word; nan is a number
    return event, finding


# -- batches -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Slots:
    x: torch.Tensor
    y: torch.Tensor
    extra: Any = None


@dataclass
class Parts:
    inner: Slots
    names: list[str] = field(default_factory=list)


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class Plain:
    __slots__ = ("__dict__", "_hidden", "empty")

    def __init__(self, x, y):
        self.x, self._hidden = x, y
        self.itself = self


class Private:
    __slots__ = ("__y", "x")

    def __init__(self, x, y):
        self.x, self.__y = x, y


class Graph:
    """As the graphs of PyG: keys and items, but not a mapping; what it holds is in a store."""

    def __init__(self, x, y):
        self._store = {"x": x, "y": y}

    def keys(self):
        return list(self._store)

    def __getitem__(self, key):
        return self._store[key]

    def __getattr__(self, name):
        try:
            return self.__dict__["_store"][name]
        except KeyError:
            raise AttributeError(name) from None


BATCHES = {
    "slots": (Slots, "batch.x[1, 2]"),
    "nested": (lambda x, y: Parts(Slots(y, y, x)), "batch.inner.extra[1, 2]"),
    "named tuple": (Pair, "batch.x[1, 2]"),
    "object": (Plain, "batch.x[1, 2]"),
    "hidden": (lambda x, y: Plain(y, x), "batch._hidden[1, 2]"),
    "private slot": (lambda x, y: Private(y, x), "batch._Private__y[1, 2]"),
    "graph": (Graph, "batch.x[1, 2]"),
    "mapping": (lambda x, y: collections.UserDict(x=[{"y": y}, (x,)]), "batch['x'][1][0][1, 2]"),
    "deque": (lambda x, y: collections.deque([y, x]), "batch[1][1, 2]"),
    "keys without items": (lambda x, y: {"a": Slots(x, y)}, "batch['a'].x[1, 2]"),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_batches_of_any_kind(kind):
    make, path = BATCHES[kind]
    x, y = torch.zeros(4, 3), torch.zeros(4)
    assert nonfinite_inputs(make(x, y)) == ()
    assert {id(x), id(y)} == {id(t) for t in tensors(make(x, y))}
    x[1, 2] = NAN
    assert nonfinite_inputs(make(x, y)) == (path,)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_tensors_of_any_kind():
    sparse = torch.eye(3).to_sparse()
    bad = torch.eye(3).mul(NAN)
    assert nonfinite_inputs([sparse, torch.eye(3).to_sparse_csr(), torch.zeros(0), torch.tensor(1)]) == ()
    assert nonfinite_inputs([bad.to_sparse(), torch.tensor(NAN), torch.tensor([1j * NAN])]) == (
        "batch[0]",
        "batch[1]",
        "batch[2][0]",
    )
    assert nonfinite_inputs(torch.eye(2, device="meta") * NAN) == ()


def test_a_huge_or_endless_structure_is_not_walked_for_ever():
    endless: list[Any] = []
    endless.append(endless)
    assert list(tensors(endless)) == []
    deep: Any = torch.zeros(1)
    for _ in range(5000):  # deeper than the stack of Python
        deep = [deep]
    assert len(list(tensors(deep))) == 1

    class Grows:
        def __getattribute__(self, name):
            return {"next": Grows()} if name == "__dict__" else object.__getattribute__(self, name)

    assert list(tensors(Grows())) == []


@pytest.mark.parametrize("spoilt", [None, (150, 4)])
@pytest.mark.parametrize("kind", ["slots", "object", "graph"])
def test_a_run_with_such_batches(kind, spoilt):
    make = BATCHES[kind][0]

    class Objects(Regression):
        def training_step(self, batch, batch_idx):
            return self.loss(self.net(batch.x), batch.y if kind != "object" else batch._hidden)

    def collate(samples):
        return make(*map(torch.stack, zip(*samples, strict=True)))

    class Batches:
        def __iter__(self):
            return iter(diabetes(spoilt=spoilt, collate=collate))

    diagnostics = watcher()
    trainer(diagnostics, max_epochs=2).fit(Objects(), Batches())
    assert diagnostics.failure is None
    if spoilt is None:
        assert not diagnostics.history.events_of("non-finite")
    else:
        event, _ = only(diagnostics)
        assert (event.step, event["batch"], event.where) == (4, 4, ("batch.x[22, 4]",))


# -- accumulated gradients ---------------------------------------------------------------------------------


class Steep(nn.Module):
    """The value is that of the identity; the slope is infinite while it is on."""

    on = False

    def forward(self, x):
        return x + (x * 0).abs().sqrt() if self.on else x


@pytest.mark.slow
@pytest.mark.parametrize("layers", [nn, ours], ids=["torch", "ours"])
@pytest.mark.parametrize("culprit", [5, 6, 8])
@pytest.mark.parametrize("faulty", [True, False])
def test_the_batch_of_an_accumulated_step(culprit, layers, faulty):
    net = nn.Sequential(layers.Linear(10, 12), Steep(), layers.Tanh(), layers.Linear(12, 1))

    class Accumulated(Regression):
        def training_step(self, batch, batch_idx):
            self.net[1].on = faulty and batch_idx == culprit
            return super().training_step(batch, batch_idx)

    diagnostics = watcher()
    trainer(diagnostics, max_epochs=1, accumulate_grad_batches=3).fit(Accumulated(net), diabetes())
    if not faulty:
        assert not diagnostics.history.events_of("non-finite")
        return
    event, finding = only(diagnostics)
    assert (event.step, event["batch"], event["place"]) == (culprit // 3, culprit, "backward")
    assert finding.where == ("net.1",)
    assert f"(batch {culprit})" in finding.evidence


def test_a_plain_loop_with_accumulated_gradients():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(10, 12), Steep(), nn.Linear(12, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    with watch(net, optimizer) as monitor:
        for i, (x, y) in enumerate(diabetes()):
            net[1].on = i == 6
            loss = F.mse_loss(net(x), y)
            monitor.observe(loss)
            loss.backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    event, finding = only(monitor)
    assert (event.step, event["place"]) == (1, "gradient")
    assert "only the forward pass can run again, and it was finite" in finding.evidence


# -- one weight --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [7, 140])
@pytest.mark.parametrize("faulty", [True, False])
def test_one_weight(at, faulty):
    """The gradient of one weight is infinite, at a step with and at one without measurements."""

    class OneWeight(Regression):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            spoil = faulty and self.trainer.global_step == at
            return loss + (self.net[2].weight[0, 3] * 0).sqrt() if spoil else loss

    diagnostics = watcher()
    trainer(diagnostics, max_steps=at + 3).fit(OneWeight(), diabetes())
    if not faulty:
        assert not diagnostics.history.events_of("non-finite")
        return
    event, finding = only(diagnostics)
    assert (event.step, event["place"]) == (at, "backward")
    assert finding.where == ("net.2",)


@pytest.mark.parametrize("culprit", [3, 5])
def test_one_weight_of_a_large_network_under_accumulation(culprit):
    """In a step with measurements, all gradients of a large network are checked after each batch."""

    class OneWeight(Regression):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss + (self.net[2].weight[0, 3] * 0).sqrt() if batch_idx == culprit else loss

    net = nn.Sequential(nn.Linear(10, 300), nn.Tanh(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 1))
    diagnostics = watcher()
    trainer(diagnostics, max_steps=3, accumulate_grad_batches=3).fit(OneWeight(net), diabetes())
    event, finding = only(diagnostics)
    assert event.step == 1
    assert event["batch"] == culprit
    assert finding.where == ("net.2",)


def test_the_check_of_gradients():
    fine = [torch.ones(3), torch.tensor(2.0), torch.zeros(0), torch.full((2,), 3e38)]
    assert finite_gradients([])
    assert finite_gradients(fine)
    assert [g.sum().item() for g in fine[:2]] == [3.0, 2.0]
    for bad in (torch.tensor([1.0, NAN]), torch.tensor([float("inf")]).double(), torch.tensor([1j * NAN])):
        assert not finite_gradients([*fine, bad])
    assert not finite_gradients([torch.tensor([NAN]).to_sparse(), torch.ones(1)])
    assert total_norm([torch.tensor([3.0, 4.0]), torch.tensor([2j]), torch.zeros(0), torch.ones(4)]) == 9.0
    assert total_norm([torch.ones(1), torch.tensor([NAN]).half()]) != total_norm([torch.ones(1)])
    large = torch.full((2**17,), 1e38)  # its sum overflows
    assert finite_gradients([large])
    large[-1] = NAN
    assert not finite_gradients([large])


# -- a network that raises on NaN --------------------------------------------------------------------------


class Density(Regression):
    """`torch.distributions` raises on a parameter that is NaN."""

    def training_step(self, batch, batch_idx):
        return (
            -torch.distributions.Normal(self.net(batch[0]), 1.0, validate_args=True).log_prob(batch[1]).mean()
        )


def fit_until(error, module, data, **options):
    diagnostics = watcher()
    with pytest.raises(error):
        trainer(diagnostics, max_epochs=1, **options).fit(module, data)
    return diagnostics


def test_a_network_that_raises_on_a_bad_sample():
    event, finding = only(fit_until(ValueError, Density(), diabetes(spoilt=(70, 1))))
    assert (finding.fault, event["batch"], finding.where) == ("non-finite-input", 2, ("batch[0][6, 1]",))


def test_a_network_that_raises_on_the_nan_of_a_layer():
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()

    net = nn.Sequential(nn.Linear(10, 12), Root(), nn.Linear(12, 1))
    event, finding = only(fit_until(ValueError, Density(net), diabetes()))
    assert (event["place"], finding.where, event.step) == ("forward", ("net.1",), 0)


@pytest.mark.parametrize("first", [nn.Linear(10, 12), nn.Sequential(nn.Linear(10, 12), nn.ReLU())])
def test_code_before_the_first_layer(first):
    """The batch is finite, so no sample is to blame."""

    class Prepares(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(first, nn.Linear(12, 1))

        def forward(self, x):
            return self.net(x.sqrt())

    event, finding = only(fit_until(ValueError, Density(Prepares()), diabetes()))
    assert (event["place"], finding.fault) == ("before", "non-finite")
    assert "although the batch is finite" in finding.evidence
    assert "Guard the operation" in finding.remedy


def test_a_network_that_checks_by_itself():
    class Checks(Regression):
        def training_step(self, batch, batch_idx):
            assert not batch[0].isnan().any()
            return super().training_step(batch, batch_idx)

    event, _ = only(fit_until(AssertionError, Checks(), diabetes(spoilt=(40, 0))))
    assert event["batch"] == 1


@pytest.mark.parametrize("error", [ValueError("wrong shape"), KeyError("info"), ZeroDivisionError()])
def test_another_exception_is_not_about_nan(error):
    """Missing labels may be NaN on purpose, so the batch is searched only if the exception is about NaN."""

    class Breaks(Regression):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2:
                raise error
            return super().training_step([batch[0].nan_to_num(), batch[1]], batch_idx)

    diagnostics = fit_until(type(error), Breaks(), diabetes(spoilt=(70, 1)))
    assert diagnostics.findings == []


def test_a_plain_loop_that_raises():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    monitor = Monitor(net, optimizer, verbose=False)

    def train():
        with monitor:
            for x, y in diabetes(spoilt=(100, 2)):
                loss = -torch.distributions.Normal(net(x), 1.0, validate_args=True).log_prob(y).mean()
                monitor.observe(loss)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    with pytest.raises(ValueError, match="constraint"):
        train()
    event, finding = only(monitor)
    assert event.step == 3
    assert finding.where == ("batch[0][0][4, 2]",)


# -- the first step ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["loss", "weights", "forward", "backward"])
def test_the_first_step_has_a_remedy_with_finite_numbers(place):
    class First(nn.Module):
        def forward(self, x):
            return x / 0 if place == "forward" else x + (x * 0).abs().sqrt() if place == "backward" else x

    module = Regression(nn.Sequential(nn.Linear(10, 4), First(), nn.Linear(4, 1)))
    if place == "weights":
        with torch.no_grad():
            module.net[0].bias[1] = NAN
    if place == "loss":
        module.loss = lambda out, y: (out - y).square().mean() * NAN
    diagnostics = watcher()
    trainer(diagnostics, max_steps=2).fit(module, diabetes())
    assert diagnostics.history.events_of("non-finite")[0]["place"] == place
    finding = diagnostics.findings[0]
    assert finding.first_step == 0
    assert not re.search(r"\bnan\b|lower", finding.remedy)
    assert all(value == value for value in finding.numbers.values())


# -- activation checkpointing ------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.steep, self.last = nn.Linear(10, 12), Steep(), nn.Linear(12, 1)
        self.dropout, self.reentrant, self.calls = nn.Dropout(0.2), reentrant, 0

    def block(self, h):
        self.calls += 1
        return self.steep(self.dropout(h)).tanh()

    def forward(self, x):
        h = torch.utils.checkpoint.checkpoint(self.block, self.first(x), use_reentrant=self.reentrant)
        return self.last(h)


@pytest.mark.slow
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("at", [5, 130, None])
def test_activation_checkpointing(reentrant, at):
    class Watched(Regression):
        def training_step(self, batch, batch_idx):
            self.net.steep.on = self.trainer.global_step == at
            return super().training_step(batch, batch_idx)

    diagnostics, module = watcher(), Watched(Checkpointed(reentrant))
    t = trainer(diagnostics, max_steps=(at or 20) + 1)
    t.fit(module, diabetes())
    assert module.net.calls == 2 * t.global_step
    if at is None:
        assert not diagnostics.history.events_of("non-finite")
        return
    event, finding = only(diagnostics)
    assert (event.step, event["place"], finding.where) == (at, "backward", ("net.steep",))


def test_labels_that_are_missing_on_purpose():
    class Masked(Regression):
        def training_step(self, batch, batch_idx):
            x, y = batch
            y = torch.where(x[:, :1] > 1, NAN, y)
            known = ~y.isnan()
            return self.loss(self.net(x)[known], y[known])

    diagnostics = watcher(action="stop")
    t = trainer(diagnostics, max_steps=30)
    t.fit(Masked(), diabetes())
    assert t.global_step == 30
    assert not diagnostics.history.events_of("non-finite")
