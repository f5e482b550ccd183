"""What diagnostics do to a run when an action is set, and what they leave behind however the run ends."""

import copy

import pytest
import torch
from watched import BrokenAt, hooks, trainer, unharmed, watcher
from zoo import CNN, MLP, Module, loaders

from nnfoundations.callbacks import Diagnostics
from nnfoundations.callbacks._action import Response
from nnfoundations.diagnostics import FaultError
from nnfoundations.errors import OptionError

# -- actions -----------------------------------------------------------------------------------------------


def printed(capsys):
    """Standard error as one line, without the wrapping."""
    return " ".join(capsys.readouterr().err.split())


def test_stop(capsys):
    diagnostics = watcher(action="stop", verbose=True)
    t = trainer(diagnostics, max_steps=100)
    t.fit(BrokenAt(MLP(2)), *loaders())
    assert t.global_step == 31
    assert diagnostics.findings
    why = 'because of unstable-loss-function (action="stop")'
    assert f"Diagnostics: stopping the run after step 30 {why}." in printed(capsys)


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
def test_checkpoint_and_go_on(tmp_path, enabled, capsys):
    diagnostics = watcher(action="checkpoint", verbose=True)
    t = trainer(diagnostics, max_steps=40, default_root_dir=tmp_path, enable_checkpointing=enabled)
    t.fit(BrokenAt(MLP(2)), *loaders())
    assert t.global_step == 40
    (path,) = tmp_path.rglob("unstable-loss-function-step=30.ckpt")
    weights = torch.load(path, weights_only=True)["state_dict"]
    assert all(bool(w.isfinite().all()) for w in weights.values())
    assert f'saved {path} because of unstable-loss-function (action="checkpoint")' in printed(capsys)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"action": "explode"}, "action from warn, stop, raise, checkpoint; got 'explode'"),
        ({"mute": ["dead-unit"]}, "mute takes names of faults.*got 'dead-unit'. Did you mean 'dead-units'"),
        ({"mute": "overfiting"}, "got 'overfiting'. Did you mean 'overfitting'"),
        ({"mute": "dead-unit:net.*"}, "got 'dead-unit:net.*'. Did you mean 'dead-units'"),
        ({"mute": 3}, "mute takes names of faults.*got 3. Faults are"),
        ({"mute": [3]}, "mute takes names of faults.*got 3. Faults are"),
        ({"on_finding": "mail"}, "on_finding needs a function that takes a Finding; got 'mail'"),
        ({"mute": "xyz-*"}, "got 'xyz-.*'. Faults are non-finite-input, .*overfitting"),
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
    unharmed(diagnostics)
    assert len(diagnostics.history["loss"]) == (step if error else 40)


def test_an_exception_of_on_finding_is_printed_once_and_diagnostics_continue(capsys):
    called = []

    def send_mail(finding):
        called.append(finding.fault)
        raise RuntimeError("no mail server")

    class Twice(BrokenAt):
        """A model in evaluation mode at first, and a loss that is not finite later."""

        def training_step(self, batch, batch_idx):
            self.net.train(self.trainer.global_step > 5)
            return super().training_step(batch, batch_idx)

    diagnostics = watcher(on_finding=send_mail, verbose=True)
    t = trainer(diagnostics, max_steps=50)
    t.fit(Twice(CNN(norm=True)), *loaders())
    assert t.global_step == 50
    assert called == ["train-mode-off", "unstable-loss-function"]
    unharmed(diagnostics)
    assert diagnostics.history["loss"].steps.tolist() == list(range(50))
    err = printed(capsys)
    assert err.count("no mail server") == 1
    assert "on_finding (send_mail) raised RuntimeError: no mail server. Diagnostics continues" in err
    assert "2 findings, root cause first, in 50 steps" in err
    assert "Diagnostics ended" not in err


def test_an_internal_error_ends_diagnostics_but_not_the_training(capsys, monkeypatch):
    def breaks(self, *args):
        raise ArithmeticError("a bug in diagnostics")

    monkeypatch.setattr(Response, "act_on", breaks)
    diagnostics = watcher(verbose=True)
    t = trainer(diagnostics, max_steps=50)
    module = BrokenAt(MLP(2))
    t.fit(module, *loaders())
    assert t.global_step == 50
    assert str(diagnostics.failure) == "a bug in diagnostics"
    err = printed(capsys)
    ended = "ended at step 0 because of an internal error (ArithmeticError: a bug in diagnostics)"
    assert f"Diagnostics {ended}. The training continues without them." in err
    assert f"Diagnostics: nothing found in 0 steps (cost 0.00 s). Diagnostics {ended}; later steps" in err
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
