"""The lab of activations: initial weights, tuning, recommendations, and the checks of its notebook."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nnfoundations import nn
from nnfoundations.errors import OptionError
from nnfoundations.labs import Results
from nnfoundations.labs._runner.statistics import Interval
from nnfoundations.labs._runner.tuning import RATE
from nnfoundations.labs.activations import checks
from nnfoundations.labs.activations.lab import ACTIVATIONS, LAB
from nnfoundations.labs.activations.measure import signal
from nnfoundations.labs.activations.network import INITS, EqualLayers, gain
from nnfoundations.labs.activations.recommendations import advice
from nnfoundations.labs.activations.tuning import GRID, TUNING


@pytest.mark.parametrize("activation", ACTIVATIONS.values())
def test_the_gain_keeps_the_mean_square(activation):
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = getattr(nn, activation)().double()(z)
    assert gain(activation) ** 2 * float((y**2).mean().detach()) == pytest.approx(1, rel=0.01)


def test_the_gain_of_relu_is_he_s():
    torch.manual_seed(0)
    own = EqualLayers(3, "ReLU", "own")
    torch.manual_seed(0)
    he = EqualLayers(3, "ReLU", "he")
    assert gain("ReLU") == pytest.approx(math.sqrt(2), rel=1e-12)
    for a, b in zip(own.parameters(), he.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_an_unknown_activation_or_init_is_named():
    with pytest.raises(OptionError, match="Rulu"):
        EqualLayers(2, "Rulu")
    with pytest.raises(OptionError, match="orthogonal"):
        EqualLayers(2, "ReLU", "orthogonal")


@pytest.mark.parametrize("init", INITS)
def test_signal_has_a_number_for_each_layer_and_repeats(init):
    spread, gradients = signal("ReLU", init, 3)
    assert len(spread) == len(gradients) == 20
    assert signal("ReLU", init, 3) == (spread, gradients)
    assert (max(gradients) == 0) == (init == "zeros")


def test_every_arm_runs_at_its_own_tuned_rate():
    chosen = TUNING.rates()
    assert set(chosen) == {arm.name for arm in LAB.arms}
    for arm in LAB.arms:
        assert arm.options[-2:] == (RATE, str(chosen[arm.name]))
        tried = TUNING.trials()[arm.name]
        assert set(GRID) <= set(tried), "the same grid for all"
        assert min(tried) < chosen[arm.name] < max(tried), "not at an end of what was tried"


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Interval(1.0, 0.6, 1.4, 5), "Better than ReLU"),
        (Interval(-1.0, -1.4, -0.6, 5), "Worse than ReLU"),
        (Interval(0.0, -0.4, 0.4, 5), "As accurate as ReLU"),
        (Interval(-0.4, -0.7, -0.1, 5), "Worse than ReLU; whether"),
        (Interval(0.4, 0.1, 0.7, 5), "Better than ReLU; whether"),
        (Interval(0.4, -0.1, 0.9, 5), "is not excluded"),
    ],
)
def test_advice_follows_from_the_interval(difference, words):
    assert words in advice(difference, 1.0, gradient=0.5, growth=1.0)
    assert "25 % more time" in advice(difference, 1.25, gradient=0.5, growth=1.0)
    assert "gradients vanish" in advice(difference, 1.0, gradient=1e-9, growth=1.0)
    assert "with normalization" in advice(difference, 1.0, gradient=0.5, growth=30.0)


def relu(x):
    return np.maximum(x, 0)


def forward(function, gain, layers, *, seed=lambda layer: layer, size=lambda x: np.sqrt(np.mean(x**2))):
    """A right answer to the third task, or a wrong one."""
    x, found = np.random.default_rng(99).standard_normal((100, 256)), []
    for layer in range(layers):
        weight = np.random.default_rng(seed(layer)).standard_normal((256, 256)) * gain / 16
        x = function(x @ weight.T)
        found.append(float(size(x)))
    return found


def test_right_answers_pass():
    checks.check_spreads(forward)
    checks.check_gain(lambda f: np.mean(f(np.random.default_rng(0).standard_normal(100_000)) ** 2) ** -0.5)
    checks.check_distinct(lambda w: len(np.unique(np.round(w, 6), axis=0)))


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (checks.check_gain, lambda f: None, "end the function with `return`"),
        (checks.check_gain, lambda f: math.sqrt(np.mean(f(np.linspace(-4, 4, 9)) ** 2)), "the gain of"),
        (checks.check_gain, lambda f: 2.0, "take the square root"),
        (checks.check_spreads, lambda f, g, n: [1.0], r"has the shape \(20,\)"),
        (checks.check_spreads, lambda f, g, n: [(g / 2**0.5) ** i for i in range(n)], "apply `function`"),
        (checks.check_spreads, lambda f, g, n: forward(f, 2 * g, n), "gain / √256"),
        (checks.check_spreads, lambda f, g, n: forward(f, g, n, seed=lambda layer: 0), "the same weights"),
        (checks.check_spreads, lambda f, g, n: forward(f, g, n, size=np.std), "mean of the squares"),
        (checks.check_distinct, lambda w: len(np.unique(w)), "five different rows"),
        (checks.check_distinct, lambda w: len(np.unique(w, axis=0)), "round first"),
        (checks.check_distinct, lambda w: len(np.unique(np.round(w), axis=0)), "not to fewer"),
        (checks.check_distinct, lambda w: len(np.unique(np.round(w[:, 0], 6))), "not the first column"),
    ],
)
def test_a_check_says_what_is_wrong(check, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(wrong)


def test_the_check_of_slopes_knows_that_sigmoid_s_takes_x():
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def leaky(x):
        return np.where(x > 0, x, 0.01 * x)

    with pytest.raises(AssertionError, match="takes x"):
        checks.check_slopes(sigmoid, lambda x: x * (1 - x), leaky, leaky)


def test_committed_runs_reach_the_goals_of_their_configs():
    results = Results(Path(__file__).parent.parent / "docs" / "labs" / "activations")
    assert results.values("deep_10_relu", "accuracy").min() >= 94
    for arm in LAB.arms:
        if arm.name.startswith("net_"):
            assert results.values(arm.name, "accuracy").min() >= 82
