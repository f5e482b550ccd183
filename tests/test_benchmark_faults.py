"""The benchmark of faulty and healthy programs: they run, and what counts is decided as the page says."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "faults"))

from checking import check, counted
from families import PROGRAMS
from judging import judge
from page import verdict
from program import KINDS
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


@pytest.mark.filterwarnings("ignore")
def test_a_run_is_judged() -> None:
    assert judge(("wine-mlp", "", 0), short=True)["error"] == ""


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
