"""The small commands, and the output of a run in a pipe, on a dumb terminal, without rich, in few columns."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cli_process
import pytest

from nnfoundations.cli import main
from nnfoundations.cli.commands._table import COMMANDS
from nnfoundations.cli.config._packaged import packaged_configs

FIT = ["fit", "--config", "digits", "--trainer.max_epochs", "1"]


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_alone_it_shows_every_command_with_an_example(args, capsys):
    assert main(args) == 0
    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"nnfoundations {name} {command.example}".rstrip() in out
    assert max(map(len, out.splitlines())) <= 72


def test_every_command_has_a_help(capsys):
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        first = capsys.readouterr().out
        assert name in first
        assert main(["help", name]) == 0
        assert capsys.readouterr().out == first
    assert main(["help"]) == 0
    assert "nnfoundations fit" in capsys.readouterr().out


def test_configs_lists_each_with_its_goal(capsys):
    assert main(["configs"]) == 0
    out = capsys.readouterr().out.splitlines()
    for name in packaged_configs():
        goal = out[out.index(name) + 1]
        assert re.search(r"accuracy|error|Diagnostics names|no finding|microseconds|memory", goal)


def test_doctor_says_that_fit_will_run(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "`fit` will run here." in out
    assert all(f"  {what}:" in out for what in ("Python", "torch", "lightning", "GPU", "runs", "compiler"))


def test_doctor_finds_a_folder_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  runs" in out
    assert "default_root_dir" in out


@pytest.mark.slow
def test_doctor_knows_a_torchvision_of_another_torch_and_a_malicious_release(tmp_path):
    """Packages of those names, as pip installs them: not imported, or failing like the real one."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    command = [sys.executable, "-m", "nnfoundations", "doctor"]

    def run():
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    done = run()
    assert done.returncode == 1
    assert re.search(r"FAIL  torchvision: [^>]*\n +-> Install both", done.stdout), done.stdout + done.stderr
    metadata = tmp_path / "lightning-2.6.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lightning\nVersion: 2.6.3\n")
    (tmp_path / "lightning.py").write_text("raise SystemExit('the malicious release was imported')\n")
    done = run()
    assert done.returncode == 1
    assert "FAIL  lightning: 2.6.3, a release that carried malware" in done.stdout
    assert "the malicious release was imported" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken", ["runs", *(pytest.param(name, marks=pytest.mark.weekly) for name in ("sklearn", "tensorboard"))]
)
def test_doctor_finds_what_would_stop_a_fit(broken, tmp_path):
    if broken == "runs":
        (tmp_path / "runs").touch()
    else:
        (tmp_path / f"{broken}.py").write_text("raise ImportError('broken')\n")
    command = [sys.executable, "-m", "nnfoundations", "doctor"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "60"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL" in done.stdout
    fits(done.stdout, 60)


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m nnfoundations configs | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def completed(script, *words):
    """The words that bash offers for the last one."""
    line = " ".join(f"'{word}'" for word in ("nnfoundations", *words))
    code = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _nnfoundations; "
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code], cwd=script.parent, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "mine.yaml").touch()
    assert completed(script, "do") == ["doctor"]
    assert completed(script, "fit", "--config", "mnist_") == ["mnist_plain"]
    assert completed(script, "fit", "--config", "min") == ["mine.yaml"]
    assert completed(script, "fit", "--trainer.max_ep") == ["--trainer.max_epochs"]
    assert completed(script, "test", "--ckpt_path", "") == ["last", "best"]


def test_quiet_prints_only_the_folder_of_the_run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--quiet", "--diagnostics.enabled", "false"]) == 0
    printed = capfd.readouterr()
    (folder,) = tmp_path.glob("runs/digits/*")
    assert printed.out == f"{folder.relative_to(tmp_path)}\n"
    assert printed.err == ""


