"""Diagnostics in runs that do not train, with and without validation, and in repeated runs."""

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateFinder, ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset
from watched import BrokenAt, silent, trainer, unharmed, watcher
from zoo import MLP, Module, digits, loaders

from nnfoundations.callbacks import ActivationMonitor, Diagnostics, GradientMonitor, OverfittingMonitor
from nnfoundations.errors import OptionError

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
    unharmed(diagnostics)
    assert diagnostics.history["loss"].steps.tolist() == list(range(30))
    assert diagnostics.history["lr"].rows.max() == module.lr


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
@pytest.mark.slow
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
    unharmed(diagnostics)
    assert "Diagnostics" not in capsys.readouterr().err
    assert "fewer than 20" in diagnostics.not_run["vanishing-gradients"]
    module = BrokenAt(MLP(2))
    module.at = 1
    trainer(diagnostics, fast_dev_run=3).fit(module, *loaders())
    assert [f.fault for f in diagnostics.findings] == ["unstable-loss-function"]
    assert "unstable-loss-function" in capsys.readouterr().err


@pytest.mark.slow
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
    """The checkpoint loads with `weights_only`, and the history continues."""
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
    assert capsys.readouterr().out.count("This Diagnostics is disabled: another one") == 1


def test_the_same_object_twice_is_refused():
    one = watcher()
    with pytest.raises(OptionError, match=r"same Diagnostics object twice.* Pass it once\."):
        trainer(one, one, max_steps=1).fit(Module(MLP(2)), *loaders())


def test_one_family_may_be_a_word():
    assert {rule.family for rule in Diagnostics(families="data").rules} == {"data"}
    with pytest.raises(OptionError, match=r"families from data, .*; got 3\."):
        Diagnostics(families=3)


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
    assert "disabled" not in capsys.readouterr().out
