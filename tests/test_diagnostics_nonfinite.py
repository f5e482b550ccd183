"""NaN and infinity are found before the optimizer steps and named by module, without side effects."""

import copy
import csv
from collections import UserDict
from dataclasses import dataclass

import pytest
import torch
import torchmetrics
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from watched import unharmed
from zoo import MLP, Module, digits, loaders, run

from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import FaultError, Monitor
from nnfoundations.diagnostics.nonfinite import nonfinite_inputs

NAN = float("nan")


class Root(nn.Module):
    """At 0 the value of a square root is 0 and its slope is infinite."""

    def forward(self, x):
        return (x * (x > 0)).sqrt()


class Log(nn.Module):
    def forward(self, x):
        return x.relu().log()


class Between(nn.Module):
    """The NaN is made by a line between two layers, not by a module."""

    def __init__(self, slope_only):
        super().__init__()
        self.first, self.second, self.slope_only = nn.Linear(64, 16), nn.Linear(16, 10), slope_only

    def forward(self, x):
        h = self.first(x)
        h = h * (h > 0)
        return self.second(h.sqrt() if self.slope_only else h.log())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.front, self.rnn, self.head = nn.Linear(8, 8), nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)
        nn.init.constant_(self.front.bias, 50)
        nn.init.constant_(self.rnn.weight_ih_l0, 3e38)  # at the second step infinity minus infinity
        nn.init.constant_(self.rnn.weight_hh_l0, -3e38)

    def forward(self, x):
        return self.head(self.rnn(self.front(x.view(-1, 8, 8)))[0][:, -1])


def sequence(*middle):
    return nn.Sequential(nn.Linear(64, 16), *middle, nn.Linear(16, 10))


def loaded_with_nan():
    net = MLP(2)
    with torch.no_grad():
        net[2].weight[3, 5] = NAN
    return net


def overflowing():
    net = MLP(3)
    with torch.no_grad():
        net[2].weight.mul_(1e38)
    return net


CASES = {
    "log in a module": (lambda: sequence(Log()), "non-finite", "forward", ("net.1",)),
    "log between modules": (lambda: Between(False), "non-finite", "forward", ("net.first", "net.second")),
    "root in a module": (lambda: sequence(Root()), "non-finite", "backward", ("net.1",)),
    "root between modules": (lambda: Between(True), "non-finite", "backward", ("net.first", "net.second")),
    "overflow": (overflowing, "non-finite", "forward", ("net.2",)),
    "LSTM": (Recurrent, "non-finite", "forward", ("net.rnn",)),
    "weight": (loaded_with_nan, "non-finite", "weights", ("net.2.weight",)),
}


def finite(module):
    return all(bool(p.isfinite().all()) for p in module.parameters())


@pytest.mark.parametrize("case", CASES)
def test_the_first_module_is_named_and_weights_stay_finite(case):
    make, fault, place, where = CASES[case]
    torch.manual_seed(0)
    module = Module(make())
    good = finite(module)
    diagnostics = Diagnostics(action="raise", verbose=False)
    with pytest.raises(FaultError) as raised:
        run(module, 3, diagnostics=diagnostics)
    finding = raised.value.finding
    assert finding.fault == fault
    assert diagnostics.findings[0].where == finding.where == where
    (event,) = diagnostics.history.events_of("non-finite")
    assert event["place"] == place
    assert event["batch"] == event.step == 0
    assert finite(module) == good
    assert not any("_forward_hooks" in str(m.__dict__) and m._forward_hooks for m in module.modules())


def test_a_pixel_is_found_in_its_batch():
    x, y, xv, yv = digits()
    x = x.clone()
    x[64 * 7 + 3, 10] = NAN
    data = DataLoader(TensorDataset(x, y), 64), DataLoader(TensorDataset(xv, yv), 250)
    module = Module(MLP(2))
    diagnostics = Diagnostics(action="raise", verbose=False)
    with pytest.raises(FaultError, match="Batch 7 "):
        run(module, 30, data, diagnostics=diagnostics)
    (finding,) = diagnostics.findings
    assert finding.fault == "non-finite-input"
    assert finding.where == ("batch[0][3, 10]",)
    assert finding.first_step == 7
    assert finite(module)


def test_a_bad_input_is_named_in_batches_of_any_kind():
    @dataclass
    class Batch:
        x: torch.Tensor
        y: torch.Tensor

    spoilt = torch.tensor([1.0, NAN])
    assert nonfinite_inputs(Batch(spoilt, torch.zeros(2))) == ("batch.x[1]",)
    assert nonfinite_inputs(UserDict(x=torch.zeros(2), z=[spoilt])) == ("batch['z'][0][1]",)


def test_a_loss_is_told_from_the_network():
    def loss(out, y):
        return -torch.log(F.softmax(out * 1e4, 1)[torch.arange(len(y)), y]).mean()

    diagnostics = run(Module(MLP(2), loss=loss), 3, diagnostics=Diagnostics(verbose=False))
    assert diagnostics.findings[0].fault == "unstable-loss-function"


def test_a_mask_of_minus_infinity_is_no_fault():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.log, self.head = nn.MultiheadAttention(8, 2), Log(), nn.Linear(8, 10)

        def forward(self, x):
            x = x.view(-1, 8, 8).transpose(0, 1)
            mask = nn.Transformer.generate_square_subsequent_mask(8)
            return self.head(self.log(self.attention(x, x, x, attn_mask=mask)[0]).mean(0))

    diagnostics = run(Module(Masked()), 3, diagnostics=Diagnostics(verbose=False))
    assert [f.where for f in diagnostics.findings] == [("net.log",)], diagnostics.findings


