"""The autograd lab: its checks of gradients find wrong ones, those of the reader's code name the mistake."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnfoundations import autograd
from nnfoundations.autograd import OPERATIONS, Value
from nnfoundations.labs.autograd import checks
from nnfoundations.labs.autograd.data import split_digits
from nnfoundations.labs.autograd.drawing import places
from nnfoundations.labs.autograd.gradcheck import (
    check_operations,
    difference_errors,
    gradient_error,
    loss_of,
    passes_gradcheck,
)

erf = np.vectorize(math.erf)


def test_every_operation_is_checked_and_a_wrong_one_is_found(monkeypatch):
    rows = check_operations()
    assert [name for name, *_ in rows] == list(OPERATIONS)
    assert all(passes and error < 1e-8 for _, _, error, passes in rows)

    right = OPERATIONS["gelu"]
    wrong = replace(right, backward=lambda g, y, a: (1.0005 * right.backward(g, y, a)[0],))
    monkeypatch.setitem(OPERATIONS, "gelu", wrong)
    found = {name: (error, passes) for name, _, error, passes in check_operations()}
    assert found["gelu"][0] > 1e-4
    assert not found["gelu"][1]


def test_the_gradients_of_a_network_are_torchs_and_a_wrong_derivative_is_found(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.arange(8) % 2
    net = autograd.MLP([3, 4, 2], activation="silu", seed=0, skip=True, dtype="float64")
    function, arrays = loss_of(net, x, y), list(net.parameters.values())
    kept = [array.copy() for array in arrays]
    assert gradient_error(net, "silu", x, y) < 1e-14
    assert passes_gradcheck(function, arrays, fast=True)
    assert dict(difference_errors(function, arrays))[1e-5] < 1e-8
    assert all(map(np.array_equal, kept, net.parameters.values())), "a check changes no weight"

    wrong = replace(OPERATIONS["silu"], backward=lambda g, y, a: (g * (a > 0),))
    monkeypatch.setitem(OPERATIONS, "silu", wrong)
    assert gradient_error(net, "silu", x, y) > 1e-2
    assert not passes_gradcheck(function, arrays, fast=True)
    assert dict(difference_errors(function, arrays))[1e-5] > 1e-3


def test_the_split_of_the_digits_is_stratified_and_the_seeds():
    (train_x, train_y), (test_x, test_y) = split_digits(3)
    assert (len(train_x), len(test_x)) == (1437, 360)
    shares = [np.bincount(y) / len(y) for y in (train_y, test_y)]
    assert np.abs(shares[0] - shares[1]).max() < 0.003
    assert float(train_x.mean(0).abs().max()) < 1e-5, "the statistics are of the training part"
    assert test_x.equal(split_digits(3)[1][0])
    assert not test_x.equal(split_digits(4)[1][0])


def test_operands_are_drawn_to_the_left_of_what_uses_them():
    x = Value(2.0)
    y = (x * x + x) * autograd.tanh(x)
    place = places(y)
    for value in y.ancestry():
        for parent in value.parents:
            assert place[id(parent)][0] < place[id(value)][0]
    assert len(set(place.values())) == len(place)


# -- what the checks of the tasks say ------------------------------------------------------------------------


def silu(x):
    return x / (1 + np.exp(-x))


def silu_backward(g, x):
    s = 1 / (1 + np.exp(-x))
    return g * (s + x * s * (1 - s))


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def gelu_backward(g, x):
    return g * ((1 + erf(x / np.sqrt(2))) / 2 + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"silu": lambda x: 1 / (1 + np.exp(-x))}, "silu is wrong by up to"),
        ({"silu_backward": lambda g, x: g / (1 + np.exp(-x))}, "use the product rule"),
        ({"silu_backward": lambda g, x: silu_backward(1, x)}, "that is the chain rule"),
        ({"silu_backward": lambda g, x: silu(x)}, "returns the output"),
        (
            {"gelu": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2},
            "its tanh approximation",
        ),
    ],
)
def test_a_wrong_activation(wrong, message):
    right = {
        "silu": silu,
        "silu_backward": silu_backward,
        "gelu": gelu,
        "gelu_backward": gelu_backward,
    }
    checks.check_activations(**right)
    with pytest.raises(AssertionError, match=message):
        checks.check_activations(**right | wrong)


def slopes(value):
    operands = [parent.data for parent in value.parents]
    return map(float, OPERATIONS[value.operation].backward(1.0, value.data, *operands))


def recursive(result, *, adds=True):
    """Passes each gradient on at once, as it comes."""
    found = {}

    def visit(value, gradient):
        found[value] = gradient + (found.get(value, 0) if adds else 0)
        for parent, slope in zip(value.parents, slopes(value) if value.parents else (), strict=True):
            visit(parent, gradient * slope)

    visit(result, 1.0)
    return found


def too_early(result):
    """Passes on a gradient that is not complete: breadth first."""
    found, to_visit = {result: 1.0}, [result]
    for value in to_visit:
        for parent, slope in zip(value.parents, slopes(value) if value.parents else (), strict=True):
            if parent not in found:
                to_visit.append(parent)
            found[parent] = found.get(parent, 0) + found[value] * slope
    return found


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda result: {}, "begins with the gradient of the result"),
        (lambda result: recursive(result, adds=False), "the sum of two gradients"),
        (too_early, "when it is complete"),
        (recursive, "too deep for recursion"),
    ],
)
def test_a_wrong_sweep(wrong, message):
    with pytest.raises(AssertionError, match=message):
        checks.check_sweep(wrong)


def slope_at(f, x, h, *, back=1.0, width=2.0, restore=True):
    slope = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        kept = x[place]
        x[place] = kept + h
        above = f(x)
        x[place] = kept - back * h
        slope[place] = (above - f(x)) / (width * h)
        if restore:
            x[place] = kept
    return slope


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"back": 0.0, "width": 1.0}, "it is one-sided"),
        ({"width": 1.0}, "twice too large"),
        ({"restore": False}, "put each entry back"),
    ],
)
def test_a_wrong_difference(wrong, message):
    checks.check_difference(slope_at)
    with pytest.raises(AssertionError, match=message):
        checks.check_difference(lambda f, x, h: slope_at(f, x, h, **wrong))


def forward(parameters, x, activation):
    w1, b1, w2, b2 = parameters
    return activation(x @ w1.transpose() + b1) @ w2.transpose() + b2


def step(parameters, x, y, activation, rate, moved=4):
    loss = autograd.softmax_cross_entropy(forward(parameters, x, activation), y)
    loss.backward()
    for parameter in parameters[:moved]:
        parameter.data -= rate * parameter.grad
    return loss.item()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((lambda p, x, a: forward(p, x, a).data, step), "must return a Value"),
        ((lambda p, x, a: a(forward(p, x, a)), step), "the last layer has no activation"),
        ((forward, lambda p, x, y, a, rate: step(p, x, y, a, -rate)), "moves up the gradient"),
        ((forward, lambda *given: step(*given, moved=3)), "1.bias has not moved"),
        ((forward, lambda *given: 4 * step(*given)), "the mean loss before the update"),
    ],
)
def test_a_wrong_training(wrong, message):
    checks.check_training(forward, step)
    with pytest.raises(AssertionError, match=message):
        checks.check_training(*wrong)
