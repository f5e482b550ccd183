"""Configs are found by name and merged from left to right; each reaches the goal in its first line."""

import pytest
import yaml

from nnfoundations.cli import main
from nnfoundations.cli.config import _packaged
from nnfoundations.cli.config._packaged import config_path, packaged_configs, run_name

GOALS = {"mnist": 0.980, "mnist_plain": 0.965, "numpy_mnist": 0.980, "autograd_digits": 0.95}


def printed(capsys, *args):
    """The config that a command would use."""
    assert main(["fit", *args, "--print_config=skip_null"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("name", packaged_configs())
def test_every_config_is_valid(name, capsys):
    config = printed(capsys, "--config", name)
    assert config["model"]["class_path"].startswith("nnfoundations.")


@pytest.mark.parametrize("name", packaged_configs())
def test_every_config_begins_with_its_goal(name):
    assert packaged_configs()[name].read_text(encoding="utf-8").startswith("# Goal: ")


def test_later_configs_and_flags_win(tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    mine.write_text("trainer: {max_epochs: 3}\ndata: {init_args: {batch_size: 16}}\n")
    args = ["--config=digits", f"--config={mine}", "--trainer.max_epochs", "7"]
    config = printed(capsys, *args)
    assert config["trainer"]["max_epochs"] == 7
    assert config["data"]["init_args"]["batch_size"] == 16
    assert config["trainer"]["log_every_n_steps"] == 10


def test_short_class_names(capsys):
    net = "--model.net nnfoundations.models.MLP --model.net.sizes [64,10]"
    config = printed(capsys, *f"--model Classifier {net} --data DigitsDataModule".split())
    assert config["model"]["class_path"] == "nnfoundations.Classifier"
    assert config["data"]["class_path"] == "nnfoundations.datamodules.DigitsDataModule"


def test_a_lab_config_is_named_by_lab_and_run(tmp_path, monkeypatch):
    (tmp_path / "activations" / "configs").mkdir(parents=True)
    (tmp_path / "activations" / "configs" / "relu.yaml").touch()
    (tmp_path / "_runner").mkdir()
    monkeypatch.setattr(_packaged, "_labs_folder", lambda: tmp_path)
    assert config_path("activations/relu") == str(tmp_path / "activations" / "configs" / "relu.yaml")
    assert config_path("numpy-mnist") == config_path("numpy_mnist")
    assert "digits" in packaged_configs()


@pytest.mark.parametrize(("typo", "meant"), [("digit", "digits"), ("mnist_plane", "mnist_plain")])
def test_an_unknown_name_suggests_the_nearest(typo, meant, capsys):
    assert main(["fit", "--config", typo]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert f"`{typo}`" in lines[0]
    assert f"Did you mean `{meant}`?" in lines[1]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["digits"], "digits"),
        (["activations/relu"], "activations/relu"),
        (["mnist", "some/where/mine.yaml"], "mnist+mine"),
        (["somewhere/config.yaml"], "config"),
        ([], "run"),
    ],
)
def test_a_run_is_named_by_its_configs(given, name):
    assert run_name(given) == name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("autograd_digits", marks=pytest.mark.slow),
        *(
            pytest.param(n, marks=[pytest.mark.weekly, pytest.mark.data("MNIST")])
            for n in ("numpy_mnist", "mnist", "mnist_plain")
        ),
    ],
)
def test_goal(name, tmp_path, capsys):
    assert main(["fit", "--config", name, "--trainer.default_root_dir", str(tmp_path)]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "test/accuracy " in line)
    assert float(row.split()[1]) >= GOALS[name]


def test_missing_data_is_one_message_and_no_run(tmp_path, capsys):
    """A file instead of a folder: nothing can be written there, so nothing is downloaded."""
    root = tmp_path / "data"
    root.touch()
    args = ["--data.root", str(root), "--trainer.default_root_dir", str(tmp_path / "runs")]
    assert main(["fit", "--config", "mnist", *args]) == 1
    err = capsys.readouterr().err.rpartition("nnfoundations: ")[2]
    assert "train-images-idx3-ubyte" in err
    assert "f68b3c2dcbeaaa9fbdd348bbdeb94873" in err
    assert str(root) in err
    assert "`nnfoundations fit --config digits` needs no files" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "runs").glob("*/*"))
