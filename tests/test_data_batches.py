"""Batches under the real Trainer: epochs differ, runs repeat, nothing warns, checkpoints load strictly."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import nn
from torch.nn import functional as F

from nnfoundations.datamodules import DigitsDataModule, TensorBatches


class Recorder(LightningModule):
    """A linear classifier that records the labels of every batch, for each hook."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(64, 10)
        self.seen = {"train": {}, "val": {}, "test": {}}

    def note(self, kind, batch):
        x, y = batch
        self.seen[kind].setdefault(self.current_epoch, []).append(y.clone())
        return F.cross_entropy(self.net(x.flatten(1)), y)

    def training_step(self, batch, batch_idx):
        loss = self.note("train", batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.note("val", batch))

    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.note("test", batch))

    def predict_step(self, batch, batch_idx):
        x, y = batch
        return self.net(x.flatten(1)).argmax(1) == y

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def epochs(self, kind="train"):
        return [torch.cat(batches) for batches in self.seen[kind].values()]


def trainer(folder, **options):
    return Trainer(
        **{
            "max_epochs": 3,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "default_root_dir": folder,
            **options,
        }
    )


def fit(folder, seed=0, **options):
    seed_everything(seed, verbose=False)
    model, data = Recorder(), DigitsDataModule(batch_size=100)
    run = trainer(folder, **options)
    run.fit(model, datamodule=data)
    return model, data, run


def test_a_whole_run(tmp_path):
    model, data, run = fit(tmp_path)
    assert [len(y) for y in model.epochs()] == [1294] * 3
    assert [len(y) for y in model.epochs("val")] == [144] * 3
    assert not torch.equal(model.epochs()[0], model.epochs()[1])
    assert not torch.equal(model.epochs()[1], model.epochs()[2])
    assert torch.equal(model.epochs("val")[0], model.epochs("val")[1])
    run.test(model, datamodule=data, verbose=False)
    hits = torch.cat(run.predict(model, datamodule=data))
    assert len(hits) == 359
    assert hits.float().mean() > 0.85


def test_the_orders_are_those_of_the_epochs(tmp_path):
    """No iteration is started without use: the order of an epoch is the one drawn from (seed, epoch)."""
    model, *_ = fit(tmp_path, num_sanity_val_steps=2)
    loader = setup(batch_size=100).train_dataloader()
    for y in model.epochs():
        assert torch.equal(y, torch.cat([labels for _, labels in loader]))


def test_the_same_weights_twice(tmp_path):
    first, again = fit(tmp_path)[0], fit(tmp_path)[0]
    assert torch.equal(first.net.weight, again.net.weight)


def test_epochs_cut_short_differ(tmp_path):
    model, *_ = fit(tmp_path, limit_train_batches=2)
    assert [len(y) for y in model.epochs()] == [200] * 3
    assert not torch.equal(model.epochs()[0], model.epochs()[1])


def test_reloading_each_epoch_changes_nothing(tmp_path):
    model, *_ = fit(tmp_path)
    reloaded, *_ = fit(tmp_path, reload_dataloaders_every_n_epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(model.epochs(), reloaded.epochs(), strict=True))


def test_overfitting_sees_one_batch_again_and_again(tmp_path):
    model, *_ = fit(tmp_path, overfit_batches=1)
    first, second, third = model.epochs()
    assert len(first) == 100
    assert torch.equal(first, second)
    assert torch.equal(second, third)


def test_a_resumed_run_goes_on_with_the_next_order(tmp_path):
    whole, *_ = fit(tmp_path)
    _, _, run = fit(tmp_path, max_epochs=1)
    run.save_checkpoint(tmp_path / "first.ckpt")
    rest = Recorder()
    data = DigitsDataModule(batch_size=100)
    trainer(tmp_path).fit(rest, datamodule=data, ckpt_path=tmp_path / "first.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(whole.epochs()[1:], rest.epochs(), strict=True))
    assert torch.equal(whole.net.weight, rest.net.weight)


def test_checkpoint_loads_strictly(tmp_path):
    _, _, run = fit(tmp_path, max_epochs=1)
    run.save_checkpoint(tmp_path / "run.ckpt")
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert saved["datamodule_hyper_parameters"]["batch_size"] == 100
    data = DigitsDataModule.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert data.batch_size == 100


def setup(**arguments):
    data = DigitsDataModule(**arguments)
    data.setup()
    return data


def test_an_iteration_left_early_is_an_epoch():
    """Lightning never exhausts a sized loader."""
    left, whole = (setup().train_dataloader() for _ in range(2))
    next(iter(left))
    list(whole)
    assert torch.equal(next(iter(left))[1], next(iter(whole))[1])


def test_every_image_once_an_epoch():
    loader = setup(batch_size=7).train_dataloader()
    for _ in range(2):
        y = torch.cat([y for _, y in loader])
        assert torch.equal(torch.bincount(y), torch.bincount(loader.labels[loader.rows]))


def test_batch_size_is_read_when_a_loader_is_made():
    data = setup()
    data.batch_size = 10
    assert len(next(iter(data.train_dataloader()))[1]) == 10


@pytest.mark.parametrize(("rows", "batch_size", "length"), [(0, 4, 0), (1, 4, 1), (8, 4, 2), (9, 4, 3)])
def test_length(rows, batch_size, length):
    digits = setup().test_dataloader()
    loader = TensorBatches(
        digits.inputs,
        digits.labels,
        digits.rows[:rows],
        batch_size=batch_size,
        scale=(1.0,),
        shift=(0.0,),
    )
    assert len(loader) == len(list(loader)) == length


def test_channels_are_scaled_apart():
    images = setup().test_dataloader().inputs[:5].expand(5, 3, 8, 8)
    loader = TensorBatches(
        images,
        torch.arange(5),
        torch.arange(5),
        batch_size=5,
        scale=(1.0, 2.0, 3.0),
        shift=(0.0, -1.0, 1.0),
    )
    x, _ = next(iter(loader))
    pixel = images[:, 0].float()
    assert torch.equal(x, torch.stack([pixel, pixel * 2 - 1, pixel * 3 + 1], dim=1))
    assert images.dtype == torch.uint8
