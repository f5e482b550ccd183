"""Diagnostics under a real Trainer: ways of training that could be mistaken for a fault, and every exit."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as lightning
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateFinder, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adam
from torch.utils.data import DataLoader, TensorDataset
from zoo import CNN, MLP, Module, digits, loaders, run

from nnfoundations._errors import OptionError
from nnfoundations.callbacks import ActivationMonitor, Diagnostics, GradientMonitor, OverfittingMonitor
from nnfoundations.diagnostics import FaultError, Severity

NAN = float("nan")


def watcher(**options):
    return Diagnostics(verbose=False, **{"budget": 1.0, **options})


def trainer(*callbacks, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"accelerator": "cpu", "enable_checkpointing": False, "max_epochs": -1, **quiet, **options}
    return lightning.Trainer(callbacks=list(callbacks), **options)


def silent(diagnostics):
    """No false alarm, no failure of our own, and something was looked at."""
    assert diagnostics.failure is None
    assert [str(f) for f in diagnostics.findings if f.severity is not Severity.INFO] == []
    assert len(diagnostics.history["gradient_norm"]) > 5
    return diagnostics


def hooks(module, *optimizers):
    found = [h for m in module.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
    found += [h for o in optimizers for h in (o._optimizer_step_pre_hooks, o._optimizer_step_post_hooks)]
    return sum(len(h) for h in found)


class BrokenAt(Module):
    """A loss that is not finite at a step."""

    at = 30

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * NAN if self.trainer.global_step == self.at else loss


# -- ways of training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [lightning, pytorch_lightning], ids=["lightning", "pytorch_lightning"])
def test_both_roots(root):
    class Net(root.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = MLP(3)

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.training_step(batch, batch_idx))

        def configure_optimizers(self):
            return Adam(self.parameters(), 1e-3)

    diagnostics, net = watcher(), Net()
    root.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, callbacks=[diagnostics],
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(net, *loaders())  # fmt: skip
    silent(diagnostics)
    assert len(diagnostics.history["validation_loss"]) == 2
    assert not hooks(net)


def test_accumulation_with_a_short_last_cycle():
    """21 batches an epoch by 4: the last step of each has one batch, the loss is per batch all the same."""
    diagnostics = silent(run(Module(MLP(3)), 48, accumulate_grad_batches=4, diagnostics=watcher()))
    assert diagnostics.history.settings["steps_per_epoch"] == 6
    losses = diagnostics.history["loss"]
    assert losses.steps.tolist() == list(range(48))
    assert 2.0 < losses.rows[0, 0] < 4.0
    norms = diagnostics.history["gradient_norm"]
    assert len(set(norms.steps.tolist())) == len(norms)  # one look a step, not one a batch


def test_norms_are_those_before_clipping():
    diagnostics = silent(run(Module(MLP(3)), 40, gradient_clip_val=1e-3, diagnostics=watcher()))
    assert (diagnostics.history["gradient_norm"].rows ** 2).sum(1).min() > 1e-3**2


class Manual(Module):
    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        loss = self.loss(self(batch[0]), self.target(*batch))
        self.manual_backward(loss / 2)
        if batch_idx % 2:
            optimizer.step()
            optimizer.zero_grad()


def test_manual_optimisation():
    silent(run(Manual(MLP(3)), 60, diagnostics=watcher()))


class Two(Module):
    """Both halves of an autoencoder with an optimizer of its own, in turn."""

    automatic_optimization = False

    def configure_optimizers(self):
        layers = list(self.net)
        return tuple(Adam(nn.Sequential(*part).parameters(), 1e-3) for part in (layers[:4], layers[4:]))

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()[batch_idx % 2]
        self.toggle_optimizer(optimizer)
        loss = self.loss(self(batch[0]), batch[1])
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)


def test_several_optimizers_have_their_own_gradients():
    diagnostics = silent(run(Two(MLP(3)), 60, diagnostics=watcher()))
    assert "several optimizers" in diagnostics.not_run["learning-rate-too-low"]
    norms = diagnostics.history["gradient_norm"]
    first = norms.columns.index("net.0.weight")
    last = norms.columns.index("net.6.weight")
    measured = norms.rows == norms.rows
    assert len(norms) > 20
    assert (measured[:, first] ^ measured[:, last]).all()  # a row is of one optimizer: the other's are stale


def test_lbfgs_counts_the_first_closure():
    diagnostics = run(
        Module(MLP(2), optimizer=lambda p: LBFGS(p, lr=0.1, max_iter=5)), 30, diagnostics=watcher()
    )
    silent(diagnostics)
    assert diagnostics.history["loss"].steps.tolist() == list(range(30))
    assert "LBFGS" in diagnostics.not_run["learning-rate-too-low"]


def test_frozen_layers():
    module = Module(CNN())
    for layer in list(module.net)[:-1]:
        layer.requires_grad_(False)
    diagnostics = silent(run(module, 100, diagnostics=watcher()))
    assert diagnostics.history["gradient_norm"].columns == ("net.9.weight", "net.9.bias")


class LoRA(nn.Module):
    def __init__(self, layer, rank=4):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x):
        return self.layer(x) + x @ self.a.T @ self.b.T


def test_lora_starts_at_zero():
    net = nn.Sequential(*(LoRA(m) if isinstance(m, nn.Linear) else m for m in MLP(3)))
    silent(run(Module(net), 100, diagnostics=watcher()))


@pytest.mark.parametrize("sparse", [False, True])
def test_an_embedding_of_which_few_rows_are_seen(sparse):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(1000, 16, sparse=sparse), nn.Linear(16 * 64, 10)

        def forward(self, x):
            return self.head(self.embed(((x + 1) * 8).long().clamp(0, 40)).flatten(1))

    optimizer = torch.optim.SparseAdam if sparse else Adam

    def make(parameters):
        return optimizer(parameters, 1e-3)

    net = Words()
    if sparse:
        net.head.requires_grad_(False)
    diagnostics = silent(run(Module(net, optimizer=make), 80, diagnostics=watcher()))
    assert "net.embed.weight" in diagnostics.history["gradient_norm"].columns


def test_tied_weights_are_one_under_two_names():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(64, 32), nn.Linear(32, 64)
            self.back = nn.Linear(64, 32, bias=False)
            self.back.weight = self.encode.weight

        def forward(self, x):
            return self.decode(self.back(self.decode(self.encode(x).relu())).relu())

    class Auto(Module):
        def target(self, x, y):
            return x

    diagnostics = silent(run(Auto(Tied(), loss=F.mse_loss), 80, diagnostics=watcher()))
    assert "net.encode.weight = net.back.weight" in diagnostics.history["gradient_norm"].columns


def test_an_embedding_that_is_the_output_layer_too_is_judged_as_that():
    class Language(nn.Module):
        """The next grey level from the last one; torch's own scale of embeddings is too large for logits."""

        def __init__(self):
            super().__init__()
            self.embed, self.mix = nn.Embedding(17, 64), nn.Linear(64, 64)
            self.head = nn.Linear(64, 17, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            h = self.embed((16 * x[:, :-1]).round().long().clamp(0, 16))
            return self.head(h + self.mix(h)).flatten(0, 1)

    class Next(Module):
        def target(self, x, y):
            return (16 * x[:, 1:]).round().long().clamp(0, 16).flatten()

    diagnostics = run(Next(Language()), 40, diagnostics=watcher())
    assert diagnostics.findings[0].fault == "bad-output-scale"
    assert diagnostics.findings[0].where == ("net.head",)


@pytest.mark.parametrize("whole", [False, True], ids=["net", "module"])
def test_compiled_as_without_us(whole):
    """No graph break, no graph more than without diagnostics; what flows inside is said to be unobserved."""
    counts = []
    for watched in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        module = Module(MLP(2))
        if not whole:
            module.net.compile(backend="eager")
        module.log = lambda *args: None
        diagnostics = watcher()
        fitted = torch.compile(module, backend="eager") if whole else module
        trainer(*[diagnostics] * watched, max_steps=40).fit(fitted, *loaders())
        counters = torch._dynamo.utils.counters
        counts.append((dict(counters["stats"]), dict(counters["graph_break"])))
    torch._dynamo.reset()
    silent(diagnostics)
    assert counts[0][0]["unique_graphs"] > 0
    assert counts[0] == counts[1]
    assert "compiled" in diagnostics.not_run["dead-units"]


def test_a_compiled_net_that_breaks_is_still_located():
    module = BrokenAt(MLP(2))
    module.net.compile(backend="eager")
    diagnostics = watcher()
    trainer(diagnostics, max_steps=40).fit(module, *loaders())
    assert diagnostics.findings[0].fault == "unstable-loss-function"


def test_averaged_weights_for_validation():
    diagnostics = silent(
        run(Module(MLP(3)), 84, diagnostics=watcher(), callbacks=[EMAWeightAveraging(decay=0.9)])
    )
    assert len(diagnostics.history["validation_loss"]) == 4


def scaled(init_scale, **options):
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, **options)
    return MixedPrecision("16-mixed", "cpu", scaler)


