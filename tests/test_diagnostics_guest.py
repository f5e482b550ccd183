"""Diagnostics in foreign projects: unusual parameters, modules and optimizers, copies and damaged files."""

import copy
import gc
import io
import pickle
import weakref
import zipfile
from time import sleep

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.func import functional_call, vmap
from torch.utils.data import DataLoader, TensorDataset
from watched import unharmed

from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import RULES, Event, History, Judge, Monitor, Rule
from nnfoundations.errors import HistoryError, OptionError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*torch.jit.script.* is deprecated"
)


def cancer(dtype=torch.float32):
    data = load_breast_cancer()
    x, y = torch.tensor(data.data, dtype=dtype), torch.tensor(data.target, dtype=dtype)
    return (x - x.mean(0)) / x.std(0), y[:, None]


class Tumour(LightningModule):
    """A classifier of tumours around any net."""

    def __init__(self, net, optimizer=None):
        super().__init__()
        self.net = net
        self.optimizer = optimizer or (lambda parameters: torch.optim.Adam(parameters, 1e-3))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.binary_cross_entropy_with_logits(self.net(x), y)

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


def mlp(dtype=torch.float32):
    return nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)).to(dtype)


def fit(module, dtype=torch.float32, steps=60, **options):
    diagnostics = Diagnostics(verbose=False, **options)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[diagnostics],
    )
    torch.manual_seed(0)
    trainer.fit(module, DataLoader(TensorDataset(*cancer(dtype)), 64))
    return diagnostics


class Complex(nn.Module):
    """A layer whose weight is complex."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(30, 16, dtype=torch.complex64) / 30**0.5)

    def forward(self, x):
        return (x.to(torch.complex64) @ self.weight).abs()


class Scaled(nn.Module):
    """A layer with a 0-d parameter and an empty one."""

    def __init__(self):
        super().__init__()
        self.linear, self.scale = nn.Linear(30, 16), nn.Parameter(torch.tensor(1.0))
        self.nothing = nn.Parameter(torch.empty(0, 4))

    def forward(self, x):
        return self.linear(x) * self.scale + self.nothing.sum()


class PerSample(nn.Module):
    """A layer that is called under vmap."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(30, 16)

    def forward(self, x):
        return vmap(lambda row: functional_call(self.inner, dict(self.inner.named_parameters()), (row,)))(x)


