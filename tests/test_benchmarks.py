"""The benchmarks run, so that a machine that is lent for minutes finds them working."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_modules_write_a_row_a_cell(tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    options = ["--modules", "Linear", "ReLU", "--sizes", "10", "--device", "cpu", "--budget", "0.01"]
    printed = run("modules.py", *options, "--output", str(output))
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["module"], row["threads"]) for row in rows] == [
        ("Linear", "1"),
        ("Linear", "2"),
        ("ReLU", "1"),
        ("ReLU", "2"),
    ]
    assert all(float(row["ratio"]) > 0 for row in rows)
    assert "geometric mean, 2 threads:  2^10" in printed


@pytest.mark.slow
def test_every_module_has_inputs(tmp_path: Path) -> None:
    printed = run("modules.py", "--sizes", "12", "--threads", "1", "--device", "cpu", "--budget", "0.001")
    assert "geometric mean" in printed


@pytest.mark.data
def test_loaders_are_compared(tmp_path: Path) -> None:
    options = ["--small", "--rounds", "1", "--sets", "mnist", "--output", str(tmp_path / "rows.csv")]
    assert "ratio" in run("data.py", *options)
    assert "ours_per_s" in (tmp_path / "rows.csv").read_text()


def test_optimizers_write_a_row_each(tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    options = ["--parameters", "1000", "--tensors", "4", "--steps", "2", "--threads", "1"]
    assert "ratio" in run("optim.py", *options, "--output", str(output))
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["optimizer"] for row in rows}) == len(rows) == 8
    assert all(float(row["ours_ms"]) > 0 and float(row["torch_ms"]) > 0 for row in rows)


@pytest.mark.data
@pytest.mark.parametrize("recipe", ["plain", "momentum"])
def test_the_numpy_net_trains_beside_torchs(recipe: str, tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    options = ["--recipe", recipe, "--epochs", "1", "--train-size", "2000", "--output", str(output)]
    assert "ratio" in run("numpy_mnist.py", *options)
    with output.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["recipe"], row["train_images"]) == (recipe, "2000")
    mine, other = float(row["numpy_test_accuracy"]), float(row["torch_test_accuracy"])
    assert mine == pytest.approx(other, abs=0.01)  # the same net on the same batches
    assert mine > 0.5


@pytest.mark.slow
def test_the_script_for_gpus_runs_whole(tmp_path: Path) -> None:
    printed = run("gpu.py", str(tmp_path), "--device", "cpu")
    assert "FAILS" not in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        "errors.csv",
        "curves.csv",
        "modules.csv",
        "fit.csv",
        "diagnostics.csv",
        "data.csv",
    }