@pytest.mark.parametrize("fused", [False, True])
def test_a_loss_scaler_that_skips_its_first_steps(fused):
    torch.manual_seed(0)
    module = Module(MLP(3), optimizer=lambda p: Adam(p, 1e-3, fused=fused))
    diagnostics = watcher()
    plugin = scaled(2.0**28)
    trainer(diagnostics, max_steps=60, plugins=[plugin]).fit(module, *loaders())
    silent(diagnostics)
    skipped = diagnostics.history["skipped"].rows[-1, 0]
    assert skipped >= 3
    history = diagnostics.history
    assert 1.5 < history["loss"].rows[0, 0] < 4
    norms = (history["gradient_norm"].rows ** 2).sum(1) ** 0.5
    assert (norms < 100).all()  # unscaled, and none of a skipped step
    ratios = history["update_ratio"]
    assert ratios.steps[0] == history["gradient_norm"].steps[0] == skipped


# -- runs that are no training -----------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["tuner", "callback"])
def test_a_learning_rate_finder_is_not_watched(door, tmp_path):
    class Tuned(Module):
        def __init__(self):
            super().__init__(MLP(2))
            self.lr = 1e-3

        def configure_optimizers(self):
            return SGD(self.parameters(), self.lr)

    diagnostics, module = watcher(), Tuned()
    extra = [LearningRateFinder(1e-6, 100, 40)] if door == "callback" else []
    t = trainer(diagnostics, *extra, max_steps=30, default_root_dir=tmp_path)
    if door == "tuner":
        Tuner(t).lr_find(module, *loaders(), min_lr=1e-6, max_lr=100, num_training=40)
        assert diagnostics.findings == []
        assert not len(diagnostics.history["loss"])
        module.lr = 1e-2
    t.fit(module, *loaders())
    assert diagnostics.failure is None
    assert diagnostics.history["loss"].steps.tolist() == list(range(30))
    assert diagnostics.history["lr"].rows.max() == module.lr


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_batch_size_finder_is_not_watched(tmp_path):
    class Data(lightning.LightningDataModule):
        batch_size = 8

        def train_dataloader(self):
            return DataLoader(TensorDataset(*digits()[:2]), self.batch_size)

        def val_dataloader(self):
            return loaders()[1]

    diagnostics = watcher()
    t = trainer(diagnostics, max_steps=30, default_root_dir=tmp_path)
    data = Data()
    Tuner(t).scale_batch_size(Module(MLP(2)), datamodule=data, max_trials=2, steps_per_trial=2)
    assert diagnostics.findings == []
    assert not len(diagnostics.history["loss"])
    t.fit(Module(MLP(2)), data)
    silent(diagnostics)


