"""Which samples a real Trainer sees: resumed in mid-epoch, in two processes, tuned, cut short."""

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader

from nnfoundations.datamodules import DigitsDataModule, LabelledSet, TensorDataModule
from nnfoundations.lightning_modules import Classifier
from nnfoundations.models import MLP


class Numbered(TensorDataModule):
    """Each sample is its row number: 81 for training, 10 for validation, 13 for testing."""

    name = "numbered"
    shape = (1,)
    num_classes = 2
    class_names = ("even", "odd")
    feature_names = ("row",)
    mean, std = (0.0,), (1.0,)

    def __init__(self, **arguments):
        super().__init__(**{"val_size": 10, "batch_size": 10, **arguments})

    def read(self):
        rows = torch.arange(104)
        return LabelledSet(rows.float().unsqueeze(1), rows % 2, rows[91:])


class Recorder(LightningModule):
    """Records the rows of every batch by epoch and writes them into one file per process."""

    def __init__(self, folder=None, counts_steps=False):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
        self.folder, self.counts_steps = folder, counts_steps
        self.seen = {"train": {}, "val": {}, "test": {}}

    def note(self, kind, batch):
        rows = batch[0].flatten().int().tolist()
        self.seen[kind].setdefault(str(self.current_epoch), []).append(rows)
        return self.net(batch[0] / 100).mean()

    def training_step(self, batch, batch_idx):
        return self.note("train", batch)

    def validation_step(self, batch, batch_idx):
        self.note("val", batch)

    def test_step(self, batch, batch_idx):
        self.note("test", batch)

    def on_train_end(self):
        self.write("fit")

    def on_test_end(self):
        self.write("test")

    def write(self, name):
        if self.folder:
            (Path(self.folder) / f"{name}{self.global_rank}.json").write_text(json.dumps(self.seen))

    def configure_optimizers(self):
        if self.counts_steps:  # Lightning then makes the loaders early, and drops their saved state
            assert self.trainer.estimated_stepping_batches > 0
        return torch.optim.SGD(self.parameters(), lr=0.01)


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
            "default_root_dir": folder,
            **options,
        }
    )


class SavesAt(Callback):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def flat(batches):
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize(
    "options", [{}, {"limit_train_batches": 4}, {"reload_dataloaders_every_n_epochs": 1}]
)
@pytest.mark.parametrize("counts_steps", [False, True])
@pytest.mark.parametrize("step", [3, 9, 11])
def test_a_run_resumed_in_mid_epoch_sees_what_was_left(tmp_path, options, counts_steps, step):
    whole, rest = Recorder(counts_steps=counts_steps), Recorder(counts_steps=counts_steps)
    saved = tmp_path / "saved.ckpt"
    trainer(tmp_path, callbacks=[SavesAt(step, saved)], **options).fit(whole, datamodule=Numbered())
    trainer(tmp_path, **options).fit(rest, datamodule=Numbered(), ckpt_path=saved)
    assert flat(rest.seen["train"].values()) == flat(whole.seen["train"].values())[step:]


def saved_by_validations(folder, model, data, **options):
    """Validate and save twice per epoch; return the Trainer and the batches that each file has seen."""
    keeps_all = ModelCheckpoint(folder / "saved", filename="{epoch}-{step}", save_top_k=-1)
    run = trainer(folder, callbacks=[keeps_all], enable_checkpointing=True, val_check_interval=0.5, **options)
    run.fit(model, datamodule=data)
    saved = {path: torch.load(path, weights_only=True) for path in (folder / "saved").iterdir()}
    assert len(saved) == 6
    progress = {
        path: state["loops"]["fit_loop"]["epoch_loop.batch_progress"] for path, state in saved.items()
    }
    return run, {path: batches["total"]["completed"] for path, batches in progress.items()}


@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 6}, {"accumulate_grad_batches": 2}])
@pytest.mark.parametrize("counts_steps", [False, True])
@pytest.mark.filterwarnings(
    "ignore:.*callbacks used to create the checkpoint need to be provided:UserWarning"
)
def test_a_run_that_a_validation_saved_sees_what_was_left(tmp_path, options, counts_steps):
    whole = Recorder(counts_steps=counts_steps)
    _, saved = saved_by_validations(tmp_path, whole, Numbered(), **options)
    for path, done in saved.items():
        rest = Recorder(counts_steps=counts_steps)
        again = trainer(tmp_path, val_check_interval=0.5, **options)
        again.fit(rest, datamodule=Numbered(), ckpt_path=path)
        assert flat(rest.seen["train"].values()) == flat(whole.seen["train"].values())[done:]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* not empty:UserWarning")
def test_the_same_trainer_and_data_go_on_too(tmp_path):
    """As in a notebook: the last epoch is continued from its middle."""
    whole, data = Recorder(), Numbered()
    run, saved = saved_by_validations(tmp_path, whole, data)
    for path, done in saved.items():
        rest = Recorder()
        run.fit(rest, datamodule=data, ckpt_path=path)
        assert flat(rest.seen["train"].values()) == flat(whole.seen["train"].values())[done:]


