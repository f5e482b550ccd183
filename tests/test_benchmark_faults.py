"""The benchmark of faulty and healthy programs: they run, and what counts is decided as the page says."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "faults"))

import torch
import training
from checking import check, counted
from families import PROGRAMS
from judging import judge
from lightning.pytorch import LightningModule
from page import OURS, Results, verdict
from program import KINDS, Fault, Program, Setup
from sets import loaders
from torch import Tensor, nn
from training import Key

FAULTS = {cause for causes in KINDS.values() for cause in causes}
RUNS: list[Key] = [(p.id, f, 0) for p in PROGRAMS for f in ("", *(fault.id for fault in p.faults))]
SAMPLE = ("wine-mlp", "digits-by-hand", "text-lstm", "digits-gan", "wine-graph-attention")


def row(fault: str, seed: int, metric: float, loss: float = 0.1) -> dict[str, str]:
    values = {"metric": str(metric), "loss": str(loss), "lowest_loss": "0.1", "error": ""}
    return {"program": "wine-mlp", "fault": fault, "seed": str(seed), **values}


def test_names_and_ids() -> None:
    assert len({p.id for p in PROGRAMS}) == len(PROGRAMS) >= 60
    assert len(RUNS) == len(set(RUNS)) >= 60 + len(PROGRAMS)
    assert {cause for p in PROGRAMS for fault in p.faults for cause in fault.causes} <= FAULTS


@pytest.mark.parametrize("id", SAMPLE)
@pytest.mark.filterwarnings("ignore")
def test_a_program_trains(id: str) -> None:
    assert check((id, "", 0), short=True)["error"] == ""


@pytest.mark.weekly
@pytest.mark.data("MNIST", "FashionMNIST")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", RUNS, ids=lambda key: "/".join(key[:2]))
def test_every_program_trains(key: Key) -> None:
    assert check(key, short=True)["error"] == ""


class Line(LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.net, self.lr = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), lr

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (self.net(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)


def line(fault: str) -> Setup:
    x = torch.randn(320, 4, generator=torch.Generator().manual_seed(0))
    return Setup(Line(1e9 if fault else 0.02), *loaders((x, x[:, :1], x, x[:, :1])), {"max_epochs": 4})


@pytest.mark.filterwarnings("ignore")
def test_a_run_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program outside the benchmark, whose own programs no rule may be tried on."""
    fault = Fault("huge", ("learning-rate-too-high",))
    monkeypatch.setattr(training, "PROGRAMS", (Program("line", line, 1.0, 1.0, (fault,), "val_loss"),))
    assert judge(("line", "", 0))["findings"] == ""
    assert judge(("line", "huge", 0))["findings"].startswith("learning-rate-too-high:error:0:")


def test_a_faulty_run_counts_if_it_is_harmed() -> None:
    rows = [
        row("", 0, 0.98),
        row("", 1, 0.96),
        row("raw", 0, 0.5),
        row("raw", 1, 0.96),
        row("rate-20", 0, 0.95),
    ]
    counts = {key[1:]: value for key, (value, _) in counted(rows).items()}
    assert counts == {
        ("", 0): True,
        ("", 1): True,
        ("raw", 0): True,
        ("raw", 1): False,
        ("rate-20", 0): False,
    }


def test_a_healthy_run_counts_if_it_trains() -> None:
    rows = [row("", 0, 0.98), row("", 1, 0.5), row("", 2, 0.98, loss=0.2)]
    assert [value for value, _ in counted(rows).values()] == [True, False, False]


@pytest.mark.parametrize(
    ("findings", "right"),
    [
        ("unscaled-inputs:error:0:model.0", (True, True)),
        ("learning-rate-too-high:error:0:model.0 unscaled-inputs:error:0:", (True, False)),
        ("unscaled-inputs:info:0:", (False, False)),
        ("", (False, False)),
    ],
)
def test_the_first_alarm_decides(findings: str, right: tuple[bool, bool]) -> None:
    said = verdict({**row("raw", 0, 0.4), "findings": findings}, ours=True)
    assert (said.alarm, said.first) == right


def test_all_tools_are_compared_on_the_same_runs() -> None:
    tools = dict(Results(Path(__file__).parent.parent / "docs" / "results").tools)
    whole = {verdict.key for verdict in tools.pop("Diagnostics")}
    same = [{verdict.key for verdict in verdicts} for verdicts in tools.values()]
    assert OURS[1] in tools
    assert all(keys == same[0] < whole for keys in same)
    assert {key[:2] for key in same[0]} <= {key[:2] for key in whole}
