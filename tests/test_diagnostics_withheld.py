"""With action "stop" or "checkpoint", an optimizer step whose gradient is not finite is not taken."""

import copy

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_wine
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from watched import NAN, hooks, trainer, watcher

from nnfoundations import optim
from nnfoundations.callbacks import GradientMonitor
from nnfoundations.diagnostics.nonfinite import StepGuard

AT = 4
"""The batch that is not finite."""


def wine(size=16):
    x, y = load_wine(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x[order], torch.tensor(y)[order]), size)


class Wine(lightning.LightningModule):
    """`spoil` returns what is added to the loss of batch `AT`; 0 adds nothing."""

    def __init__(self, optimizer, spoil=lambda self: NAN):
        super().__init__()
        torch.manual_seed(5)
        self.net = nn.Sequential(nn.Linear(13, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
        self.optimizer, self.spoil, self.batches = optimizer, spoil, 0

    def loss(self, batch, batch_idx):
        self.batches += 1
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        return loss * (1 + self.spoil(self)) if batch_idx == AT else loss

    def training_step(self, batch, batch_idx):
        return self.loss(batch, batch_idx)

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


class TwoOptimizers(Wine):
    automatic_optimization = False
    plain = False
    """Whether the steps of the optimizers themselves are called, without the wrapper of Lightning."""

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers(use_pl_optimizer=not self.plain):
            optimizer.zero_grad()
            loss = self.loss(batch, batch_idx)
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self):
        return self.optimizer(self.net[0].parameters()), self.optimizer(self.net[2:].parameters())


class PlainSteps(TwoOptimizers):
    plain = True


def one_weight(module):
    """A factor whose gradient is infinite in one entry of one weight, and 0 elsewhere; its value is 0."""
    return (module.net[3].weight[1, 2] * 0).sqrt()


def finite(state):
    return all(bool(value.isfinite().all()) for value in state.values())


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adam, foreach": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, foreach=True),
    "adam, fused": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
    "asgd": lambda p: torch.optim.ASGD(p, 0.01),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3),
    "our sgd": lambda p: optim.SGD(p, 0.05, momentum=0.9),
    "our adam": lambda p: optim.Adam(p, 0.01),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("spoil", [lambda module: NAN, one_weight], ids=["all", "one weight"])
def test_a_stopped_run_has_the_weights_before_the_step(name, spoil, tmp_path):
    twin = Wine(OPTIMIZERS[name])
    reference = trainer(max_epochs=1, limit_train_batches=AT)
    reference.fit(twin, wine())
    module, diagnostics = Wine(OPTIMIZERS[name], spoil), watcher(action="stop")
    saver = ModelCheckpoint(tmp_path, save_last=True)
    t = trainer(diagnostics, saver, max_epochs=3, min_epochs=2, min_steps=20, enable_checkpointing=True)
    t.fit(module, wine())
    assert diagnostics.failure is None
    assert diagnostics.findings[0].first_step == reference.global_step
    assert (t.current_epoch, t.fit_loop.epoch_loop.batch_idx) == (1, AT)  # it ended after this batch
    assert (t.fit_loop.min_epochs, t.fit_loop.min_steps) == (2, 20)
    for key, value in twin.state_dict().items():
        assert torch.equal(value, module.state_dict()[key]), key
    saved = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert finite(saved["state_dict"])
    assert saved["global_step"] == t.global_step
    state = saved["optimizer_states"][0]["state"]
    numbers = [value for each in state.values() for value in each.values() if torch.is_tensor(value)]
    assert all(bool(value.isfinite().all()) for value in numbers)
    assert hooks(module, *t.optimizers) == 0


@pytest.mark.parametrize("kind", [TwoOptimizers, PlainSteps])
@pytest.mark.parametrize("action", ["stop", "checkpoint"])
def test_under_manual_optimization(kind, action, tmp_path):
    module, diagnostics = kind(OPTIMIZERS["sgd"]), watcher(action=action)
    t = trainer(diagnostics, max_epochs=1, default_root_dir=tmp_path)
    t.fit(module, wine())
    assert diagnostics.failure is None
    assert diagnostics.findings
    assert finite(module.state_dict())
    assert t.fit_loop.epoch_loop.batch_idx == (AT if action == "stop" else 11)
    for path in tmp_path.rglob("*.ckpt"):
        assert finite(torch.load(path, weights_only=False)["state_dict"])


