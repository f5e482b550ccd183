"""What single rules report about histories that are written by hand."""

import math

import pytest

from nnfoundations.diagnostics import (
    RULES,
    Event,
    History,
    LayerFacts,
    LossFacts,
    LossTerm,
    ParameterFacts,
    Severity,
    diagnose,
)
from nnfoundations.diagnostics.rules._data import UnscaledInputs
from nnfoundations.diagnostics.rules._high_learning_rate import LearningRateTooHigh
from nnfoundations.diagnostics.rules._loss import SoftmaxOverBatch, SoftmaxOverOneUnit
from nnfoundations.diagnostics.rules._units import SaturatedUnits

NAN = math.nan


def updated(losses, ratio=0.1, rate=0.1):
    """Return a history with one layer, whose losses and updates are given."""
    history = History()
    history.parameters = {"layer.weight": ParameterFacts("layer", "Linear", "matrix", (4, 4), True, 0)}
    history.loss = LossFacts("cross-entropy", classes=10, baseline=2.3)
    history.record("lr", 0, ("group 0",), [rate])
    for step, loss in enumerate(losses):
        history.record("loss", step, ("loss",), [loss])
        history.record("update_ratio", step, ("layer.weight",), [ratio if math.isfinite(loss) else NAN])
        history.record("weight_norm", step, ("layer.weight",), [1.0])
    return history


def non_finite(place, step, **detail):
    detail = {"place": place, "value": "nan", "batch": None, **detail}
    return Event("non-finite", step, ("layer",), detail)


# -- NaN and the learning rate -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "ratio", "found"),
    [
        ([2.3] * 5 + [NAN] * 10, 0.1, False),  # a batch or a layer made the NaN
        ([2.3, 50.0, *[NAN] * 12], 0.1, False),
        ([2.3, *[50.0] * 12], 0.1, False),
        ([2.3, *[NAN] * 12], 0.3, True),
        ([2.3, *[50.0] * 12], 0.3, True),
    ],
)
def test_a_loss_that_rises_is_due_to_the_rate_only_after_large_updates(losses, ratio, found):
    findings = diagnose(updated(losses, ratio), rules=[LearningRateTooHigh()])
    assert [finding.fault for finding in findings] == ["learning-rate-too-high"] * found
    assert not any("inf." in finding.evidence for finding in findings)


@pytest.mark.parametrize(
    ("place", "fault"), [("input", "non-finite-input"), ("loss", "unstable-loss-function")]
)
def test_nan_in_a_batch_or_in_the_loss_is_the_only_finding(place, fault):
    history = updated([2.3, *[NAN] * 25], ratio=0.3)
    history.events.append(non_finite(place, 1))
    (finding,) = diagnose(history)
    assert finding.fault == fault
    assert "learning-rate-too-high" in finding.consequences


def test_nan_that_a_layer_makes_is_its_own_cause():
    history = updated([2.3] * 5 + [NAN] * 20)
    history.events.append(non_finite("forward", 5))
    assert [finding.fault for finding in diagnose(history)] == ["non-finite"]


def test_a_loss_without_a_value_is_called_not_finite():
    history = updated([2.3] * 5 + [NAN] * 20)
    history.events.append(non_finite("loss", 5, value=""))
    (finding,) = diagnose(history)
    assert "the loss is NaN or infinite, although" in finding.evidence


@pytest.mark.parametrize(("rate", "remedy"), [(0.5, "rate (now 0.5), or"), (NAN, "rate, or")])
def test_weights_that_an_update_made_nan_need_smaller_updates(rate, remedy):
    history = updated([2.3] * 5 + [NAN] * 20, ratio=0.01, rate=rate)
    history.events.append(non_finite("weights", 5))
    (finding,) = diagnose(history)
    assert finding.remedy == f"An earlier update made them: lower the learning {remedy} clip gradients."


@pytest.mark.parametrize("ratio", [0.21, 5.0])
def test_the_size_of_the_updates_at_the_suggested_rate(ratio):
    (finding,) = diagnose(updated([2.3, *[50.0] * 12], ratio), rules=[LearningRateTooHigh()])
    assert "updates are then 0.02 of the weights." in finding.remedy


def test_numbers_of_a_finding_are_finite():
    history = updated([2.3, *[50.0] * 12], ratio=0.3, rate=NAN)
    (finding,) = diagnose(history, rules=[LearningRateTooHigh()])
    assert finding.numbers == {"update_ratio": pytest.approx(0.3)}


