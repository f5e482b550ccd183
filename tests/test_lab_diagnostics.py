"""The lab of diagnostics: its faults, what is read from a run, the checklist, the game, and its checks."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nnfoundations import nn
from nnfoundations.diagnostics import RULES
from nnfoundations.labs import Results
from nnfoundations.labs.diagnostics import checks, game
from nnfoundations.labs.diagnostics.broken import (
    DeadMLP,
    ListedMLP,
    LogOfSoftmax,
    NegativeCrossEntropy,
    RowRNN,
    SoftmaxMLP,
)
from nnfoundations.labs.diagnostics.catalogue import CHECKS, FAULTS, SOUND, SYMPTOMS
from nnfoundations.labs.diagnostics.data import SomeDigitsDataModule
from nnfoundations.labs.diagnostics.lab import LAB
from nnfoundations.labs.diagnostics.measure import explosion, rise, symptom
from nnfoundations.labs.diagnostics.tables import checklist_order, false_alarms, recovered

SIZES = [784, 16, 16, 10]


def images(count=32):
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_every_fault_has_its_arms_and_a_name_that_a_rule_gives():
    arms = {arm.name for arm in LAB.arms}
    known = {rule.fault for rule in RULES}
    for name, fault in FAULTS.items():
        assert {name, fault.fixed_arm, fault.sound} <= arms
        assert set(fault.named) <= known
    assert len(FAULTS) == 16
    assert len(SOUND) * LAB.presets["full"].seeds >= 20, "sound runs for false alarms"


def test_the_faults_are_in_the_networks():
    torch.manual_seed(0)
    assert not DeadMLP(SIZES).layers[:5](images()).any(), "no unit of the second layer is above 0"
    assert torch.allclose(SoftmaxMLP(SIZES)(images()).sum(1), torch.ones(32))
    assert [name for name, _ in ListedMLP(SIZES).named_parameters()] == ["last.weight", "last.bias"]
    assert RowRNN(2.0)(images()).norm() > 1e3 * RowRNN()(images()).norm()


def test_the_faults_are_in_the_losses():
    logits, y = torch.tensor([[0.0, 3.0], [2.0, 0.0]]), torch.tensor([0, 0])
    assert LogOfSoftmax()(logits, y).isinf()
    assert NegativeCrossEntropy()(logits, y) == -nn.CrossEntropyLoss()(logits, y)


@pytest.mark.data("MNIST")
def test_the_faults_are_in_the_data():
    def first(**options):
        data = SomeDigitsDataModule(**options)
        data.setup("fit")
        ((x, y),) = data.val_dataloader()
        return x, y

    x, y = first()
    other_x, other_y = first(shuffle_labels=True)
    assert torch.equal(x, other_x)
    assert 0.05 < (y == other_y).float().mean() < 0.15
    raw, _ = first(normalize=False, scale=255)
    assert raw.max() == pytest.approx(255)


@pytest.mark.parametrize(
    ("losses", "rises", "accuracy", "name"),
    [
        ([2.3, math.nan], 0, 10, "NaN or infinity"),
        ([-2.3, -90.0], 0, 10, "loss below 0"),
        ([2.5, 104.0], 0, 10, "loss ends above its start"),
        ([2.5, 2.3], 1, 10, "loss stays at that of guessing"),
        ([2.5, 0.1], 1, 80, "validation loss rises"),
        ([2.5, 0.9], 0, 70, "accuracy below 85 %"),
        ([2.5, 0.2], 0, 94, "none in the curves"),
    ],
)
def test_the_symptom_is_the_first_that_applies(losses, rises, accuracy, name):
    assert symptom(np.repeat(losses, [1, 30]), rises, accuracy) == name


def test_when_a_loss_explodes_and_a_validation_loss_rises():
    assert explosion(np.array([2.0, 3.9, 4.1, 1.0])) == 2
    assert explosion(np.array([2.0, math.nan])) == 1
    assert math.isnan(explosion(np.array([2.0, 1.0])))
    assert rise([(10, 1.0), (20, 0.5), (30, 0.56), (40, 0.7)]) == 30
    assert rise([(10, 1.0), (20, 0.5), (30, 0.7), (40, 0.5), (50, 0.6)]) == 50
    assert math.isnan(rise([(10, 1.0), (20, 1.2), (30, 0.9)]))


def write(folder, rows, texts=()):
    """Results with these columns by (arm, seed); the other columns of checks are 0."""
    columns = ["accuracy", "symptom", "named", *CHECKS]
    with (folder / "results.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["arm", "seed", "state", *columns])
        for (arm, seed), values in rows.items():
            table.writerow([arm, seed, "finished", *(values.get(column, 0) for column in columns)])
    (folder / "timings.csv").write_text("arm,seed,seconds,cpu_seconds\n")
    (folder / "curves.csv").write_text("arm,seed,curve,x,y\n")
    (folder / "machine.json").write_text(json.dumps({"preset": "full", "machines": []}))
    if texts:
        lines = [f"{arm},{seed},{name},{text}" for arm, seed, name, text in texts]
        (folder / "texts.csv").write_text("\n".join(["arm,seed,text,content", *lines]))
    return Results(folder)


def test_the_checklist_begins_with_what_catches_most_and_goes_on_with_what_adds_most(tmp_path):
    results = write(tmp_path, {
        ("softmax", 0): {"one_batch": 1, "falls": 1}, ("labels", 0): {"falls": 1},
        ("not_zeroed", 0): {"one_batch": 1, "falls": 1}, ("overfitting", 0): {"rises": 1},
        ("plain", 0): {"rises": 1}, ("plain", 1): {},
    })  # fmt: skip
    order = checklist_order(results, ("one_batch", "falls", "rises"))
    assert [(check, len(caught), len(new)) for check, caught, new in order] == [
        ("falls", 3, 3), ("rises", 1, 1), ("one_batch", 2, 0)]  # fmt: skip
    assert false_alarms(results, "rises") == (1, 2)


def test_recovered_is_the_part_of_the_way_to_the_sound_run(tmp_path):
    rows = {("rate_low", 0): {"accuracy": 10}, ("rate_low", 1): {"accuracy": 89},
            ("rate_low_fixed", 0): {"accuracy": 70}, ("rate_low_fixed", 1): {"accuracy": 90},
            ("plain", 0): {"accuracy": 90}, ("plain", 1): {"accuracy": 90}}  # fmt: skip
    part = recovered(write(tmp_path, rows), "rate_low")
    assert part[0] == pytest.approx(0.75)
    assert math.isnan(part[1]), "the fault costs too little"


def test_the_game_draws_the_same_runs_each_time_and_shows_texts(tmp_path):
    rows = {(arm, seed): {} for arm in [*FAULTS, "plain"] for seed in range(5)}
    results = write(
        tmp_path, rows, [(arm, seed, "fault", "dead-units") for arm in FAULTS for seed in range(5)]
    )
    hidden = game.draw(results)
    assert hidden == game.draw(Results(tmp_path))
    assert len({arm for arm, _ in hidden}) == game.RUNS
    assert "dead-units" in game.show_findings(results, game.solution(results)).data
    assert "10 of 10" in game.show_names(results, game.solution(results)).data


def test_wrong_names_are_part_of_the_game_but_not_at_its_end(tmp_path, capsys):
    results = write(tmp_path, {("softmax", 0): {}, ("sign", 0): {}})
    right = game.solution(results)
    swapped = {1: right[2], 2: right[1]}
    checks.check_names(swapped, results)
    checks.check_renamed(right, results)
    with pytest.raises(AssertionError, match="not yet right: run 1, 2"):
        checks.check_renamed(swapped, results)
    with pytest.raises(AssertionError, match="name the runs 1 to 2"):
        checks.check_names({1: "sign"}, results)
    with pytest.raises(AssertionError, match="got 'sing'"):
        checks.check_names({1: "sing", 2: "sign"}, results)


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (checks.check_symptom, lambda losses: None, "end the function"),
        (checks.check_symptom, lambda losses: "up", "return one of"),
        (checks.check_symptom, lambda losses: "falls", "is 'explodes'"),
        (checks.check_update_ratio, lambda a, b: np.linalg.norm(b - a), "divide by the norm"),
        (checks.check_update_ratio, lambda a, b: np.linalg.norm(a) / np.linalg.norm(b - a), "the reverse"),
        (checks.check_update_ratio, lambda a, b: np.linalg.norm(b) / np.linalg.norm(a) - 1, "not the change"),
        (checks.check_dead_share, lambda y: (y == 0).mean(), "a zero is healthy"),
        (checks.check_dead_share, lambda y: (y == 0).all(1).mean(), "units are the columns"),
    ],
)
def test_a_wrong_answer_is_named(check, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(wrong)


def test_every_symptom_has_a_name_of_its_own():
    assert len(set(SYMPTOMS)) == len(SYMPTOMS)


def test_committed_runs_are_named():
    results = Results(Path(__file__).parent.parent / "docs" / "labs" / "diagnostics")
    named = {arm: results.values(arm, "named").mean() for arm in FAULTS}
    assert min(named.values()) >= 0.8, named