def test_fast_dev_run_is_silent_but_for_facts(capsys):
    diagnostics = Diagnostics()
    trainer(diagnostics, fast_dev_run=3).fit(Module(MLP(10, activation=nn.Sigmoid)), *loaders())
    assert diagnostics.findings == []
    assert diagnostics.failure is None
    assert "Diagnostics" not in capsys.readouterr().err
    assert "fewer than 20" in diagnostics.not_run["vanishing-gradients"]
    module = BrokenAt(MLP(2))
    module.at = 1
    trainer(diagnostics, fast_dev_run=3).fit(module, *loaders())
    assert [f.fault for f in diagnostics.findings] == ["unstable-loss-function"]
    assert "unstable-loss-function" in capsys.readouterr().err


def test_over_fitting_on_purpose_is_none():
    diagnostics = watcher()
    train = DataLoader(TensorDataset(*digits()[:2]), 64)
    trainer(diagnostics, max_epochs=150, overfit_batches=2).fit(Module(MLP(3)), train, loaders()[1])
    silent(diagnostics)
    assert "aim" in diagnostics.not_run["overfitting"]


def test_the_sanity_check_is_no_validation():
    diagnostics = watcher()
    trainer(diagnostics, max_epochs=2, num_sanity_val_steps=2).fit(Module(MLP(2)), *loaders())
    assert diagnostics.history["validation_loss"].steps.tolist() == [20, 41]


