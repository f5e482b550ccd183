"""Classifier's limit on the weights of a unit, in a real Trainer."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision

from nnfoundations import Classifier, Diagnostics, optim
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.models import MLP, SmallCNN

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def fit(folder: Path, model: Classifier, *callbacks: Callback, epochs: int = 1, **options: Any) -> Trainer:
    checkpoint = options.pop("ckpt_path", None)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, default_root_dir=folder, callbacks=[*callbacks],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    datamodule = DigitsDataModule(batch_size=64)
    trainer.fit(model, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    return trainer


def classifier(net: torch.nn.Module | None = None, **options: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier(net or MLP([64, 32, 10]), **options)


def norms(model: Classifier) -> torch.Tensor:
    return torch.cat([p.detach().flatten(1).norm(dim=1) for p in model.net.parameters() if p.ndim > 1])


class EachStep(Callback):
    """Look at the model after every step."""

    def __init__(self, see: Any) -> None:
        self.see, self.seen = see, 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        self.see(pl_module)
        self.seen += 1


@pytest.mark.parametrize(
    "optimizer",
    [SGD, partial(optim.Adam, lr=0.01), partial(torch.optim.AdamW, lr=0.01, fused=True),
     partial(torch.optim.LBFGS, lr=0.1, max_iter=3)],
)  # fmt: skip
def test_no_unit_exceeds_it_after_a_step(tmp_path: Path, optimizer: Any) -> None:
    model = classifier(max_norm=0.8, optimizer=optimizer)
    assert norms(model).max() > 1
    largest = []
    each = EachStep(lambda module: largest.append(float(norms(module).max())))
    fit(tmp_path, model, each, limit_train_batches=5)
    assert len(largest) == 5
    assert max(largest) <= 0.8 * (1 + 1e-6)
    assert min(largest) > 0.7, "the weights reach the limit"


def test_it_is_the_step_and_then_the_projection(tmp_path: Path) -> None:
    free, limited = (classifier(max_norm=limit, optimizer=SGD) for limit in (None, 0.8))
    for model in (free, limited):
        fit(tmp_path, model, limit_train_batches=1, limit_val_batches=0)
    for before, after in zip(free.net.parameters(), limited.net.parameters(), strict=True):
        expected = before.detach()
        if expected.ndim > 1:
            expected = expected * (0.8 / expected.norm(dim=1, keepdim=True)).clamp(max=1)
        torch.testing.assert_close(after.detach(), expected, rtol=1e-6, atol=1e-7)


def test_a_limit_that_no_unit_reaches_changes_nothing(tmp_path: Path) -> None:
    models = [classifier(max_norm=limit, optimizer=SGD) for limit in (None, 100.0)]
    for model in models:
        fit(tmp_path, model, limit_train_batches=5)
    for a, b in zip(*(model.net.parameters() for model in models), strict=True):
        assert torch.equal(a, b)


def test_convolutions_have_a_limit_and_frozen_layers_have_none(tmp_path: Path) -> None:
    net = SmallCNN((1, 8, 8), channels=[4, 4], hidden=8)
    net.layers[0].weight.requires_grad_(False)
    frozen = net.layers[0].weight.detach().clone()
    model = classifier(net, max_norm=0.5, optimizer=SGD)
    fit(tmp_path, model, limit_train_batches=3)
    assert torch.equal(net.layers[0].weight, frozen)
    weights = [p.detach().flatten(1).norm(dim=1).max() for p in net.parameters() if p.ndim > 1]
    assert weights[0] > 0.6
    assert max(weights[1:]) <= 0.5 * (1 + 1e-6)


def test_a_step_that_a_scaler_skips_changes_nothing(tmp_path: Path) -> None:
    """With this scale the first gradients are infinite; the scaler halves it until they are not."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, backoff_factor=2.0**-40)
    model = classifier(max_norm=0.8, optimizer=SGD)
    start = model.net.layers[1].weight.detach().clone()
    same = []
    each = EachStep(lambda module: same.append(torch.equal(module.net.layers[1].weight, start)))
    fit(tmp_path, model, each, limit_train_batches=8, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    assert same[0], "the first step was skipped"
    assert not same[-1]
    assert norms(model).max() <= 0.8 * (1 + 1e-6)


def test_a_resumed_run_has_the_same_weights(tmp_path: Path) -> None:
    options = {"max_norm": 1.0, "optimizer": SGD}
    whole, half, rest = (classifier(**options) for _ in range(3))
    fit(tmp_path, whole, epochs=2)
    fit(tmp_path, half).save_checkpoint(tmp_path / "half.ckpt")
    fit(tmp_path, rest, epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert norms(whole).max() > 0.99
    for a, b in zip(whole.net.parameters(), rest.net.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_a_limit_is_above_zero(limit: float) -> None:
    with pytest.raises(ValueError, match="max_norm must be above 0; got"):
        Classifier(MLP([4, 2]), max_norm=limit)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1.0, 3.0])
def test_diagnostics_find_nothing(tmp_path: Path, limit: float) -> None:
    diagnostics = Diagnostics()
    model = classifier(MLP([64, 128, 64, 10], dropout=[0.1, 0.5, 0.5]), max_norm=limit)
    trainer = fit(tmp_path, model, diagnostics, epochs=10)
    assert diagnostics.findings == []
    assert trainer.callback_metrics["val/accuracy"] > 0.9