def test_a_loader_alone_goes_on_too(tmp_path):
    """The loader is given to the Trainer without its data module, by the protocol of Lightning."""

    def loader():
        data = Numbered()
        data.setup()
        return data.train_dataloader()

    whole, rest = Recorder(), Recorder()
    trainer(tmp_path, callbacks=[SavesAt(4, tmp_path / "saved.ckpt")]).fit(whole, loader(), loader())
    trainer(tmp_path).fit(rest, loader(), loader(), ckpt_path=tmp_path / "saved.ckpt")
    assert flat(rest.seen["train"].values()) == flat(whole.seen["train"].values())[4:]


def test_iterating_by_the_way_does_not_disturb(tmp_path):
    class Looks(Callback):
        def on_train_epoch_end(self, trainer, _):
            assert sum(len(y) for _, y in trainer.train_dataloader) == 81

    plain, watched = Recorder(), Recorder()
    trainer(tmp_path).fit(plain, datamodule=Numbered())
    trainer(tmp_path, callbacks=[Looks()]).fit(watched, datamodule=Numbered())
    assert watched.seen == plain.seen


def both(tmp_path, name):
    return [json.loads((tmp_path / f"{name}{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_share_an_epoch(tmp_path):
    """81 rows in batches of 10: one process has 41 rows, the other 40, and both have the same batches."""
    run = trainer(tmp_path, devices=2, strategy="ddp_fork", max_epochs=2)
    data = Numbered()
    run.fit(Recorder(tmp_path), datamodule=data)
    run.test(Recorder(tmp_path), datamodule=data, verbose=False)
    first, second = both(tmp_path, "fit")
    for epoch in ("0", "1"):
        a, b = first["train"][epoch], second["train"][epoch]
        assert len(a) == len(b) == 5
        assert all(a)
        assert all(b)
        assert len(set(flat(a + b))) == len(flat(a + b)) == 81
        assert len(set(flat(first["val"][epoch] + second["val"][epoch]))) == 10
        assert len(flat(first["val"][epoch] + second["val"][epoch])) == 10
    assert flat(first["train"]["0"]) != flat(first["train"]["1"])
    tested = flat(flat([part["test"]["0"] for part in both(tmp_path, "test")]))
    assert sorted(tested) == list(range(91, 104))


def test_more_processes_than_samples():
    data = Numbered(train_size=2)
    data.setup()
    with pytest.raises(ValueError, match="3 processes need as many samples each epoch; got 2"):
        type(data.train_dataloader())(
            *(data._data.inputs, data._data.labels, data._train),
            batch_size=1,
            scale=[1.0],
            shift=[0.0],
            world_size=3,
        )


@pytest.mark.slow
def test_the_tuner_scales_the_batch(tmp_path):
    data = Numbered(batch_size=2)
    found = Tuner(trainer(tmp_path)).scale_batch_size(
        Recorder(), datamodule=data, mode="power", max_trials=3, steps_per_trial=1
    )
    assert found == data.batch_size == 8
    fitted = Recorder()
    trainer(tmp_path, max_epochs=1).fit(fitted, datamodule=data)
    assert len(fitted.seen["train"]["0"][0]) == 8


@pytest.mark.parametrize("names", [["mixup"], ["flip", "cutmix"]])
def test_soft_labels_train(tmp_path, names):
    model = Classifier(MLP([64, 32, 10]))
    run = trainer(tmp_path, max_epochs=4)
    run.fit(model, datamodule=DigitsDataModule(augment=names))
    assert 0.5 < run.callback_metrics["val/accuracy"] <= 1
    assert 0.2 < run.callback_metrics["train/accuracy"] <= 1


class FromFiles(DigitsDataModule):
    """As for a data set that does not fit into memory: torchvision transforms and a DataLoader."""

    def __init__(self, folder, **arguments):
        super().__init__(**arguments)
        self.files_folder = folder

    def train_dataloader(self):
        from torchvision import transforms
        from torchvision.datasets import ImageFolder

        steps = [transforms.Grayscale(), transforms.RandomCrop(8, 1), transforms.ToTensor()]
        images = ImageFolder(self.files_folder, transforms.Compose(steps))
        return DataLoader(images, batch_size=self.batch_size, shuffle=True)


def test_a_plain_data_loader_in_place_of_ours(tmp_path):
    from PIL import Image

    digits = DigitsDataModule()
    digits.setup()
    for kind in range(10):
        (tmp_path / str(kind)).mkdir()
        chosen = digits._data.inputs[digits._data.labels == kind][:20]
        for i, image in enumerate(chosen):
            Image.fromarray((image[0] * 15).numpy()).save(tmp_path / str(kind) / f"{i}.png")
    run = trainer(tmp_path, max_epochs=5)
    data = FromFiles(tmp_path, batch_size=20, normalize=False)
    run.fit(Classifier(MLP([64, 32, 10])), datamodule=data)
    assert run.callback_metrics["train/accuracy"] > 0.3
    run.test(datamodule=data, model=run.lightning_module, verbose=False)
    assert run.callback_metrics["test/accuracy"] > 0.2


def test_a_callback_may_read_the_loader_before_each_epoch(tmp_path):
    class Reader(Callback):
        def __init__(self):
            self.counts = []

        def on_train_epoch_start(self, trainer, pl_module):
            self.counts.append(sum(1 for _ in trainer.train_dataloader))

    reader, module = Reader(), Recorder()
    trainer = Trainer(
        max_epochs=3, callbacks=[reader], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, datamodule=Numbered())
    assert reader.counts == [9, 9, 9]
    assert [len(batches) for batches in module.seen["train"].values()] == [9, 9, 9]
