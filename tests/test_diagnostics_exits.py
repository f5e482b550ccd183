"""What diagnostics do to a run when they are asked to act, and what they leave behind at every exit."""

import copy

import pytest
import torch
from watched import BrokenAt, hooks, trainer, watcher
from zoo import CNN, MLP, Module, loaders

from nnfoundations._errors import OptionError
from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import FaultError

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