# -- validation --------------------------------------------------------------------------------------------


class Returns(Module):
    what = staticmethod(lambda loss: loss)

    def validation_step(self, batch, batch_idx):
        return self.what(self.loss(self(batch[0]), batch[1]))


@pytest.mark.parametrize("what", [lambda loss: loss, lambda loss: {"loss": loss, "more": 1}])
def test_validation_is_found_by_what_its_step_returns(what):
    module = Returns(MLP(2))
    module.what = what
    diagnostics = watcher()
    trainer(diagnostics, max_epochs=2).fit(module, *loaders())
    rows = diagnostics.history["validation_loss"].rows
    x, y = digits()[2:]
    module.eval()
    with torch.no_grad():
        parts = torch.stack([F.cross_entropy(module(x[i : i + 250]), y[i : i + 250]) for i in (0, 250)])
    assert rows[-1].tolist() == pytest.approx([float(parts.mean()), float(parts.std() / 2**0.5)], rel=1e-5)
    assert diagnostics.history.settings["validation_samples"] == 500


@pytest.mark.parametrize(
    "name",
    ["val_loss", "val/loss", "validation_loss", "loss/val", "valid_loss_epoch", "VAL_LOSS", "val_BCELoss"],
)
def test_validation_is_found_by_its_name(name):
    class Named(Module):
        def validation_step(self, batch, batch_idx):
            self.log(name, self.loss(self(batch[0]), batch[1]))
            self.log("val/accuracy", 100.0 * (self(batch[0]).argmax(1) == batch[1]).float().mean())
            self.log_dict({"val_accel": -7.0, "training_interval_loss": -7.0})

    diagnostics = watcher()
    t = trainer(diagnostics, max_epochs=2)
    t.fit(Named(MLP(2)), *loaders())
    assert diagnostics.history["validation_loss"].rows[-1, 0] == pytest.approx(
        float(t.callback_metrics[name])
    )
    assert 0.1 < diagnostics.history["validation_accuracy"].rows[-1, 0] <= 1


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_reasons_for_what_is_not_run():
    class Mute(Module):
        def validation_step(self, batch, batch_idx):
            self.loss(self(batch[0]), batch[1])

    diagnostics = watcher()
    trainer(diagnostics, max_steps=40).fit(Module(MLP(2)), loaders()[0])
    assert "no validation" in diagnostics.not_run["overfitting"]
    trainer(diagnostics, max_steps=40).fit(Mute(MLP(2)), *loaders())
    assert "neither returns" in diagnostics.not_run["overfitting"]


# -- again and again ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Be aware that", "ignore:You're resuming")
def test_resumed_in_mid_epoch(tmp_path):
    """The checkpoint loads under the strict reader, and the history goes on where it stood."""
    first = watcher()
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=30, save_top_k=-1)
    module = Module(MLP(3))
    trainer(first, saver, max_steps=50, enable_checkpointing=True).fit(module, *loaders())
    path = next(tmp_path.glob("*step=30*"))
    torch.load(path, weights_only=True)
    second = watcher()
    trainer(second, max_steps=90).fit(Module(MLP(3)), *loaders(), ckpt_path=path)
    silent(second)
    assert second.history["loss"].steps.tolist() == list(range(90))
    before = first.history["gradient_norm"].between(0, 29)
    assert second.history["gradient_norm"].between(0, 29).rows.tolist() == before.rows.tolist()
    assert second.history.settings["resumed"] == 1


@pytest.mark.filterwarnings("ignore:Be aware that", "ignore:You're resuming")
def test_findings_survive_a_checkpoint_and_are_told_once(tmp_path):
    told = []
    first = watcher(on_finding=told.append)
    module = BrokenAt(MLP(2))
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=40, save_top_k=-1)
    trainer(first, saver, max_steps=45, enable_checkpointing=True).fit(module, *loaders())
    second = watcher(on_finding=told.append)
    trainer(second, max_steps=60).fit(Module(MLP(2)), *loaders(), ckpt_path=next(tmp_path.glob("*.ckpt")))
    assert second.findings[0].fault == first.findings[0].fault == "unstable-loss-function"
    assert len([f for f in told if f.fault == "unstable-loss-function"]) == 1