def test_verbose_prints_what_libraries_and_the_parser_say(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--verbose", "--trainer.fast_dev_run", "true"]) == 0
    assert "Params" in capfd.readouterr().out  # Lightning's table of the model
    assert main([*FIT, "--verbose", "--trainer.precision", "half"]) == 2
    assert len(capfd.readouterr().err.splitlines()) > 2


@pytest.mark.slow
def test_the_best_checkpoint_is_tested_and_predicts(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--quiet", "--diagnostics.enabled", "false"]) == 0
    (best,) = tmp_path.glob("runs/digits/*/checkpoints/best.ckpt")
    capfd.readouterr()
    assert main(["test", "--config", "digits", "--ckpt_path", "best"]) == 0
    out = capfd.readouterr().out
    assert f"Checkpoint best: {best.relative_to(tmp_path)}" in out
    assert out.count("test/accuracy ") == 1
    assert "─" not in out
    assert main(["predict", "--config", "digits", "--ckpt_path", "best", "--quiet"]) == 0
    out = capfd.readouterr().out.splitlines()
    (rows,) = tmp_path.glob("runs/digits/*/predictions.csv")
    assert out[-1] == str(rows.parent.relative_to(tmp_path))
    assert main(["test", "--config", "digits", "--ckpt_path", "best", "--quiet"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 1
    mine = ["--predictions.path", "mine/rows.csv"]
    assert main(["predict", "--config", "digits", "--ckpt_path", "best", *mine]) == 0
    assert "Predictions  mine/rows.csv" in capfd.readouterr().out
    assert Path("mine/rows.csv").read_text() == rows.read_text()


@pytest.mark.slow
def test_options_that_a_checkpoint_overrides_are_reported(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--quiet", "--diagnostics.enabled", "false"]) == 0
    assert main(["test", "--config", "digits", "--ckpt_path", "best", "--model.l2", "0.125"]) == 0
    assert "Warning: model.l2=0.125 is not used" in capfd.readouterr().err
    assert main([*FIT, "--ckpt_path", "last", "--model.optimizer", "torch.optim.Adam"]) == 0
    err = capfd.readouterr().err
    assert "Warning: model.optimizer.class_path=torch.optim.Adam is not used" in err
    assert "nothing was trained: the checkpoint has finished 1 of 1 epochs." in err
    assert (
        main([*FIT, "--ckpt_path", "last", "--trainer.max_epochs", "2", "--diagnostics.enabled", "false"])
        == 0
    )
    assert capfd.readouterr().err == ""


def test_a_pipe_gets_no_control_characters_and_no_irrelevant_messages(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(FIT) == 0
    printed = capfd.readouterr()
    text = printed.out + printed.err
    assert "\x1b" not in text
    assert "\r" not in text
    for noise in ("💡", "deprecat", "GPU available", "Seed set", "UserWarning"):
        assert noise.lower() not in text.lower()


def fits(text, columns):
    """No line is longer than the terminal is wide, except paths, which stay whole."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line for part in plain.split("\n") for line in part.rstrip("\r").split("\r")]
    path = re.compile(r"runs/|--logdir|^ *\S+$")
    assert not [line for line in lines if not path.search(line) and len(line) > columns]


@pytest.mark.slow
def test_columns_are_respected_in_a_pipe(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    assert main(FIT) == 0
    printed = capfd.readouterr()
    assert "Diagnostics" in printed.err
    fits(printed.out + printed.err, 60)


@pytest.mark.slow
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_of_60_columns(term, tmp_path):
    code, text, _ = cli_process.run(FIT, tmp_path, columns=60, environment={"TERM": term})
    assert code == 0, text
    assert "test/accuracy" in text
    assert ("\x1b" in text) == (term != "dumb")
    fits(text, 60)


@pytest.mark.slow
def test_the_bar_is_one_line_of_80_columns_and_counts_epochs_from_1(tmp_path):
    args = [*FIT, "--trainer.max_epochs", "2", "--diagnostics.enabled", "false"]
    code, text, _ = cli_process.run(args, tmp_path, columns=80, environment={"TERM": "xterm"})
    assert code == 0, text
    fits(text, 80)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    bars = [line for line in re.split(r"[\r\n]+", plain) if line.startswith("Epoch ")]
    assert {line.split()[1] for line in bars} == {"1/2", "2/2"}
    assert re.search(r"41/41 00:0\d val/loss: \d\.\d{4} val/accuracy: \d\.\d{4}$", bars[-1].rstrip())


WITHOUT_RICH = """
import importlib.metadata as metadata, sys
found = metadata.Distribution.from_name
def from_name(name):
    if name == "rich":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.Distribution.from_name = from_name
sys.modules["rich"] = None
from nnfoundations.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_without_rich(tmp_path):
    """As if it was not installed: neither its package nor its metadata is found."""
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)  # it would override the width of the terminal
    command = [sys.executable, "-c", WITHOUT_RICH, *FIT]
    code, text = cli_process.on_terminal(
        lambda: subprocess.run(command, cwd=tmp_path, env=environment).returncode, 60
    )
    assert code == 0, text
    assert "test/accuracy" in text
    assert "Epoch 1/1" in text
    fits(text, 60)


WITHOUT_TORCH = [
    "fti",
    "fit digits",
    "fit --config digit",
    "fit --config mine.yaml",
    "fit --config digits --trainer.max_epochs",
    "check --config digits --json=yes",
    "explain ded-units",
    "diagnose nowhere",
    "data mnits",
    "data --rot x",
    "doctor digits",
    "configs digits",
    "completion zsh",
]


def test_a_mistake_that_needs_no_parser_is_found_without_torch(tmp_path):
    """Importing torch and Lightning takes seconds."""
    code = "import json, sys; from nnfoundations.cli import main; "
    code += "codes = [main(line.split()) for line in json.loads(sys.argv[1])]; "
    code += "print(json.dumps([codes, sorted(set(json.loads(sys.argv[2])) & set(sys.modules))]))"
    slow = ["torch", "lightning", "numpy", "jsonargparse"]
    command = [sys.executable, "-c", code, json.dumps(WITHOUT_TORCH), json.dumps(slow)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    codes, imported = json.loads(done.stdout)
    assert codes == [2] * len(WITHOUT_TORCH)
    assert imported == []
    assert len(done.stderr.splitlines()) == 2 * len(WITHOUT_TORCH)


@pytest.mark.slow
def test_names_of_checkpoints_count_epochs_from_1(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = ["--checkpoint.filename", "{epoch}", "--checkpoint.save_top_k", "-1"]
    few = [f"--trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]
    few.append("--trainer.log_every_n_steps=1")
    args = [*FIT, "--trainer.max_epochs", "2", *name, *few, "--diagnostics.enabled", "false", "--quiet"]
    assert main(args) == 0
    files = {path.name for path in tmp_path.glob("runs/digits/*/checkpoints/*")}
    assert files == {"epoch=1.ckpt", "epoch=2.ckpt", "last.ckpt"}
