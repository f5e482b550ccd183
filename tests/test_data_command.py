"""`nnfoundations data`: what it prints, and its exit codes."""

import subprocess
import sys

import pytest

from nnfoundations.cli import main
from nnfoundations.cli._data import data_sets


def test_it_describes(tmp_path, capsys):
    figure = tmp_path / "iris.png"
    assert main(["data", "iris", "--figure", str(figure)]) == 0
    out = capsys.readouterr().out
    assert "iris: 3 classes, 4 numbers" in out
    assert out.splitlines()[-2].split() == ["all", "108", "12", "30"]
    assert figure.stat().st_size > 5000


def test_list_names_every_set(tmp_path, capsys):
    assert main(["data", "--list", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(data_sets())
    assert out.count("missing in") == 3


@pytest.mark.parametrize(
    ("args", "said"), [(["iriss"], "did you mean `iris`?"), ([], "a data set must be named")]
)
def test_a_wrong_name(args, said, capsys):
    assert main(["data", *args]) == 2
    assert said in capsys.readouterr().err


def test_missing_files_are_one_message(tmp_path, capsys):
    (tmp_path / "root").touch()
    assert main(["data", "mnist", "--root", str(tmp_path / "root")]) == 1
    err = capsys.readouterr().err
    assert "4 of 4 files are missing" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("word", ["on", "off", "auto"])
def test_fit_takes_device_resident_as_one_writes_it(tmp_path, capsys, word):
    (tmp_path / "data.yaml").write_text(f"data: {{init_args: {{device_resident: {word}}}}}")
    command = ["fit", "--config", "digits", "--trainer.fast_dev_run", "true", "--quiet"]
    assert main([*command, "--config", str(tmp_path / "data.yaml")]) == 0
    assert main([*command, "--data.device_resident", word]) == 0
    assert main([*command, "--data.device_resident", "gpu"]) == 2
    assert "takes `auto` or `on` or `off` or true or false" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.data
def test_mnist_takes_its_bytes_once():
    """Resident memory grows by the pixels, 52.4 MiB, and less than half as much again, all loaders open."""
    code = """
import torch
from pathlib import Path
from nnfoundations.datamodules import IrisDataModule, MNISTDataModule

def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmRSS"))

def batches(data):
    data.setup()
    return [(loader, next(iter(loader))) for loader in (data.train_dataloader(), data.val_dataloader(),
            data.test_dataloader(), data.predict_dataloader())]

small = batches(IrisDataModule())
before = resident()
kept = batches(MNISTDataModule())
print((resident() - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 52.4 * 1.5
