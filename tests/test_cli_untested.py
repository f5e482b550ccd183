"""`fit` that does not test at its end, and `fit` that stops early with the best weights."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer

from nnfoundations.cli import main

DIGITS = ["--config", "digits", "--diagnostics.enabled", "false", "--model.lr_scheduler", "null"]
DIGITS += ["--trainer.limit_train_batches", "10"]
RISES = ["--model.optimizer.lr", "0.3", "--trainer.max_epochs", "40"]
"""With this rate the validation loss rises and falls from epoch to epoch."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(capsys: Any) -> dict[str, str]:
    """The lines of the summary by their first word."""
    printed = capsys.readouterr().out
    return dict(re.findall(r"^(\w+)  +(.*)$", printed, re.MULTILINE))


def refused(capsys: Any, *args: str) -> str:
    assert main(["fit", *DIGITS, *args]) == 2
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 2
    assert not Path("runs").exists() or not list(Path("runs").glob("*/*"))
    return str(printed)


def test_no_test_and_how_to_test_later(here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    setup = LightningModule.setup
    monkeypatch.setattr(
        LightningModule, "setup", lambda self, stage: seen.append(stage) or setup(self, stage)
    )
    assert main(["fit", *DIGITS, "--test", "false", "--trainer.max_epochs", "1"]) == 0
    assert seen == ["fit"]
    printed = lines(capsys)
    assert not any(name.startswith("test/") for name in printed)
    command = printed["Test"].partition("nnfoundations ")[2]
    assert command.startswith("test --config digits ")
    assert "--test" not in command.split()
    (best,) = here.glob("runs/digits/*/checkpoints/best.ckpt")
    assert command.endswith(f"--ckpt_path {best.relative_to(here)}")
    assert main(shlex.split(command)) == 0
    printed = capsys.readouterr().out
    assert "test/accuracy " in printed
    assert f"Checkpoint {best.relative_to(here)}" not in printed, "it is named once, in the command"


@pytest.mark.slow
def test_the_config_of_an_untested_run_can_be_tested(here: Path, capsys: Any) -> None:
    assert main(["fit", *DIGITS, "--test", "false", "--trainer.max_epochs", "1", "--quiet"]) == 0
    (config,) = here.glob("runs/digits/*/config.yaml")
    assert yaml.safe_load(config.read_text())["test"] is False
    (best,) = here.glob("runs/digits/*/checkpoints/best.ckpt")
    capsys.readouterr()
    assert main(["test", "--config", str(config), "--ckpt_path", str(best)]) == 0
    assert "test/accuracy " in capsys.readouterr().out


def test_stops_early_and_tests_the_best_weights(
    here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[dict[str, torch.Tensor]] = []
    test = Trainer.test

    def recorded(trainer: Trainer, model: LightningModule, **options: Any) -> Any:
        results = test(trainer, model, **options)
        tested.append({name: value.clone() for name, value in model.state_dict().items()})
        return results

    monkeypatch.setattr(Trainer, "test", recorded)
    assert main(["fit", *DIGITS, *RISES, "--early_stopping.patience", "3"]) == 0
    out = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"^Epoch .* val/loss ([\d.]+)", out, re.MULTILINE)]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 3 < 40
    assert f"Stopped      after epoch {best + 3}: val/loss did not improve in 3 validations\n" in out
    assert f"Tested       the weights of epoch {best}, the best: val/loss {min(losses):.4f}\n" in out
    (path,) = here.glob("runs/digits/*/checkpoints/best.ckpt")
    saved = torch.load(path, weights_only=True)
    assert saved["epoch"] == best - 1
    (weights,) = tested
    for name, value in saved["state_dict"].items():
        if name.startswith("net."):
            assert torch.equal(weights[name], value)


@pytest.mark.slow
def test_a_resumed_run_counts_on_with_its_own_patience(here: Path, capsys: Any) -> None:
    assert main(["fit", *DIGITS, *RISES, "--early_stopping.patience", "2", "--test", "false"]) == 0
    first = lines(capsys)
    assert first["Best"]
    epochs = int(first["Stopped"].split()[2].rstrip(":"))
    more = ["--early_stopping.patience", "4", "--ckpt_path", "last", "--test", "false"]
    assert main(["fit", *DIGITS, *RISES, *more]) == 0
    out = capsys.readouterr().out
    resumed = [int(epoch) for epoch in re.findall(r"^Epoch (\d+)/", out, re.MULTILINE)]
    assert resumed[0] == epochs + 1
    assert len(resumed) >= 2, "two of the four validations are left"
    assert "did not improve in 4 validations" in out or resumed[-1] == 40


@pytest.mark.slow
def test_without_patience_nothing_stops(here: Path, capsys: Any) -> None:
    assert main(["fit", *DIGITS, "--trainer.max_epochs", "2", "--early_stopping.min_delta", "9"]) == 0
    out = capsys.readouterr().out
    assert "Epoch 2/2" in out
    assert "Stopped" not in out


def test_a_loss_that_is_not_finite_stops_the_run(here: Path, capsys: Any) -> None:
    flags = ["--model.optimizer.lr", "1e20", "--early_stopping.patience", "5", "--trainer.max_epochs", "9"]
    assert main(["fit", *DIGITS, *flags]) == 0
    assert lines(capsys)["Stopped"] == "after epoch 1: val/loss is not finite"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--early_stopping.patience", "0"], "`early_stopping.patience` cannot be `0`"),
        (
            ["--early_stopping.patience", "2", "--early_stopping.min_delta", "-1"],
            "min_delta` cannot be `-1.0`",
        ),
        (["--early_stopping.patience", "2", "--checkpoint.monitor", "null"], "needs a metric"),
        (["--early_stopping.patience", "2", "--checkpoint.save_top_k", "0"], "needs the best checkpoint"),
        (["--early_stopping.patience", "soon"], "`early_stopping.patience` cannot be `soon`"),
        (["--early_stopping.pateince", "2"], "Did you mean `--early_stopping.patience`"),
        (["--test", "maybe"], "`test` cannot be `maybe`"),
    ],
)
def test_options_that_cannot_work(here: Path, capsys: Any, flags: list[str], message: str) -> None:
    assert message in refused(capsys, *flags)
