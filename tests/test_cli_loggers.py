"""`--logger`: each logger by its short name, with numbers, findings and figures, and where to look."""

import csv
import json
import re
import struct
import sys
from pathlib import Path

import cli_process
import pytest

from nnfoundations.cli import main

DIVERGES = [
    "--config",
    "digits",
    "--trainer.max_epochs",
    "1",
    "--model.optimizer.lr",
    "30",
    "--test",
    "false",
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def offline(here, monkeypatch):
    """W&B without an account and without a network: its service gets an address that nobody answers."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return here


BLOCK, HEAD = 32768, struct.Struct("<IHB")  # checksum, length, and whether the record goes on


def chunks(data: bytes):
    """The records of a log in LevelDB's format, in which W&B writes; its reader in Python is gone."""
    assert data[:4] == b":W&B"
    place, whole = 7, b""
    while place + HEAD.size <= len(data):
        if BLOCK - place % BLOCK < HEAD.size:  # a head never crosses the end of a block
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = HEAD.unpack_from(data, place)
        place += HEAD.size
        whole += data[place : place + length]
        place += length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def records(folder: Path) -> list:
    """All records of the only W&B run below a folder, in W&B's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.rglob("*.wandb")
    found = []
    for chunk in chunks(file.read_bytes()):
        found.append(Record())
        found[-1].ParseFromString(chunk)
    return found


def logged(found) -> dict:
    """The values of a W&B run by name; the last one counts."""
    return {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in found
        if record.WhichOneof("record_type") == "history"
        for item in record.history.item
    }


def runs(name="digits"):
    return sorted(Path("runs", name).iterdir())


def test_wandb_offline_has_numbers_findings_and_figures(offline, capsys):
    assert main(["fit", *DIVERGES, "--logger", "wandb"]) == 0
    out = capsys.readouterr().out
    (folder,) = runs()
    found = records(folder)
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (run.project, run.run_group, run.display_name) == (
        "nnfoundations",
        "digits",
        f"digits {folder.name}",
    )
    values = logged(found)
    assert 0 <= values["val/accuracy"] <= 1
    assert "diagnostics/gradient_norm/total" in values
    for name in ("val/confusion", "diagnostics/health", "diagnostics/layers"):
        assert (values[f"{name}/_type"], values[f"{name}/format"]) == ("images/separated", "png")
    assert values["diagnostics/findings/text/_type"] == "table-file"
    text = "".join(path.read_text() for path in folder.rglob("media/table/diagnostics/findings/*.json"))
    assert "learning-rate-too-high" in text
    assert (folder / "findings.jsonl").exists()  # its own files stay in the folder of the run
    assert (folder / "history.npz").exists()
    sync = re.search(r"^Wandb +wandb sync (.+)$", out, re.MULTILINE)
    assert Path(sync[1]).is_dir()
    assert list(Path(sync[1]).glob("*.wandb"))
    assert [record.exit.exit_code for record in found if record.WhichOneof("record_type") == "exit"] == [0]


@pytest.mark.slow
def test_each_trial_of_a_sweep_is_a_wandb_run_of_its_own(offline, capsys):
    Path("space.yaml").write_text("model.optimizer.lr: {low: 0.01, high: 0.1}\n")
    args = ["--config", "digits", "--trainer.max_epochs", "1", "--space", "space.yaml", "--trials", "2"]
    assert main(["sweep", *args, "--logger", "wandb"]) == 0
    out = capsys.readouterr().out
    root = Path("runs/sweeps/digits/runs")
    assert f"Wandb        wandb sync {root}/*/*/*/wandb/offline-run-*" in out
    rates = set()
    for trial in ("trial_0", "trial_1"):
        found = records(root / trial)
        (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
        assert run.run_group == f"{trial}/seed_0"
        rates.add(logged(found)["lr"])
    assert len(rates) == 2
    assert len(list(root.rglob("*.wandb"))) == 2


def test_csv_writes_into_the_folder_of_the_run(here, capsys):
    assert main(["fit", *DIVERGES, "--logger", "csv"]) == 0
    out = capsys.readouterr().out
    (folder,) = runs()
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert any(row["val/accuracy"] for row in rows)
    assert any(row["diagnostics/gradient_norm/total"] for row in rows)
    assert f"CSV          {folder / 'metrics.csv'}" in out
    assert (folder / "findings.jsonl").exists()
    assert not list(folder.rglob("*tfevents*"))
    assert main(["diagnose", str(folder / "metrics.csv")]) in (0, 1)


@pytest.mark.slow
def test_two_loggers_from_a_config(here, capsys):
    Path("two.yaml").write_text("logger: [tensorboard, csv]\n")
    assert main(["fit", "--config", "digits", "--config", "two.yaml", "--trainer.max_epochs", "1"]) == 0
    out = capsys.readouterr().out
    (folder,) = (path for path in Path("runs").rglob("metrics.csv"))
    assert list(folder.parent.glob("*tfevents*"))
    assert "TensorBoard  " in out
    assert "CSV          " in out


@pytest.mark.weekly
def test_a_lab_logs_twice(here, capsys):
    args = ["lab", "perceptron", "--preset", "smoke", "--seeds", "1"]
    assert main([*args, "--logger", "csv"]) == 0
    out = capsys.readouterr().out
    tables = list(Path("runs/labs/perceptron/smoke/runs").rglob("metrics.csv"))
    assert tables
    assert all(list(table.parent.glob("*tfevents*")) for table in tables)
    assert "CSV          runs/labs/perceptron/smoke/runs/*/*/*/metrics.csv" in out
    before = {table: table.stat().st_mtime_ns for table in tables}
    assert main(args) == 0  # another logger is no reason to run again
    assert {table: table.stat().st_mtime_ns for table in tables} == before


# -- mistakes ------------------------------------------------------------------------------------------------


def refused(capsys, *args):
    assert main([*args]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, lines
    assert not Path("runs").exists()
    return "\n".join(lines)


@pytest.mark.parametrize("command", ["fit", "sweep", "lab"])
@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_command(here, monkeypatch, capsys, command, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    Path("space.yaml").write_text("model.optimizer.lr: {low: 0.01, high: 0.1}\n")
    args = {
        "fit": ["--config", "digits"],
        "sweep": ["--config", "digits", "--space", "space.yaml"],
        "lab": ["perceptron", "--preset", "smoke"],
    }[command]
    text = refused(capsys, command, *args, "--logger", package)
    assert f"`{package}`: this package is not installed" in text
    assert f'pip install "nnfoundations[{package}]"' in text


def test_sweep_without_optuna(here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    text = refused(capsys, "sweep", "--config", "digits", "--space", "space.yaml")
    assert "`sweep` needs optuna, which is not installed" in text
    assert 'pip install "nnfoundations[sweep]"' in text


def test_wandb_without_an_account(offline):
    """In a process of its own: W&B reads its environment once."""
    environment = {"WANDB_MODE": "online", "HOME": str(offline)}  # no ~/.netrc
    args = ["fit", *DIVERGES, "--logger", "wandb"]
    code, _, err = cli_process.run(args, offline, environment=environment)
    assert code == 2, err
    assert "WANDB_MODE=offline, which needs no account" in err
    assert not list(Path("runs/digits").iterdir())


def test_a_misspelt_logger_and_two_at_once(here, capsys):
    assert "Did you mean `wandb`?" in refused(capsys, "fit", *DIVERGES, "--logger", "wanbd")
    both = ["--logger", "csv", "--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "x"]
    assert "Leave one of them out." in refused(capsys, "fit", *DIVERGES, *both)
