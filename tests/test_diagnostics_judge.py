"""From measurements to findings without a network: histories written by hand or read from a file."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from faults import FAULTS
from zoo import run

from nnfoundations.diagnostics import (
    RULES,
    Event,
    Family,
    Finding,
    History,
    Judge,
    LayerFacts,
    ParameterFacts,
    Series,
    Severity,
    diagnose,
)
from nnfoundations.diagnostics._arbiter import arbitrate
from nnfoundations.diagnostics._judge import RuleState
from nnfoundations.diagnostics._quantities import QUANTITIES
from nnfoundations.diagnostics._transfer import record_named
from nnfoundations.diagnostics.rules._data import UnscaledInputs

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def history_with_inputs(*sizes):
    history = History()
    for step, rms in enumerate(sizes):
        history.record("input", step, ("rms", "spread", "samples"), [rms, 0.5, 64])
    return history


def judged(judge, sizes):
    """Return the findings after each measurement."""
    history, known = History(), []
    for step, rms in enumerate(sizes):
        history.record("input", step, ("rms", "spread", "samples"), [rms, 0.5, 64])
        judge.update(history, step)
        known.append([(f.fault, f.resolved) for f in judge.findings])
    return known


class Statistical(UnscaledInputs):
    """A rule that reads a single number, so several measurements must confirm it."""

    confirmations = 3

    def judge(self, history):
        if history["input"].column("rms")[-1] < self.high:
            return None
        return self.suspect(history["input"].steps[-1], (), "e", "c", "r")


def test_three_of_five_looks_confirm_and_five_quiet_ones_resolve():
    steps = judged(Judge([Statistical()]), [300.0, 1.0, 300.0, 1.0, 300.0] + [1.0] * 6)
    assert steps[3] == []
    assert steps[4] == [("unscaled-inputs", False)]
    assert steps[8] == [("unscaled-inputs", False)]
    assert steps[9] == [("unscaled-inputs", True)]


def test_two_of_five_looks_are_too_few():
    assert not any(judged(Judge([Statistical()]), [300.0, 1.0, 300.0, 1.0, 1.0, 300.0] + [1.0] * 4))


def test_one_odd_look_is_none():
    assert all(known == [] for known in judged(Judge(), [1.0] * 5 + [300.0] + [1.0] * 10))


def test_a_rule_is_asked_only_about_new_evidence():
    """Measurements of gradients do not count as measurements of activations."""
    judge, history = Judge([Statistical()]), history_with_inputs(300.0, 300.0)
    for step in range(10):
        judge.update(history, step)
    assert judge.findings == []


@pytest.mark.parametrize(
    "mute",
    [
        "unscaled-inputs",
        ["unscaled-inputs"],
        "unscaled-*",
        "unscaled-inputs:net.*",
        ["dead-*", "*-inputs:n*"],
    ],
)
def test_mute(mute):
    history = history_with_inputs(*[300.0] * 5)
    history.layers = {"net.0": LayerFacts("Linear", "weighted", "net.0", 8)}
    judge = Judge(mute=mute)
    for step in range(5):
        judge.update(history.until(step), step)
    assert judge.findings == []
    assert [f.fault for f in diagnose(history, mute=["unscaled-inputs:other.*"])] == ["unscaled-inputs"]


def test_what_is_muted_still_explains_its_symptoms():
    history = history_with_inputs(*[300.0] * 6)
    history.layers = {"net.1": LayerFacts("ReLU", "activation", "net.0", 8)}
    for step in range(6):
        history.record("dead_share", step, ("net.1",), [1.0])
        history.record("loss", step, ("loss",), [1.0])
    assert [f.consequences for f in diagnose(history)] == [("dead-units",)]
    assert diagnose(history, mute=["unscaled-inputs"]) == []


def case(step, fault, *where):
    suspicion = next(iter(RULES)).suspect(step, where, "e", "c", "r")
    return RuleState(
        suspicion=SimpleNamespace(**{**vars(suspicion), "fault": fault}),
        first_step=step,
        last_step=step,
        confirmed=True,
    )


def told(**steps):
    """Return causes and symptoms for faults that were confirmed at these steps."""
    cases = {name.replace("_", "-"): case(step, name.replace("_", "-")) for name, step in steps.items()}
    known = {rule.fault: rule for rule in RULES}
    return [(f.fault, f.consequences) for f in arbitrate((known[fault], c) for fault, c in cases.items())]


def test_the_arbiter_tells_causes_from_symptoms():
    assert told(dead_units=20, learning_rate_too_high=0) == [("learning-rate-too-high", ("dead-units",))]
    assert told(dead_units=5, unscaled_inputs=10) == [("unscaled-inputs", ("dead-units",))]
    # Outside the window the step decides: the units were dead before the rate rose.
    assert told(dead_units=5, learning_rate_too_high=300) == [
        ("dead-units", ()),
        ("learning-rate-too-high", ()),
    ]
    assert told(parameter_not_in_optimizer=0, learning_rate_too_low=60) == [
        ("parameter-not-in-optimizer", ()),
        ("learning-rate-too-low", ()),
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.fault)
def test_the_declaration_of_a_rule_is_complete(rule):
    faults = [other.fault for other in RULES]
    assert faults.count(rule.fault) == 1
    assert rule.family in list(Family)
    assert set(rule.explains) <= {*faults, *Family} - {rule.fault, rule.family}
    assert set(rule.needs) <= set(QUANTITIES)


def test_the_list_of_rules_is_in_causal_order():
    ranks = [Family.rank(rule.family) for rule in RULES]
    assert ranks == sorted(ranks)


def test_series_keeps_its_start_and_spans_the_run():
    series = Series(("a",), capacity=128)
    for step in range(10_000):
        series.append(step, [float(step)])
    assert len(series) <= 128
    assert list(series.steps[:32]) == list(range(32))
    assert series.steps[-1] == 9999
    assert (np.diff(series.steps) > 0).all()
    assert (series.column("a") == series.steps).all()
    # No part between is dropped entirely.
    assert np.diff(series.steps).max() < 5000


def test_between_and_last_are_views_of_the_steps():
    series = Series(("a", "b"), capacity=16)
    for step in (1, 3, 5, 9):
        series.append(step, [step, -step])
    assert list(series.between(2, 5).steps) == [3, 5]
    assert series.last(2).column("b").tolist() == [-5, -9]
    assert len(series.between(20)) == 0


@pytest.mark.parametrize("cause", ["vanishing-gradients", "dead-units", "saturated-units", "no-gradient"])
def test_the_structural_cause_comes_before_a_rate(cause):
    """No rate helps a network whose first layers get no gradient."""
    assert told(learning_rate_too_low=0, **{cause.replace("-", "_"): 5}) == [
        (cause, ("learning-rate-too-low",))
    ]


@pytest.mark.parametrize("rows", [1, 7, 100, 5000])
def test_several_rows_at_once_are_kept_as_single_ones(rows):
    one, several = History(capacity=64), History(capacity=64)
    steps, values = np.arange(5000), np.random.default_rng(0).normal(size=(5000, 1))
    for step, row in zip(steps, values, strict=True):
        one.record("loss", int(step), ("loss",), row)
    for first in range(0, 5000, rows):
        part = slice(first, first + rows)
        several.extend("loss", steps[part], ("loss",), values[part])
    assert one.state_dict() == several.state_dict()


def test_a_history_that_was_saved_thins_out_as_one_that_was_not(tmp_path):
    straight, broken_off = History(capacity=128), History(capacity=128)
    for step in range(1000):
        for history in (straight, broken_off):
            history.record("input", step, ("rms",), [float(step)])
        if step in (40, 500):
            state, broken_off = broken_off.state_dict(), History(capacity=128)
            broken_off.load_state_dict(state)
            History().load_state_dict(state)  # must leave it unchanged
    assert np.array_equal(broken_off["input"].steps, straight["input"].steps)
    straight.save(tmp_path / "history.npz")
    again = History.load(tmp_path / "history.npz")["input"]
    assert (again.numbers == straight["input"].numbers).all()
    assert again.seen == 1000


def test_layers_that_are_skipped_at_random_keep_their_series():
    history = History()
    history.layers = dict.fromkeys(("a", "b", "c"), LayerFacts("ReLU", "activation", "a", 8))
    for step, names in enumerate(("ac", "abc", "b")):
        record_named(history, "dead_share", step, {name: float(step) for name in names}, history.layers)
    series = history["dead_share"]
    assert series.columns == ("a", "b", "c")
    assert series.steps.tolist() == [0, 1, 2]
    assert np.isnan(series.rows).tolist() == [[False, True, False], [False] * 3, [True, False, True]]


@pytest.fixture(scope="module")
def broken_run():
    fault = next(f for f in FAULTS if f.id == "dead-units/bias")
    broken = fault.broken("mlp")
    return run(broken.build(), 60, broken.data)


def test_an_old_run_is_judged_again_from_its_file(broken_run, tmp_path):
    live = broken_run.history
    live.save(tmp_path / "history.npz")
    again = History.load(tmp_path / "history.npz")
    assert diagnose(again) == broken_run.findings
    assert [f.fault for f in broken_run.findings] == ["dead-units"]
    assert again.parameters == live.parameters
    assert again.layers == live.layers
    for name, series in live.series.items():
        assert np.array_equal(again[name].rows, series.rows, equal_nan=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "history.npz"]


def test_state_is_plain_and_survives_a_strict_checkpoint(broken_run, tmp_path):
    judge = Judge()
    for step in range(60):
        judge.update(broken_run.history.until(step), step)
    state = {"history": broken_run.history.state_dict(), "judge": judge.state_dict()}
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    json.dumps(loaded)  # only what JSON can store
    history, other = History(), Judge()
    history.load_state_dict(loaded["history"])
    other.load_state_dict(loaded["judge"])
    assert other.findings == judge.findings != []
    assert [f.fault for f in diagnose(history)] == ["dead-units"]


def test_a_finding_as_json():
    finding = Finding(
        "dead-units", Severity.ERROR, 1, 5, ("net.0",), "e", "c", "r", numbers={"share": np.float32(0.5)}
    )
    plain = json.loads(json.dumps(finding.as_dict()))
    assert plain["fault"] == "dead-units"
    assert plain["severity"] == "error"
    assert plain["numbers"] == {"share": 0.5}
    assert "net.0" in str(finding)


def test_rules_that_cannot_run_say_why():
    history = history_with_inputs(1.0)
    history.unavailable["validation_loss"] = "there is no validation loader"
    judge = Judge()
    judge.update(history, 0)
    assert judge.not_run(history)["overfitting"] == "there is no validation loader"
    assert "constant-inputs" not in judge.not_run(history)
    assert "no optimizer step was seen" in judge.not_run(history)["learning-rate-too-high"]


def test_events_and_facts_survive_the_file(tmp_path):
    history = history_with_inputs(1.0)
    history.events.append(Event("graph-cut", 3, ("a", "b"), {"after": "c"}))
    history.parameters = {"a.weight": ParameterFacts("a", "Linear", "matrix", (3, 4), True, 0)}
    history.save(tmp_path / "h.npz")
    again = History.load(tmp_path / "h.npz")
    assert again.events == history.events
    assert again.parameters["a.weight"].fan_in == 4


def test_noise_of_a_validation_loss_that_stays_level_is_no_overfitting():
    """Only logged, so its standard error is known only from its noise."""
    rules = [rule for rule in RULES if rule.fault == "overfitting"]
    alarmed = 0
    for seed in range(25):
        noise = np.random.default_rng(seed).standard_normal(30)
        history, judge = History(), Judge(rules)
        for check in range(30):
            for step in range(check * 5, check * 5 + 5):
                history.record("loss", step, ("loss",), [2 * np.exp(-step / 75) + 0.1])
            value = 0.5 * np.exp(-check / 4) + 0.5 * (1 + 0.15 * noise[check])
            history.record("validation_loss", step, ("loss", "error"), [value, np.nan])
            judge.update(history, step)
        alarmed += bool(judge.findings)
    assert alarmed <= 1
