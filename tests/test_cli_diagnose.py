"""`nnfoundations diagnose`: our own runs, logs of Lightning and Keras, and files that are no logs."""

import csv
import json
import re
import shutil
from pathlib import Path

import lightning.pytorch as lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter
from zoo import digits

from nnfoundations.cli import main
from nnfoundations.diagnostics import History

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Stock(lightning.LightningModule):
    """A module that logs its losses and knows nothing of diagnostics."""

    def __init__(self, width=256):
        super().__init__()
        layers = (torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))
        self.net = torch.nn.Sequential(torch.nn.Flatten(), *layers)

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


def stock_run(root, samples, epochs):
    """Train on the first digits, with the two usual loggers."""
    torch.manual_seed(0)
    x, y, x_val, y_val = digits()
    train = DataLoader(TensorDataset(x[:samples], y[:samples]), min(64, samples // 4), shuffle=True)
    loggers = [CSVLogger(root / "csv", name=""), TensorBoardLogger(root / "tb", name="")]
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        max_epochs=epochs, logger=loggers, log_every_n_steps=1, accelerator="cpu", **quiet
    )
    trainer.fit(Stock(), train, DataLoader(TensorDataset(x_val, y_val), 256))
    return root


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    return stock_run(tmp_path_factory.mktemp("overfitted"), 40, 60)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return stock_run(tmp_path_factory.mktemp("healthy"), 1024, 4)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Two runs by `fit`: one with a learning rate that is far too high."""
    folders = {}
    for name, lr in (("high", "30"), ("usual", "0.1")):
        root = tmp_path_factory.mktemp(name)
        args = ["--model.optimizer.lr", lr, "--trainer.max_epochs", "1", "--test", "false", "--quiet"]
        assert main(["fit", "--config", "digits", "--trainer.default_root_dir", str(root), *args]) == 0
        (folders[name],) = root.glob("digits/*")
    return folders


def diagnose(capsys, *args):
    code = main(["diagnose", *map(str, args)])
    out, err = capsys.readouterr()
    assert err == ""
    return code, " ".join(out.split())


def refused(capsys, *args):
    """The message of a run that cannot be judged: two lines at most, nothing on standard output."""
    assert main(["diagnose", *map(str, args)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nnfoundations: ")
    assert len(err.splitlines()) <= 2
    return err


# -- our own runs --------------------------------------------------------------------------------------------


def test_a_run_of_fit_is_judged_again(fitted, capsys):
    for run in (fitted["high"], fitted["high"] / "history.npz", fitted["high"].parent):
        code, out = diagnose(capsys, run)
        assert code == 1
        assert re.match(r"Diagnostics: 1 finding in 41 steps of \S+history.npz. 1. learning-rate-too", out)
        assert "more: nnfoundations explain learning-rate-too-high" in out


def test_nothing_found_is_success(fitted, capsys):
    code, out = diagnose(capsys, fitted["usual"])
    assert code == 0
    assert out.startswith("Diagnostics: nothing found in 41 steps of ")


def test_json_is_that_of_the_run(fitted, capsys):
    assert main(["diagnose", str(fitted["high"]), "--json"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    *_, written = (fitted["high"] / "findings.jsonl").read_text().splitlines()
    again, before = json.loads(line), json.loads(written)
    assert again.pop("time")
    assert before.pop("time")
    assert again == before | {"step": again["step"]}
    assert again["change"] == "end"
    assert again["explain"] == "nnfoundations explain learning-rate-too-high"
    assert main(["diagnose", str(fitted["usual"]), "--json"]) == 0
    assert capsys.readouterr().out == ""


# -- logs of others ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["csv", "csv/version_0/metrics.csv", "tb", "tb/version_0"])
def test_overfitting_is_found_in_the_logs_of_lightning(log, overfitted, capsys):
    code, out = diagnose(capsys, overfitted / log)
    assert code == 1
    assert re.match(r"Diagnostics: 1 finding in train_loss_step and val_loss of \S+ \(steps 0 to 239\)", out)
    assert "1. overfitting (warning)" in out
    assert "(the log holds losses only)" in out


@pytest.mark.parametrize("log", ["csv", "tb"])
def test_a_healthy_log_has_no_finding(log, healthy, capsys):
    code, out = diagnose(capsys, healthy / log)
    assert code == 0
    assert out.startswith("Diagnostics: nothing found in train_loss_step and val_loss of ")


def test_one_event_file_of_a_folder_can_be_given(overfitted, capsys):
    (file,) = (overfitted / "tb" / "version_0").glob("*tfevents*")
    assert diagnose(capsys, file)[0] == 1


def test_a_torn_event_file_is_judged_as_far_as_it_can_be_read(overfitted, tmp_path, capsys):
    (file,) = (overfitted / "tb" / "version_0").glob("*tfevents*")
    data = file.read_bytes()
    (tmp_path / file.name).write_bytes(data[: len(data) // 3])
    code, out = diagnose(capsys, tmp_path)
    assert code == 0
    assert re.search(r"\(steps 0 to (5|6|7|8)\d\)", out)


def table(overfitted, path, train, val, counter="step", more=()):
    """Write the losses of the overfitted run under other names."""
    with (overfitted / "csv" / "version_0" / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([counter, train, val, *more])
        for row in rows:
            writer.writerow([row["step"], row["train_loss_step"], row["val_loss"], *("0.5" for _ in more)])
    return path


NAMES = [
    ("train_loss", "val_loss"),
    ("train/loss", "val/loss"),
    ("loss", "val_loss"),
    ("training_loss", "validation_loss"),
    ("Loss/train", "Loss/valid"),
    ("trainLoss", "valLoss"),
    ("train/loss", "eval/loss"),
    ("train_loss_epoch", "valid_loss_epoch"),
]


@pytest.mark.parametrize(("train", "val"), NAMES)
def test_losses_are_found_by_their_usual_names(train, val, overfitted, tmp_path, capsys):
    others = ("lr", "test_loss", "train_kl_loss", "val_kl_loss", "accuracy", "val_accuracy")
    path = table(overfitted, tmp_path / "log.csv", train, val, more=others)
    code, out = diagnose(capsys, path)
    assert code == 1
    assert out.startswith(f"Diagnostics: 1 finding in {train} and {val} of ")


def test_other_names_can_be_given(overfitted, tmp_path, capsys):
    path = table(overfitted, tmp_path / "log.csv", "J", "J/held_out")
    assert "it has J, J/held_out.\nName it with --loss." in refused(capsys, path)
    assert "has no series `J/out`.\nDid you mean `J/held_out`?" in refused(capsys, path, "--loss", "J/out")
    assert diagnose(capsys, path, "--loss", "J")[0] == 0, "without a validation loss"
    code, out = diagnose(capsys, path, "--loss", "J", "--val-loss", "J/held_out")
    assert code == 1
    assert "overfitting" in out


@pytest.mark.parametrize(("counter", "span"), [("Epoch", "epochs 0 to 239, called"), ("t", "rows 0 to")])
def test_what_numbers_the_rows_is_said(counter, span, overfitted, tmp_path, capsys):
    path = table(overfitted, tmp_path / "log.csv", "loss", "val_loss", counter)
    assert span in diagnose(capsys, path)[1]


def test_a_resumed_table_counts_each_step_once(overfitted, tmp_path, capsys):
    path = table(overfitted, tmp_path / "log.csv", "loss", "val_loss")
    before = diagnose(capsys, path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *lines[-30:], "junk,,", "", "7"]) + "\n")
    assert diagnose(capsys, path) == before


def test_a_loss_that_becomes_nan_is_found(tmp_path, capsys):
    """Of a linear regression whose learning rate is far too high."""
    x, y, *_ = digits()
    x, y = x.reshape(len(x), -1), y.float()
    weights = torch.zeros(x.shape[1], requires_grad=True)
    with SummaryWriter(tmp_path) as writer:
        for step in range(60):
            loss = (x @ weights - y).square().mean()
            (gradient,) = torch.autograd.grad(loss, weights)
            weights = (weights - 1e3 * gradient).detach().requires_grad_()
            writer.add_scalar("Loss/train", loss.item(), step * 10)
    code, out = diagnose(capsys, tmp_path)
    assert code == 1
    assert re.search(r"1. non-finite \(error\), steps? \d+0", out)
    assert "is first seen in the loss" in out
    assert "because the log holds losses only" in out


def test_the_two_folders_of_keras_are_one_run(overfitted, tmp_path, capsys):
    with (overfitted / "csv" / "version_0" / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for part, column in (("train", "train_loss_epoch"), ("validation", "val_loss")):
        writer = EventFileWriter(str(tmp_path / part))
        for epoch, value in enumerate(row[column] for row in rows if row[column]):
            writer.add_event(Event(step=epoch, summary=scalar_pb("epoch_loss", float(value))))
        writer.close()
    code, out = diagnose(capsys, tmp_path)
    assert code == 1
    assert "train/epoch_loss and validation/epoch_loss" in out
    assert "overfitting" in out


# -- what cannot be judged -----------------------------------------------------------------------------------

BAD = {
    "empty.csv": b"",
    "header.csv": b"step,train_loss,val_loss\n",
    "words.csv": b"step,train_loss\none,two\nthree,four\n",
    "steps.csv": b"step,train_loss\n-1,0.5\n1e300,0.5\nnan,0.5\n",
    "image.csv": b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe" * 40,
    "wide.csv": b'"' + b"x" * 200_000,
    "empty.npz": b"",
    "noise.npz": bytes(range(256)) * 8,
    "events.out.tfevents.1": b"",
    "events.out.tfevents.2": bytes(range(256)) * 8,
    "model.ckpt": b"PK",
    "notes.txt": b"loss 0.5",
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_log_is_refused_in_two_lines(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(BAD[name])
    assert name in refused(capsys, tmp_path / name)


def test_a_damaged_history_is_refused(fitted, tmp_path, capsys):
    data = (fitted["high"] / "history.npz").read_bytes()
    for n in (100, len(data) // 2, len(data) - 10):
        (tmp_path / "history.npz").write_bytes(data[:n])
        assert "history.npz" in refused(capsys, tmp_path)
    np.savez(tmp_path / "other.npz", loss=np.arange(3))
    assert "is a file that History.save wrote" in refused(capsys, tmp_path / "other.npz")
    History().save(tmp_path / "history.npz")
    assert "has no measurements" in refused(capsys, tmp_path)


def test_a_folder_must_hold_one_run(fitted, tmp_path, capsys):
    assert "has no history.npz, metrics.csv or event file" in refused(capsys, tmp_path)
    for name in ("a", "b"):
        shutil.copytree(fitted["high"], tmp_path / name)
    assert f"holds 2 runs.\nGive one of them, such as {tmp_path / 'b'}." in refused(capsys, tmp_path)
    assert "does not exist" in refused(capsys, tmp_path / "c")


def test_a_history_needs_no_names(fitted, capsys):
    assert "--loss and --val-loss name series of a log" in refused(capsys, fitted["high"], "--loss", "x")


def test_a_mistake_in_an_option_is_two_lines(capsys):
    assert "Did you mean `--val-loss`?" in refused(capsys, Path(), "--val_loss=x")
    assert "the following arguments are required: RUN" in refused(capsys)