@pytest.mark.parametrize("action", ["stop", "checkpoint"])
def test_under_accumulation_and_clipping(action, tmp_path):
    """Batch 4 is the second of three. The gradient of the third does not make the sum finite."""
    module, diagnostics = Wine(OPTIMIZERS["adam"]), watcher(action=action, verbose=True)
    t = trainer(
        diagnostics, max_epochs=2, accumulate_grad_batches=3, gradient_clip_val=1.0, default_root_dir=tmp_path
    )
    t.fit(module, wine())
    assert finite(module.state_dict())
    assert diagnostics.history.events_of("non-finite")[0]["batch"] == AT
    assert t.global_step == (1 if action == "stop" else 8)


def test_what_was_done_is_told(capsys, tmp_path):
    diagnostics = watcher(action="checkpoint", verbose=True)
    module = Wine(OPTIMIZERS["adam"])
    trainer(diagnostics, max_epochs=3, default_root_dir=tmp_path).fit(module, wine())
    assert finite(module.state_dict())
    text = " ".join(capsys.readouterr().err.split())
    assert "optimizer step 4 is not taken, because its gradient is not finite" in text
    assert "3 optimizer steps were not taken, because their gradients were not finite." in text


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_a_later_evaluation_of_a_closure(search):
    """LBFGS moves the weights between evaluations. They return to where the step began."""

    class Late(Wine):
        evaluations = 0

        def training_step(self, batch, batch_idx):
            self.evaluations = self.evaluations + 1 if batch_idx == AT else 0
            loss = self.loss(batch, 0)
            return loss * NAN if self.evaluations == 3 else loss

    def lbfgs(parameters):
        return torch.optim.LBFGS(parameters, 0.1, max_iter=4, line_search_fn=search)

    twin = Wine(lbfgs, lambda self: 0)
    trainer(max_epochs=1, limit_train_batches=AT).fit(twin, wine())
    module, diagnostics = Late(lbfgs, lambda self: 0), watcher(action="stop")
    t = trainer(diagnostics, max_epochs=1)
    t.fit(module, wine())
    assert t.fit_loop.epoch_loop.batch_idx == AT
    assert diagnostics.findings[0].fault in ("non-finite", "unstable-loss-function")
    for key, value in twin.state_dict().items():
        assert torch.equal(value, module.state_dict()[key]), key


def test_a_loss_scaler_skips_the_step_itself():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    plugin = lightning.plugins.precision.MixedPrecision("16-mixed", "cpu", scaler)
    module, diagnostics = Wine(OPTIMIZERS["sgd"]), watcher(action="stop")
    t = trainer(diagnostics, plugins=[plugin], max_epochs=1)
    t.fit(module, wine())
    assert finite(module.state_dict())
    assert diagnostics.failure is None


@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"precision": "bf16-true"}])
def test_under_other_precisions(options):
    module, diagnostics = Wine(OPTIMIZERS["adam"]), watcher(action="stop")
    t = trainer(diagnostics, max_epochs=1, **options)
    t.fit(module, wine())
    assert finite(module.state_dict())
    assert t.fit_loop.epoch_loop.batch_idx == AT


@pytest.mark.parametrize(
    "options", [{"action": "warn"}, {"action": "stop", "mute": ["non-*"]}, {"families": ["units"]}]
)
def test_without_such_an_action_the_step_is_taken(options):
    module, diagnostics = Wine(OPTIMIZERS["adam"]), watcher(**options)
    t = trainer(diagnostics, max_epochs=1)
    t.fit(module, wine())
    assert not finite(module.state_dict())


@pytest.mark.parametrize("action", ["stop", "checkpoint"])
@pytest.mark.parametrize("kind", [Wine, TwoOptimizers])
def test_a_healthy_run_is_not_changed(action, kind, tmp_path):
    results = []
    for callbacks in ([], [watcher(action=action)], [GradientMonitor(action=action, verbose=False)]):
        module = kind(OPTIMIZERS["adam"], lambda self: 0)
        trainer(*callbacks, max_epochs=2, default_root_dir=tmp_path).fit(module, wine())
        results.append(copy.deepcopy(module.state_dict()))
        assert not any(c.findings for c in callbacks)
    for other in results[1:]:
        assert all(torch.equal(value, other[key]) for key, value in results[0].items())


def test_gradients_are_there_again_after_the_step():
    """Hooks of the user that read gradients after the step see what they would see without the guard."""
    weight = nn.Parameter(torch.ones(3))
    optimizer, seen = torch.optim.SGD([weight], 1.0, momentum=0.5), []
    handles = StepGuard(seen.append).attach(optimizer)
    weight.grad = torch.tensor([1.0, NAN, 2.0])
    optimizer.step()
    assert weight.tolist() == [1.0, 1.0, 1.0]
    assert weight.grad.isnan().tolist() == [False, True, False]
    assert seen == [optimizer]
    weight.grad = torch.ones(3)
    optimizer.step()
    assert weight.tolist() == [0.0, 0.0, 0.0]
    for handle in handles:
        handle.remove()
