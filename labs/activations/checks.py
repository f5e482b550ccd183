"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable

import numpy as np

from nnfoundations.formulas import Array
from nnfoundations.labs.activations.network import gain

__all__ = ["check_distinct", "check_gain", "check_slopes", "check_spreads"]

Function = Callable[[Array], Array]


def check_slopes(sigmoid: Function, sigmoid_slope: Function, leaky: Function, leaky_slope: Function) -> None:
    """Check two activations and their derivatives.

    Args:
        sigmoid: takes x.
        sigmoid_slope: takes x, and not the output.
        leaky: LeakyReLU with 0.01 below zero; takes x.
        leaky_slope: takes x.

    Raises:
        AssertionError: one is wrong; the text says how.
    """
    x = np.linspace(-6, 6, 48)  # without 0, where LeakyReLU has a kink
    wanted = {"sigmoid": 1 / (1 + np.exp(-x)), "leaky": np.where(x > 0, x, 0.01 * x)}
    given = {"sigmoid": (sigmoid, sigmoid_slope), "leaky": (leaky, leaky_slope)}
    for name, (function, slope) in given.items():
        off = float(np.abs(np.asarray(function(x)) - wanted[name]).max())
        assert off < 1e-9, f"{name} is wrong by up to {off:.2g}"
        got, true = np.asarray(slope(x)), (function(x + 1e-5) - function(x - 1e-5)) / 2e-5
        assert name == "leaky" or not np.allclose(got, x * (1 - x)), (
            "sigmoid_slope takes x: y (1 - y) needs y = sigmoid(x)"
        )
        worst = int(np.abs(got - true).argmax())
        assert np.allclose(got, true, atol=1e-7), (
            f"{name}_slope at x = {x[worst]:.2f} is {got[worst]:.4f}; the difference of your {name} there is "
            f"{true[worst]:.4f}"
        )
    with np.errstate(over="raise"):
        at_zero = float(np.asarray(leaky_slope(np.zeros(1)))[0])
    assert at_zero == 0.01, f"at the kink torch takes the slope from below, 0.01; got {at_zero}"
    print("Both functions and both slopes are right.")


def check_gain(own_gain: Callable[[Function], float]) -> None:
    """Check the gain of an activation.

    Args:
        own_gain: takes the activation, a function of an array.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    known: dict[str, Function] = {"ReLU": lambda x: np.maximum(x, 0), "Tanh": np.tanh}
    for name, function in known.items():
        got, wanted = own_gain(function), gain(name)
        assert not np.isclose(got, 1 / wanted, rtol=0.02), (
            f"{got:.3f} for {name} is the root mean square of its outputs; the gain is 1 over it"
        )
        assert not np.isclose(got, wanted**2, rtol=0.02), f"{got:.3f} for {name}: take the square root"
        assert not np.isclose(got, np.sqrt(1 / (1 / wanted**2 - 1 / (2 * np.pi))), rtol=0.02), (
            f"{got:.3f} for {name} is 1 over the standard deviation; the next layer sums squares, so the "
            "mean counts too: take the mean of φ(z)²"
        )
        assert np.isclose(got, wanted, rtol=0.02), f"the gain of {name} is {wanted:.3f}; got {got:.3f}"
    print(f"The gains are right: {gain('ReLU'):.3f} for ReLU, {gain('Tanh'):.3f} for tanh.")


def check_spreads(spreads: Callable[[Function, float, int], list[float]]) -> None:
    """Check the forward pass through many layers.

    Args:
        spreads: takes the activation, the gain and the number of layers; returns the root mean square of the
            outputs of each layer.

    Raises:
        AssertionError: it is wrong; the text says how.
    """

    def relu(x: Array) -> Array:
        return np.maximum(x, 0)

    got = spreads(relu, 2**0.5, 20)
    assert len(got) == 20, f"one number for each of the 20 layers; got {len(got)}"
    ratio = got[-1] / got[0]
    assert 0.3 < ratio < 3, (
        f"with the gain √2 ReLU keeps its size; yours changes by {ratio:.2g} times in 20 layers. Is the "
        "standard deviation of the weights gain / √fan_in, and are the weights of each layer new?"
    )
    ratio = spreads(relu, 1.0, 20)[-1] / spreads(relu, 1.0, 20)[0]
    expected = 2 ** (-19 / 2)
    assert expected / 3 < ratio < 3 * expected, (
        f"with the gain 1 each layer of ReLU divides the mean square by 2: {expected:.2g} over 19 layers; "
        f"yours is {ratio:.2g}"
    )
    print(f"Right: with the gain 1 the last of 20 layers has {ratio:.1e} of the first.")


def check_distinct(distinct: Callable[[Array], int]) -> None:
    """Check the number of different units of a layer.

    Args:
        distinct: takes the weights `(units, inputs)`.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    equal, rows = distinct(np.full((5, 3), 0.2)), distinct(np.arange(15.0).reshape(5, 3))
    assert rows == 5, f"five different rows are five units; got {rows}"
    assert equal == 1, f"five equal rows are one unit; got {equal}"
    near = distinct(np.array([[0.1, 0.2], [0.1 + 1e-9, 0.2]]))
    assert near == 1, "rows that differ by rounding are equal: round to six digits first"
    two = distinct(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]]))
    assert two == 2, f"compare whole rows, not numbers: here two are different; got {two}"
    print("distinct is right.")