@pytest.mark.filterwarnings("ignore:You're resuming")
def test_a_checkpoint_without_our_state_starts_anew(tmp_path):
    t = trainer(max_steps=30)
    t.fit(Module(MLP(3)), *loaders())
    t.save_checkpoint(tmp_path / "plain.ckpt")
    diagnostics = watcher()
    trainer(diagnostics, max_steps=70).fit(Module(MLP(3)), *loaders(), ckpt_path=tmp_path / "plain.ckpt")
    silent(diagnostics)
    assert diagnostics.history["loss"].steps[0] == 30
    assert diagnostics.history.settings["resumed"] == 1


def test_a_second_fit_starts_anew():
    diagnostics = watcher()
    trainer(diagnostics, max_steps=45).fit(BrokenAt(MLP(2)), *loaders())
    assert diagnostics.findings
    trainer(diagnostics, max_steps=25).fit(Module(MLP(2)), *loaders())
    silent(diagnostics)
    assert diagnostics.history["loss"].steps.tolist() == list(range(25))


def test_testing_afterwards_leaves_the_findings():
    diagnostics = watcher()
    t = trainer(diagnostics, max_steps=45)
    t.fit(BrokenAt(MLP(2)), *loaders())
    t.validate(Module(MLP(2)), loaders()[1], verbose=False)
    assert diagnostics.findings[0].fault == "unstable-loss-function"


def test_twins(capsys):
    first, second = watcher(), watcher()
    trainer(first, second, max_steps=25).fit(Module(MLP(2)), *loaders())
    silent(first)
    assert not len(second.history["loss"])
    assert capsys.readouterr().out.count("Diagnostics is off") == 1


def test_monitors_watch_their_own(capsys):
    monitors = [
        m(verbose=False, budget=1.0) for m in (GradientMonitor, ActivationMonitor, OverfittingMonitor)
    ]
    module = Module(MLP(10, activation=nn.Sigmoid), optimizer=lambda p: SGD(p, 0.05, momentum=0.9))
    trainer(*monitors, max_steps=100).fit(module, *loaders())
    gradients, activations, overfitting = ([f.fault for f in m.findings] for m in monitors)
    assert gradients == ["vanishing-gradients"]
    assert "vanishing-gradients" not in activations
    assert overfitting == []
    assert "off" not in capsys.readouterr().out


# -- actions -----------------------------------------------------------------------------------------------


def test_stop():
    diagnostics = watcher(action="stop")
    t = trainer(diagnostics, max_steps=100)
    t.fit(BrokenAt(MLP(2)), *loaders())
    assert t.global_step == 31
    assert diagnostics.findings


def test_a_tendency_must_last_before_it_stops_the_run():
    came = []
    diagnostics = watcher(action="stop", on_finding=lambda finding: came.append(t.global_step))
    t = trainer(diagnostics, max_steps=100)
    t.fit(Module(MLP(2), optimizer=lambda parameters: torch.optim.Adam(parameters, 1.0)), *loaders())
    assert diagnostics.findings[0].fault == "learning-rate-too-high"
    assert came[0] + 10 <= t.global_step < 60


def test_raise_before_the_weights_are_lost():
    diagnostics, module = watcher(action="raise"), BrokenAt(MLP(2))
    with pytest.raises(FaultError, match="unstable-loss-function") as raised:
        trainer(diagnostics, max_steps=100).fit(module, *loaders())
    assert raised.value.finding == diagnostics.findings[0]
    assert all(bool(p.isfinite().all()) for p in module.parameters())
    assert not hooks(module)


@pytest.mark.parametrize("enabled", [False, True])
def test_checkpoint_and_go_on(tmp_path, enabled):
    diagnostics = watcher(action="checkpoint")
    t = trainer(diagnostics, max_steps=40, default_root_dir=tmp_path, enable_checkpointing=enabled)
    t.fit(BrokenAt(MLP(2)), *loaders())
    assert t.global_step == 40
    (path,) = tmp_path.rglob("unstable-loss-function-step=30.ckpt")
    weights = torch.load(path, weights_only=True)["state_dict"]
    assert all(bool(w.isfinite().all()) for w in weights.values())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"action": "explode"}, "action from warn, stop, raise, checkpoint; got 'explode'"),
        ({"mute": ["dead-unit"]}, "mute from .*dead-units.*; got 'dead-unit'"),
        ({"families": ["gradient"]}, "families from .*gradients.*; got 'gradient'"),
        ({"budget": 0}, "budget above 0; got 0"),
    ],
)
def test_bad_arguments_are_told(options, text):
    with pytest.raises(OptionError, match=text) as raised:
        Diagnostics(**options)
    assert isinstance(raised.value, ValueError)


