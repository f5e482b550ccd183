"""`nnfoundations data`: what it prints, and its exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from nnfoundations import datamodules
from nnfoundations.cli import main
from nnfoundations.cli.commands._data import DATA_SETS, data_sets
from nnfoundations.datamodules import TensorDataModule


def test_it_describes(tmp_path, capsys):
    figure = tmp_path / "iris.png"
    assert main(["data", "iris", "--figure", str(figure)]) == 0
    out = capsys.readouterr().out
    assert "iris: 3 classes, 4 numbers" in out
    assert out.splitlines()[-2].split() == ["all", "108", "12", "30"]
    assert figure.stat().st_size > 5000


def test_the_table_has_every_data_set():
    kinds = [getattr(datamodules, name) for name in datamodules.__all__]
    sets = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, TensorDataModule)]
    assert data_sets() == {kind.name: kind for kind in sets if not kind.__abstractmethods__}
    assert list(DATA_SETS) == sorted(DATA_SETS)


def test_list_names_every_set(tmp_path, capsys):
    assert main(["data", "--list", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    table, _, folders = out.partition("\n\n")
    assert [line.split()[0] for line in table.splitlines()[1:]] == list(data_sets())
    assert table.count("  missing\n") == 3
    assert folders.count(f"    {tmp_path}") == 3
    assert all(len(line) <= 60 or line.strip().startswith(str(tmp_path)) for line in out.splitlines())


@pytest.mark.parametrize(
    ("args", "said"), [(["iriss"], "Did you mean `iris`?"), ([], "no data set is given")]
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


@pytest.mark.parametrize("word", ["on", *(pytest.param(w, marks=pytest.mark.slow) for w in ("off", "auto"))])
def test_fit_takes_device_resident_as_one_writes_it(tmp_path, capsys, word):
    (tmp_path / "data.yaml").write_text(f"data: {{init_args: {{device_resident: {word}}}}}")
    command = ["fit", "--config", "digits", "--trainer.fast_dev_run", "true", "--quiet"]
    assert main([*command, "--config", str(tmp_path / "data.yaml")]) == 0
    assert main([*command, "--data.device_resident", word]) == 0
    assert main([*command, "--data.device_resident", "gpu"]) == 2
    assert "takes `auto` or `on` or `off` or true or false" in capsys.readouterr().err


MEMORY = """
import ctypes
import multiprocessing
from pathlib import Path

import torch

from nnfoundations.datamodules import IrisDataModule, MNISTDataModule

torch.set_num_threads(1)  # a pool of threads would not survive the fork


def mebibytes(kinds):
    ctypes.CDLL(None).malloc_trim(0)  # what is free, and kept by the allocator, is no one's
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kinds)) / 1024


def loaders(data):
    data.setup()
    parts = ("train", "val", "test", "predict")
    opened = [getattr(data, f"{part}_dataloader")() for part in parts]
    return [(loader, next(iter(loader))) for loader in opened]


def work(opened, queue):
    before = mebibytes("Private")
    for loader, _ in opened:
        for batch in loader:
            pass
    queue.put(mebibytes("Private") - before)


small = loaders(IrisDataModule())
before = mebibytes("Pss:")
opened = loaders(MNISTDataModule())
print(mebibytes("Pss:") - before)
queue = multiprocessing.SimpleQueue()
workers = [multiprocessing.get_context("fork").Process(target=work, args=(opened, queue)) for _ in range(2)]
for worker in workers:
    worker.start()
for worker in workers:
    print(queue.get())
"""


@pytest.mark.data("MNIST")
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's account of memory")
def test_mnist_takes_its_bytes_once():
    """52.4 MiB of pixels with all loaders open. A forked worker adds the order of an epoch, not pixels."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    whole, *workers = map(float, done.stdout.split())
    assert 52.4 <= whole < 52.4 * 1.05
    assert len(workers) == 2
    assert max(workers) < 52.4 / 8
