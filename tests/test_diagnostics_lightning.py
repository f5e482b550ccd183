"""Diagnostics under a real Trainer: ways of training that a rule could mistake for a fault."""

import lightning.pytorch as lightning
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.nn import functional as F
from torch.optim import LBFGS, Adam
from watched import BrokenAt, hooks, silent, trainer, watcher
from zoo import CNN, MLP, Module, loaders, run


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
    """21 batches per epoch in groups of 4: the last step has one batch, and the loss is still per batch."""
    diagnostics = silent(run(Module(MLP(3)), 48, accumulate_grad_batches=4, diagnostics=watcher()))
    assert diagnostics.history.settings["steps_per_epoch"] == 6
    losses = diagnostics.history["loss"]
    assert losses.steps.tolist() == list(range(48))
    assert 2.0 < losses.rows[0, 0] < 4.0
    norms = diagnostics.history["gradient_norm"]
    assert len(set(norms.steps.tolist())) == len(norms)  # one measurement per step, not per batch


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
    """An autoencoder whose halves have their own optimizers and take turns."""

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
    assert (
        measured[:, first] ^ measured[:, last]
    ).all()  # a row has the gradients of one optimizer; those of the other are old


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
        """Predicts the next grey level. The default scale of embeddings in torch is too large for logits."""

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
@pytest.mark.slow
def test_compiled_as_without_us(whole):
    """No additional graph and no graph break; diagnostics say that activations cannot be observed."""
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
    assert (norms < 100).all()  # unscaled, and without skipped steps
    ratios = history["update_ratio"]
    assert ratios.steps[0] == history["gradient_norm"].steps[0] == skipped
