"""Each benchmark runs with small settings, so that it works when a machine for it is at hand."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_modules_write_a_row_a_cell(tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    options = ["--modules", "Linear", "ReLU", "--sizes", "10", "--device", "cpu", "--budget", "0.01"]
    printed = run("modules.py", *options, "--output", str(output))
    assert [(row["module"], row["threads"]) for row in rows_of(output)] == [
        ("Linear", "1"),
        ("Linear", "2"),
        ("ReLU", "1"),
        ("ReLU", "2"),
    ]
    assert all(float(row["ratio"]) > 0 for row in rows_of(output))
    assert "geometric mean, 2 threads:  2^10" in printed


@pytest.mark.weekly
def test_every_module_has_inputs(tmp_path: Path) -> None:
    printed = run("modules.py", "--sizes", "12", "--threads", "1", "--device", "cpu", "--budget", "0.001")
    assert "geometric mean" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mnist", marks=pytest.mark.data("MNIST")),
        pytest.param("cifar10", marks=pytest.mark.data("CIFAR10")),
    ],
)
def test_loaders_are_compared(tmp_path: Path, name: str) -> None:
    output = tmp_path / "rows.csv"
    printed = run("data.py", "--small", "--rounds", "1", "--sets", name, "--output", str(output))
    (row,) = rows_of(output)
    assert row["set"] == name
    rivals = {f"{count} workers": int(row[f"workers_{count}_per_s"]) for count in (0, 1)}
    assert row["best"] == max(rivals, key=rivals.__getitem__)
    assert float(row["ratio"]) == pytest.approx(int(row["ours_per_s"]) / rivals[row["best"]], rel=0.02)
    assert f"ratio {row['ratio']} to {row['best']}" in printed


@pytest.mark.weekly
def test_fits_write_a_row_a_seed(tmp_path: Path) -> None:
    """New rows replace old ones with the same options; all other rows stay."""
    output, options = tmp_path / "rows.csv", "--trainer.max_epochs 1"
    names = "config,options,seed,test_accuracy,seconds,cpu_seconds,machine,torch,python"
    before = [f"digits,{options},0", "perceptron_iris,,0", f"perceptron_iris,{options},7"]
    output.write_text("\n".join([names, *(f"{row},0.5,1,1,,," for row in before)]))
    printed = run("fits.py", str(output), "perceptron_iris", "--seeds", "0", "1", f"--options={options}")
    rows = rows_of(output)
    assert [f"{row['config']},{row['options']},{row['seed']}" for row in rows] == [
        *before[:2],
        f"perceptron_iris,{options},0",
        f"perceptron_iris,{options},1",
    ]
    assert all(0.5 < float(row["test_accuracy"]) <= 1 and int(row["cpu_seconds"]) > 1 for row in rows[2:])
    assert printed.count("perceptron_iris") == 2


@pytest.mark.weekly
def test_optimizers_write_a_row_each(tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    options = ["--parameters", "1000", "--tensors", "4", "--steps", "2", "--threads", "1"]
    assert "ratio" in run("optim.py", *options, "--output", str(output))
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["optimizer"] for row in rows}) == len(rows) == 8
    assert all(float(row["ours_ms"]) > 0 and float(row["torch_ms"]) > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.data("MNIST")
@pytest.mark.parametrize("recipe", ["plain", pytest.param("momentum", marks=pytest.mark.weekly)])
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


@pytest.mark.weekly
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


@pytest.mark.weekly
@pytest.mark.data("MNIST")
def test_what_diagnostics_add_is_measured(tmp_path: Path) -> None:
    options = ["--nets", "mlp-64", "--steps", "150", "--output", str(tmp_path / "rows.csv")]
    assert "booked" in run("diagnostics_step.py", *options)
    assert "steady_own_us" in (tmp_path / "rows.csv").read_text()