NETS = {
    "float64": lambda: mlp(torch.float64),
    "complex": lambda: nn.Sequential(Complex(), nn.Linear(16, 1)),
    "0-d and empty": lambda: nn.Sequential(Scaled(), nn.ReLU(), nn.Linear(16, 1)),
    "vmap": lambda: nn.Sequential(PerSample(), nn.ReLU(), nn.Linear(16, 1)),
    "script": lambda: nn.Sequential(
        torch.jit.script(nn.Sequential(nn.Linear(30, 16), nn.ReLU())), nn.Linear(16, 1)
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_unusual_parameters_and_modules_are_measured(name):
    torch.manual_seed(0)
    dtype = torch.float64 if name == "float64" else torch.float32
    diagnostics = fit(Tumour(NETS[name]()), dtype)
    history = diagnostics.history
    unharmed(diagnostics)
    assert diagnostics.findings == []
    assert len(history["gradient_norm"]) > 20
    assert np.isfinite(history["update_ratio"].rows[-1]).all()
    if name == "script":
        assert "ScriptModule" in history.unseen["net.0"]
    if name == "vmap":
        assert "vmap" in history.unseen["net.0.inner"]


def test_the_numbers_of_float64_are_those_of_float32():
    """A tiny rate moves weights by less than half precision of float32 can show."""
    torch.manual_seed(0)
    history = fit(
        Tumour(mlp(torch.float64), lambda p: torch.optim.SGD(p, 1e-12)), torch.float64, steps=30
    ).history
    ratios = history["update_ratio"].rows[5]
    assert (ratios > 0).all()
    assert (ratios < 1e-9).all()


class Rprop(torch.optim.Optimizer):
    """An optimizer whose groups have no learning rate."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= 1e-3 * p.grad.sign()
        return loss


def test_an_optimizer_without_a_learning_rate():
    diagnostics = fit(Tumour(mlp(), Rprop))
    unharmed(diagnostics)
    assert len(diagnostics.history["update_ratio"]) > 20


def test_an_optimizer_without_parameters():
    net = mlp()
    optimizer = torch.optim.SGD([{"params": []}], 0.1)
    monitor = Monitor(net, optimizer, verbose=False)
    x, y = cancer()
    for _ in range(30):
        monitor.observe(nn.functional.binary_cross_entropy_with_logits(net(x), y))
        optimizer.step()
    monitor.close()
    unharmed(monitor)


class Raises(Rule):
    """A rule with a bug."""

    fault, family = "raises", "data"

    def judge(self, history):
        raise ZeroDivisionError("a bug")


class ReturnsText(Raises):
    """A rule that returns something else."""

    def judge(self, history):
        return "broken"


class RaisesBefore(Raises):
    """A rule with a bug in another method."""

    def not_run(self, history):
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Raises(), "ZeroDivisionError: a bug"),
        (RaisesBefore(), "ZeroDivisionError: a bug"),
        (ReturnsText(), "TypeError: judge must return a Suspicion or None; got str"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_rule_that_fails_is_listed_and_the_others_run(rule, reason):
    module = Tumour(nn.Sequential(nn.Linear(30, 8), nn.Linear(8, 1)), lambda p: torch.optim.SGD(p, 1e-9))
    diagnostics = fit(module, rules=[rule, *RULES], steps=30)
    assert diagnostics.not_run["raises"] == f"the rule failed with {reason}"
    assert diagnostics.failure is None
    assert len(diagnostics.history["gradient_norm"]) > 20


class RaisesLater(Raises):
    """A rule that finds its fault, and fails later."""

    def judge(self, history):
        if len(history.events) > 1:
            raise ZeroDivisionError("a bug")
        return self.suspect(0, (), "e", "c", "r")


def test_a_finding_does_not_count_as_resolved_because_its_rule_fails():
    history, judge = History(), Judge([RaisesLater()])
    for step in range(20):
        history.note(Event(f"kind {step}", step))
        judge.update(history, step)
    assert [(finding.fault, finding.resolved) for finding in judge.findings] == [("raises", False)]


@pytest.mark.parametrize("name", ["needs", "explains"])
def test_a_text_in_place_of_a_tuple_is_refused(name):
    wrong = type("Wrong", (Raises,), {name: "loss"})()
    with pytest.raises(OptionError, match=rf"{name} of a rule is a tuple of names; got 'loss'"):
        Diagnostics(rules=[wrong])


def test_the_time_of_on_finding_is_no_cost():
    net, (x, y) = mlp(), cancer()
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    monitor = Monitor(net, optimizer, verbose=False, on_finding=lambda finding: sleep(0.5))
    for _ in range(60):
        monitor.observe(nn.functional.binary_cross_entropy_with_logits(net(x * 1000), y))
        optimizer.zero_grad()
        optimizer.step()
    assert monitor.findings
    assert monitor._engine.schedule.spent < 0.4


# -- nothing is held ----------------------------------------------------------------------------------------


def test_after_teardown_nothing_is_held():
    module = Tumour(nn.Sequential(nn.Linear(30, 1000), nn.ReLU(), nn.Linear(1000, 1)))
    diagnostics = fit(module)
    parts = [weakref.ref(part) for part in (module, module.trainer, module.optimizers().optimizer)]
    del module
    gc.collect()
    assert [part() for part in parts] == [None, None, None]
    assert len(pickle.dumps(diagnostics)) < 2**20
    assert len(diagnostics.history["loss"]) == 60


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_keep_the_results(copied):
    diagnostics = fit(Tumour(mlp(), lambda p: torch.optim.SGD(p, 100.0, momentum=0.9)), mute="dead-*")
    other = copied(diagnostics)
    assert other.findings == diagnostics.findings != []
    assert other.not_run == diagnostics.not_run
    assert other.mute == ("dead-*",)
    for name, series in diagnostics.history.series.items():
        np.testing.assert_array_equal(other.history[name].rows, series.rows)


def test_it_can_be_copied_during_a_run_and_used_again():
    class Copies(Tumour):
        def training_step(self, batch, batch_idx):
            if self.global_step == 10:
                copies.append(copy.deepcopy(self.trainer.callbacks[0]))
            return super().training_step(batch, batch_idx)

    copies = []
    fit(Copies(mlp()))
    (other,) = copies
    assert other.history["loss"].steps[-1] < 10
    trainer = Trainer(max_steps=5, accelerator="cpu", logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False, callbacks=[other])  # fmt: skip
    trainer.fit(Tumour(mlp()), DataLoader(TensorDataset(*cancer()), 64))
    assert len(other.history["loss"]) == 5


# -- files ---------------------------------------------------------------------------------------------------


def without_a_part(data):
    old, new = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(new, "w") as file:
        for name in old.namelist():
            if name != "loss/rows.npy":
                file.writestr(name, old.read(name))
    return new.getvalue()


def saved(save, *args):
    stream = io.BytesIO()
    save(stream, *args)
    return stream.getvalue()


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "text": lambda data: b"loss,step",
    "empty": lambda data: b"",
    "flipped": lambda data: bytes(255 - b if len(data) // 2 < i < len(data) // 2 + 50 else b
                                  for i, b in enumerate(data)),
    "another npz": lambda data: saved(np.savez, np.ones(3)),
    "pickled": lambda data: saved(np.save, np.array([{}], dtype=object)),
    "a part missing": without_a_part,
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_history_is_told(tmp_path, how):
    history = History()
    for step in range(300):
        history.record("loss", step, ("loss",), [1 / (step + 1)])
    history.save(path := tmp_path / "history.npz")
    assert len(History.load(path)["loss"]) == 300
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(HistoryError, match=r"A history is a file that History.save wrote.*got .*history.npz"):
        History.load(path)


def test_a_missing_history_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        History.load(tmp_path / "none.npz")
