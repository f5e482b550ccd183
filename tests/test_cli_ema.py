"""`fit` with Lightning's average of the weights: what is saved, tested, resumed, and what diagnostics say."""

import re
from pathlib import Path
from typing import Any

import cli_process
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from test_cli_resume import at, equal

from nnfoundations.cli import main

FIT = ["fit", "--config", "digits", "--trainer.max_epochs", "3"]
EMA = ["--trainer.callbacks+=EMAWeightAveraging", "--trainer.callbacks.decay", "0.95"]


class OwnAverage(Callback):
    """The average of the weights, computed from outside."""

    average: dict[str, torch.Tensor]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        OwnAverage.average = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        for name, value in pl_module.net.named_parameters():
            before = self.average.get(name, value.detach())
            self.average[name] = (0.95 * before + 0.05 * value.detach()).clone()


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    newest = max(folder.glob("runs/digits/*/"), key=lambda path: path.stat().st_mtime_ns)
    content: dict[str, Any] = torch.load(newest / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content


def metrics_of(printed: str) -> dict[str, str]:
    return dict(re.findall(r"^  (test/\w+) +([\d.]+)$", printed, re.MULTILINE))


@pytest.mark.slow
def test_the_average_is_saved_and_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    own = [f"--trainer.callbacks+={__name__}.OwnAverage"]
    assert main([*FIT, *EMA, *own]) == 0
    printed = capsys.readouterr()
    assert "Diagnostics: nothing found" in printed.err
    assert "Be aware" not in printed.err
    first = metrics_of(printed.out)
    saved = checkpoint(tmp_path)
    for name, value in OwnAverage.average.items():
        torch.testing.assert_close(saved["state_dict"][f"net.{name}"], value, rtol=1e-5, atol=1e-6)
        assert not torch.equal(saved["current_model_state"][f"net.{name}"], value)
    for options in ([], EMA):
        assert main(["test", "--config", "digits", *options, "--ckpt_path", "best"]) == 0
        assert metrics_of(capsys.readouterr().out) == first


@pytest.mark.slow
@pytest.mark.parametrize("place", [(1, 20), (1, 0, "validation")], ids=str)
def test_an_interrupted_run_goes_on_with_both_weights(place: tuple[Any, ...], tmp_path: Path) -> None:
    quick = [*FIT, "--diagnostics.enabled", "false", "--test", "false"]
    runs = {name: tmp_path / name for name in ("whole", "stopped")}
    for folder in runs.values():
        folder.mkdir()
    assert cli_process.run([*quick, *EMA], runs["whole"])[0] == 0
    ema = {"class_path": "EMAWeightAveraging", "init_args": {"decay": 0.95}}
    signal = at("SIGTERM", *place)[1].strip("[]")
    assert cli_process.run([*quick, "--trainer.callbacks", f"[{ema}, {signal}]"], runs["stopped"])[0] == 143
    code, _, err = cli_process.run([*quick, *EMA, "--ckpt_path", "last"], runs["stopped"])
    assert code == 0, err
    whole, resumed = checkpoint(runs["whole"]), checkpoint(runs["stopped"])
    for weights in ("state_dict", "current_model_state"):
        assert equal(whole[weights], resumed[weights])
