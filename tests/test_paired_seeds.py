"""One seed fixes initial weights, order, augmentation and masks, each by a generator of its own."""

from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from nnfoundations.cli import main
from nnfoundations.datamodules import DigitsDataModule, NoisyCurveDataModule

FIT = ["fit", "--config", "digits", "--diagnostics.enabled", "false", "--quiet", "--test", "false"]
FIT += ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4", "--trainer.log_every_n_steps", "1"]
FIT += ["--data.augment", "[shift]", f"--trainer.callbacks+={__name__}.Recorder"]


class Recorder(Callback):
    """Keep the batches of a run, and the masks of its first dropout layer."""

    batches: ClassVar[list[torch.Tensor]]
    masks: ClassVar[list[torch.Tensor]]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Recorder.batches, Recorder.masks = [], []
        for layer in pl_module.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.register_forward_hook(lambda _, __, output: self._keep(pl_module, output))

    def _keep(self, module: LightningModule, output: torch.Tensor) -> None:
        if module.training:
            self.masks.append(output.detach() != 0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch[0].clone())


def run(*options: str, seed: int = 3) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    assert main([*FIT, "--seed_everything", str(seed), *options]) == 0
    return Recorder.batches, Recorder.masks


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) > 0 and all(map(torch.equal, first, second))


@pytest.fixture(autouse=True)
def here(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_arms_of_one_seed_see_the_same_batches() -> None:
    batches, _ = run()
    assert len(batches) == 8
    others = (
        ["--model.net.dropout", "0.5"],
        ["--model.net.sizes", "[64,32,32,32,10]", "--model.net.norm", "layer"],
        ["--model.net.init", "zeros", "--model.optimizer.lr", "0.01", "--data.batch_size", "32"],
    )
    for options in others:
        assert same(batches, run(*options)[0])
    assert not same(batches, run(seed=4)[0])
    assert same(run("--data.seed", "3", seed=4)[0], batches)


@pytest.mark.slow
def test_arms_of_one_seed_have_the_same_masks_whatever_their_initial_weights() -> None:
    """The dropout of the input, whose zeros do not depend on the weights."""
    dropout = ["--model.net.dropout", "[0.5,0,0]"]
    _, masks = run(*dropout)
    assert len(masks) == 8
    for options in (["--model.net.init", "constant"], ["--model.net.sizes", "[64,300,300,10]"]):
        assert same(masks, run(*dropout, *options)[1])
    assert not same(masks, run(*dropout, seed=4)[1])


def test_data_modules_take_the_seed_of_lightning() -> None:
    assert DigitsDataModule().seed == NoisyCurveDataModule().seed == 0
    seed_everything(7)
    data = DigitsDataModule()
    assert data.seed == data.hparams.seed == NoisyCurveDataModule().seed == 7
    assert DigitsDataModule(seed=2).seed == 2