class Stateful(Module):
    """Dropout, batch statistics, a metric, a counter, a list: everything that a second run could change."""

    def __init__(self):
        torch.manual_seed(1)
        super().__init__(
            nn.Sequential(
                nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10)
            )
        )
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=10)
        self.seen = torchmetrics.CatMetric()
        self.calls, self.losses = 0, []
        self.register_buffer("average", torch.zeros(()))
        self.masks = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        out = self(x)
        loss = self.loss(out, y)
        if batch_idx == 5:  # the value is finite, the slope is not
            loss = loss + (out * 0).sqrt().sum()
        self.average = 0.9 * self.average + 0.1 * loss.detach()
        self.accuracy(out, y)
        self.seen(loss.detach())
        self.log("train_accuracy", self.accuracy)
        self.log("noise", torch.rand(()))
        self.calls += 1
        self.losses.append(float(loss.detach()))
        return loss

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        for p in self.parameters():  # a fix in user code, so the training continues
            p.grad.nan_to_num_(0, 0, 0)


def test_the_second_run_leaves_no_trace(tmp_path):
    """Training with diagnostics equals training without, bit for bit, although a batch ran twice."""
    from lightning.pytorch.loggers import CSVLogger

    results = []
    for watched in (True, False):
        module = Stateful()
        diagnostics = Diagnostics(verbose=False)
        torch.manual_seed(2)
        if watched:
            logger = CSVLogger(tmp_path, name="with", flush_logs_every_n_steps=1)
            run(module, 15, loaders(), diagnostics=diagnostics, logger=logger, log_every_n_steps=1)
            unharmed(diagnostics)
            (event,) = diagnostics.history.events_of("non-finite")
            assert event["place"] == "backward"
            assert event.step == 5
        else:
            from lightning.pytorch import Trainer

            logger = CSVLogger(tmp_path, name="without", flush_logs_every_n_steps=1)
            Trainer(
                accelerator="cpu", max_steps=15, max_epochs=-1, logger=logger, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
            ).fit(module, *loaders())  # fmt: skip
        with (tmp_path / logger.name / "version_0" / "metrics.csv").open(newline="") as stream:
            table = list(csv.DictReader(stream))
        rows = [{k: v for k, v in row.items() if "diagnostics/" not in k and v} for row in table]
        rows = [row for row in rows if row.keys() - {"epoch", "step"}]
        results.append((module, torch.rand(3), rows))
    (a, drawn_a, rows_a), (b, drawn_b, rows_b) = results
    assert torch.equal(drawn_a, drawn_b)
    assert rows_a == rows_b
    assert len(rows_a) > 10
    assert (a.calls, a.losses) == (b.calls, b.losses)
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name
    assert all(torch.equal(v, getattr(b.accuracy, k)) for k, v in a.accuracy.metric_state.items())
    assert torch.equal(a.seen.compute(), b.seen.compute())


def test_dropout_draws_the_same_mask_again():
    """The fault depends on the dropout mask: another mask would not show it."""

    class Fragile(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout, self.log, self.head = nn.Dropout(0.5), Log(), nn.Linear(1, 10)

        def forward(self, x):
            kept = self.dropout(x.new_ones(15)).sum(0, keepdim=True) / 2
            return self.head(self.log(kept - 3)).expand(len(x), 10)

    torch.manual_seed(0)
    diagnostics = run(Module(Fragile()), 200, diagnostics=Diagnostics(verbose=False))
    assert [f.where for f in diagnostics.findings] == [("net.log",)], diagnostics.findings
    assert diagnostics.findings[0].first_step > 25  # most masks are harmless; later than the dense start


def test_manual_optimisation_is_not_run_again():
    calls = []

    class Manual(Module):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            calls.append(batch_idx)
            optimizer = self.optimizers()
            optimizer.zero_grad()
            loss = self.loss(self(batch[0]), batch[1])
            self.manual_backward(loss * NAN if batch_idx == 2 else loss)
            optimizer.step()

    diagnostics = run(Manual(MLP(2)), 4, diagnostics=Diagnostics(verbose=False))
    assert calls == [0, 1, 2, 3]
    assert diagnostics.findings[0].first_step == 2


def test_a_step_that_cannot_run_twice_is_still_told():
    class Once(Module):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2:
                if "used" in batch[0].__dict__:
                    raise RuntimeError("twice")
                batch[0].used = True
                return self.loss(self(batch[0]), batch[1]) * NAN
            return super().training_step(batch, batch_idx)

    diagnostics = run(Once(MLP(2)), 4, diagnostics=Diagnostics(verbose=False))
    unharmed(diagnostics)
    assert diagnostics.findings[0].first_step == 2


def test_in_a_plain_loop():
    torch.manual_seed(0)
    net = sequence(Log())
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    before = copy.deepcopy(net.state_dict())
    with Monitor(net, optimizer, verbose=False) as monitor:
        loss = F.cross_entropy(net(digits()[0][:32]), digits()[1][:32])
        monitor.observe(loss)
        found = monitor.findings
    assert found[0].where == ("1",)
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
