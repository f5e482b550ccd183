"""The main command as a user runs it: `fit` on real digits, and every file that it writes."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from nnfoundations.cli import main
from nnfoundations.lightning_modules import Classifier

METRICS = ("loss", "accuracy", "accuracy_top3", "f1", "calibration_error")


def run(command, root, *args):
    """Run a command; return its exit code and the folder of the run that it made under `root`."""
    before = set(root.glob("*/*"))
    code = main([*command.split(), "--trainer.default_root_dir", str(root), *args])
    (folder,) = set(root.glob("*/*")) - before or {None}
    return code, folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The run folder of `nnfoundations fit --config digits`, run in an empty folder."""
    here = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        assert main(["fit", "--config", "digits"]) == 0
    (folder,) = here.glob("runs/digits/*")
    assert {path.name for path in here.iterdir()} == {"runs"}, "something was written outside the run folder"
    return folder


@pytest.fixture(scope="module")
def events(fitted):
    accumulator = EventAccumulator(str(fitted), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
    return accumulator.Reload()


def scalar(events, tag):
    return [point.value for point in events.Scalars(tag)]


def test_reaches_its_goal(events):
    (accuracy,) = scalar(events, "test/accuracy")
    assert accuracy >= 0.96


def test_run_folder_holds_the_run(fitted):
    record = json.loads((fitted / "run.json").read_text())
    assert {"name", "command", "started", "device", "revision", "versions"} == set(record)
    assert record["name"] == "digits"
    assert {"torch", "lightning", "nnfoundations", "python"} <= set(record["versions"])
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    assert config["model"]["init_args"]["net"]["init_args"]["sizes"] == [64, 256, 128, 10]
    assert {path.name for path in (fitted / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_curves(events):
    for split in ("val", "test"):
        assert {f"{split}/{metric}" for metric in METRICS} <= set(events.Tags()["scalars"])
    for tag in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        assert len(events.Scalars(tag)) == 30
    assert all(0 <= value <= 1 for tag in ("train", "val") for value in scalar(events, f"{tag}/accuracy"))
    assert scalar(events, "train/loss")[-1] < scalar(events, "train/loss")[0] / 4
    rates = scalar(events, "lr")
    assert rates[0] == pytest.approx(0.05)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.05 / 30)


def test_train_and_validation_share_a_chart(events):
    layout = layout_pb2.Layout()
    layout.ParseFromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    (category,) = layout.category
    charts = {chart.title: list(chart.multiline.tag) for chart in category.chart}
    assert charts == {"accuracy": ["curves/accuracy$"], "loss": ["curves/loss$"]}
    for split, tag in (("train", "train/loss"), ("validation", "val/loss")):
        curve = EventAccumulator(str(Path(events.path) / split)).Reload().Scalars("curves/loss")
        assert [e.value for e in curve] == [e.value for e in events.Scalars(tag)]


def test_hyperparameters_with_final_metrics(events):
    assert "hp_metric" not in events.Tags()["scalars"]
    contents = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(contents).experiment
    columns = {info.name.tag for info in experiment.metric_infos}
    assert [info.name.tag for info in experiment.metric_infos][:3] == [
        "val/loss",
        "test/loss",
        "val/accuracy",
    ]
    assert columns == {f"{split}/{metric}" for split in ("val", "test") for metric in METRICS}
    assert columns <= set(events.Tags()["scalars"]), "a column that no scalar fills"
    names = [info.display_name for info in experiment.hparam_infos]
    assert names[:4] == ["lr", "optimizer", "batch_size", "net"]
    assert "net.sizes" in names


def test_figures_histograms_and_text(events):
    tags = events.Tags()
    figures = {f"{split}/{name}" for split in ("val", "test") for name in ("confusion", "mistakes")}
    assert figures | {"diagnostics/health", "diagnostics/layers"} == set(tags["images"])
    assert len(events.Images("val/confusion")) == 6
    assert len(events.Images("test/confusion")) == 1
    weights = [tag for tag in tags["histograms"] if tag.startswith("weights/")]
    assert len(weights) == 6
    assert {tag.replace("weights/", "gradients/") for tag in weights} <= set(tags["histograms"])
    assert len(events.Histograms(weights[0])) == 7, "epoch 1 and every fifth of 30"
    texts = {tag: events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode() for tag in
             ("config", "model", "run")}  # fmt: skip
    assert "max_epochs: 30" in texts["config"]
    assert "Linear" in texts["model"]
    assert '"torch"' in texts["run"]


def test_checkpoint_is_plain_data_and_describes_itself(fitted):
    torch.load(fitted / "checkpoints" / "best.ckpt", weights_only=True)
    loaded = Classifier.load_from_checkpoint(fitted / "checkpoints" / "best.ckpt", weights_only=True)
    assert loaded(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.slow
def test_same_command_same_weights(fitted, tmp_path):
    """The packaged config and the config file of its run give bitwise equal weights."""
    _, named = run("fit --config digits --trainer.max_epochs 2", tmp_path)
    code, again = run(f"fit --config {named / 'config.yaml'}", tmp_path)
    assert code == 0
    assert again.parent.name == "digits", "a run with another run's config has that run's name"
    first, second = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (named, again)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("command", ["validate", "test"])
def test_evaluates_a_checkpoint(command, fitted, events, tmp_path, capsys):
    checkpoint = str(fitted / "checkpoints" / "best.ckpt")
    code, _ = run(f"{command} --config digits", tmp_path, "--ckpt_path", checkpoint)
    assert code == 0
    printed = capsys.readouterr()
    assert "no --ckpt_path" not in printed.err
    split = {"validate": "val", "test": "test"}[command]
    best = max(scalar(events, f"{split}/accuracy"))
    assert f"{best:.4f}" in printed.out


def test_evaluating_untrained_weights_is_told(tmp_path, capsys):
    assert run("test --config digits", tmp_path)[0] == 0
    assert "no --ckpt_path is given" in capsys.readouterr().err


def test_predictions_are_a_table(fitted, events, tmp_path):
    checkpoint = str(fitted / "checkpoints" / "best.ckpt")
    code, folder = run("predict --config digits", tmp_path, "--ckpt_path", checkpoint)
    assert code == 0
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["index", "label", "prediction", *(f"p_{digit}" for digit in range(10))]
    assert [int(row["index"]) for row in rows] == list(range(359))
    for row in rows:
        chances = {name.removeprefix("p_"): float(row[name]) for name in row if name.startswith("p_")}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == max(chances, key=chances.get)
    right = sum(row["prediction"] == row["label"] for row in rows) / len(rows)
    assert right == pytest.approx(scalar(events, "test/accuracy")[0])
    assert not list(Path(folder).glob(".*")), "a partly written file is left"


def test_says_what_to_do_next(tmp_path, capsys):
    code, folder = run("fit --config digits --trainer.max_epochs 1", tmp_path)
    out = capsys.readouterr().out
    assert code == 0
    assert "Device: CPU" in out
    assert "test/accuracy" in out
    assert str(folder) in out
    assert f"tensorboard --logdir {tmp_path}" in out
    assert "nnfoundations fit --config mnist" in out


def test_fast_dev_run_leaves_nothing(tmp_path):
    code, folder = run("fit --config digits --trainer.fast_dev_run true", tmp_path)
    assert code == 0
    assert folder is None


def test_a_module_and_data_of_ones_own(tmp_path, capsys):
    """A module of another package, by class path, with its own loaders."""
    demo = "lightning.pytorch.demos.boring_classes"
    code, folder = run(f"fit --model {demo}.BoringModel --trainer.max_epochs 1", tmp_path)
    assert code == 0
    assert (folder / "checkpoints" / "last.ckpt").exists()
    code, _ = run(f"fit --model {demo}.BoringModel --data {demo}.BoringDataModule", tmp_path,
                  "--trainer.max_epochs", "1", "--trainer.logger", "false")  # fmt: skip
    assert code == 0
    assert "tensorboard --logdir" in capsys.readouterr().out


def test_checkpoints_lie_in_the_run_whatever_the_logger(tmp_path):
    args = ["--trainer.max_epochs", "1", "--trainer.logger", "CSVLogger"]
    args += ["--trainer.logger.save_dir", str(tmp_path / "elsewhere")]
    code, folder = run("fit --config digits", tmp_path / "runs", *args)
    assert code == 0
    assert (folder / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
def test_checkpoints_may_be_off(tmp_path):
    args = ["--trainer.max_epochs", "1", "--trainer.enable_checkpointing", "false"]
    code, folder = run("fit --config digits", tmp_path, *args)
    assert code == 0
    assert not (folder / "checkpoints").exists()


@pytest.mark.slow
def test_progress_has_four_decimals(tmp_path, capsys):
    run("fit --config digits --trainer.max_epochs 1", tmp_path)
    out = capsys.readouterr().out
    assert re.search(r"^Epoch 1/1 .*val/loss \d\.\d{4}\b", out, re.MULTILINE)
    assert "v_num" not in out