# -- the ends of a run --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, None])
@pytest.mark.parametrize("step", [5, 30])  # one with hooks in the layers, one without
def test_hooks_are_gone(error, step):
    class Ends(Module):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if error is not None and self.trainer.global_step == step:
                assert hooks(self, *self.trainer.optimizers)
                raise error
            return loss

    diagnostics, module = watcher(), Ends(MLP(2))
    t = trainer(diagnostics, max_steps=40)
    if error is None:
        t.fit(module, *loaders())
    else:
        with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
            t.fit(module, *loaders())
    assert hooks(module, *t.optimizers) == 0
    assert diagnostics.failure is None
    assert len(diagnostics.history["loss"]) == (step if error else 40)


def test_our_failure_is_not_the_users(capsys):
    def breaks(finding):
        raise RuntimeError("the messenger is ill")

    diagnostics = watcher(on_finding=breaks)
    t = trainer(diagnostics, max_steps=50)
    module = BrokenAt(MLP(2))
    t.fit(module, *loaders())
    assert t.global_step == 50
    assert str(diagnostics.failure) == "the messenger is ill"
    assert capsys.readouterr().err.count("the messenger is ill") == 1
    assert not hooks(module, *t.optimizers)


def test_a_fit_without_diagnostics_is_the_same_bit_for_bit():
    results = []
    for callbacks in ([], [watcher()]):
        torch.manual_seed(0)
        module = Module(CNN(norm=True))
        trainer(*callbacks, max_steps=60).fit(module, *loaders())
        results.append(module.state_dict())
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_a_deep_copy_before_and_after_a_fit():
    diagnostics = watcher()
    trainer(copy.deepcopy(diagnostics), max_steps=5).fit(Module(MLP(2)), *loaders())
    trainer(diagnostics, max_steps=25).fit(Module(MLP(2)), *loaders())
    assert len(copy.deepcopy(diagnostics).history["loss"]) == 25


# -- several processes --------------------------------------------------------------------------------------

SCRIPT = """
import json, os, sys
sys.path.insert(0, TESTS)
import torch
torch.set_num_threads(1)
from lightning.pytorch import Trainer
from zoo import MLP, Module, loaders
from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import FaultError

class Net(Module):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if CASE != "healthy" and self.trainer.global_step == 20 else loss

diagnostics = Diagnostics(verbose=False, budget=1.0, action="warn" if CASE == "healthy" else CASE)
trainer = Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_steps=60, max_epochs=-1, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[diagnostics],
)
torch.manual_seed(0)
raised = False
try:
    trainer.fit(Net(MLP(3)), *loaders())
except FaultError:
    raised = True
print(json.dumps({
    "rank": trainer.global_rank, "step": trainer.global_step, "raised": raised,
    "looks": len(diagnostics.history["gradient_norm"]), "failure": repr(diagnostics.failure),
    "findings": [[f.fault, str(f.severity), f.first_step] for f in diagnostics.findings],
}), file=open(os.path.join(OUT, f"{CASE}-{trainer.global_rank}.json"), "w"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", ["healthy", "stop", "raise"])
def test_two_processes(case, tmp_path):
    script = tmp_path / "fit.py"
    here = str(Path(__file__).parent)
    script.write_text(f"TESTS, OUT, CASE = {here!r}, {str(tmp_path)!r}, {case!r}\n" + SCRIPT)
    done = subprocess.run([sys.executable, script], timeout=300, capture_output=True, text=True, check=False)
    ranks = [tmp_path / f"{case}-{rank}.json" for rank in (0, 1)]
    assert all(path.exists() for path in ranks), done.stderr[-3000:]
    first, second = (json.loads(path.read_text()) for path in ranks)
    assert first["failure"] == second["failure"] == "None"
    assert first["looks"] > 10
    assert second["looks"] == 0
    if case == "healthy":
        assert first["step"] == second["step"] == 60
        assert not [f for f in first["findings"] if f[1] != "info"]
    else:
        assert first["findings"][0] == ["non-finite", "error", 20]
        assert 20 < first["step"] == second["step"] < 40
        assert first["raised"] == second["raised"] == (case == "raise")