# -- the loss ----------------------------------------------------------------------------------------------


def with_term(**term):
    history = History()
    history.loss = LossFacts("unknown", terms=(LossTerm(**term),), reads=2)
    history.record("loss", 0, ("loss",), [1.0])
    return history


@pytest.mark.parametrize("activation", ["", "relu", "tanh", "sigmoid"])
def test_cross_entropy_of_one_output_after_any_activation(activation):
    term = {"kind": "cross-entropy", "node": "NllLoss", "activation": activation}
    history = with_term(**term, layer=True, shape=(8, 1), axis=1, length=1)
    (finding,) = diagnose(history, rules=[SoftmaxOverOneUnit()])
    assert finding.evidence.startswith("Cross-entropy gets one output per sample")


@pytest.mark.parametrize(
    ("shape", "found", "remedy"),
    [((8, 3), "the 3 outputs", "Set dim=-1"), ((8, 3, 5, 6), "the 3 outputs", "Set dim=1")],
)
def test_the_axis_of_the_classes(shape, found, remedy):
    term = {"kind": "log-likelihood", "node": "NllLoss", "activation": "softmax", "layer": True}
    history = with_term(**term, shape=shape, axis=0, length=8, over_batch=True)
    (finding,) = diagnose(history, rules=[SoftmaxOverBatch()])
    assert found in finding.evidence
    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("cause", "symptom"),
    [
        ("output-activation-mismatch", "no-gradient"),
        ("softmax-before-cross-entropy", "no-gradient"),
        ("targets-out-of-range", "unstable-loss-function"),
        ("softmax-over-one-unit", "loss-needs-log-probabilities"),
    ],
)
def test_a_wrong_loss_explains_what_follows(cause, symptom):
    assert symptom in next(rule for rule in RULES if rule.fault == cause).explains


# -- inputs and units --------------------------------------------------------------------------------------


def scaled(rms, losses):
    history = History()
    history.loss = LossFacts("cross-entropy", classes=10, baseline=2.3)
    for step, loss in enumerate(losses):
        history.record("input", step, ("rms", "spread", "samples"), [rms, 0.5, 64])
        history.record("loss", step, ("loss",), [loss])
    return diagnose(history, rules=[UnscaledInputs()])


@pytest.mark.parametrize(
    ("losses", "severity"),
    [
        ([2.3] * 3, Severity.WARNING),
        ([2.3] * 100, Severity.ERROR),
        ([90.0] * 50 + [1.0] * 50, Severity.WARNING),
        ([2000.0] * 50 + [9.0] * 50, Severity.ERROR),
        ([2.3, NAN], Severity.ERROR),
    ],
    ids=["short", "stuck", "learning", "worse-than-guessing", "nan"],
)
def test_large_inputs_are_an_error_only_if_the_run_does_not_train(losses, severity):
    assert [finding.severity for finding in scaled(130.0, losses)] == [severity]
    assert scaled(1.0, losses) == []


def saturated(**std):
    history = History()
    history.layers = {
        "net.0": LayerFacts("Tanh", "activation", "net.0", 8),
        "net.1": LayerFacts("Linear", "weighted", "net.1", 8),
        "net.2": LayerFacts("Tanh", "activation", "net.1", 8),
        "net.3": LayerFacts("Linear", "weighted", "net.3", 1),
    }
    worst = "net.2" if std else "net.0"
    for step in range(3):
        history.record("saturated_share", step, (worst,), [0.9])
        history.record("activation_std", step, ("net.1",), [std.get("std", 1.0)])
        history.record("loss", step, ("loss",), [1.0])
    (finding,) = diagnose(updated_with(history), rules=[SaturatedUnits()])
    return finding


def updated_with(history):
    """Give the history enough losses for rules about tendencies."""
    for step in range(3, 30):
        history.record("loss", step, ("loss",), [1.0])
        history.record("saturated_share", step, history["saturated_share"].columns, [0.9])
    return history


def test_saturated_units_after_inputs_and_after_a_layer():
    first = saturated()
    assert "standard deviation" not in first.evidence
    assert first.remedy.startswith("Scale what enters net.0")
    assert "input_std" not in first.numbers
    later = saturated(std=9.0)
    assert "has a standard deviation of 9 (healthy: 1 to 2)." in later.evidence
    assert later.remedy.startswith("Use smaller weights in net.1")
