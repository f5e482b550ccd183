"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable

import numpy as np

from nnfoundations.formulas import Array
from nnfoundations.labs._runner.answers import as_array
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
        off = float(np.abs(as_array(function(x), f"{name}(x)", x.shape) - wanted[name]).max())
        assert off < 1e-9, f"{name} is wrong by up to {off:.2g}"
        got = as_array(slope(x), f"{name}_slope(x)", x.shape)
        true = (function(x + 1e-5) - function(x - 1e-5)) / 2e-5
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
        got, wanted = float(as_array(own_gain(function), "own_gain", ())), gain(name)
        assert not np.isclose(got, 1 / wanted, rtol=0.02), (
            f"{got:.3f} for {name} is the root mean square of its outputs; the gain is 1 over it"
        )
        assert not np.isclose(got, wanted**2, rtol=0.02), f"{got:.3f} for {name}: take the square root"
        assert not np.isclose(got, wanted**-2, rtol=0.02), (
            f"{got:.3f} for {name} is the mean square of its outputs; the gain is 1 over its root"
        )
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
    for gain_of_weights in (2**0.5, 1.0):
        sums: list[Array] = []
        outputs: list[Array] = []

        def relu(x: Array, sums: list[Array] = sums, outputs: list[Array] = outputs) -> Array:
            sums.append(np.array(x))
            outputs.append(np.maximum(x, 0))
            return outputs[-1].copy()

        given = as_array(spreads(relu, gain_of_weights, 20), "spreads", (20,))
        assert len(sums) == 20, f"apply `function` once in each of the 20 layers; got {len(sums)}"
        _check_sums(sums, outputs, gain_of_weights)
        measured = np.array([np.sqrt(np.mean(one**2)) for one in outputs])
        assert np.allclose(given, measured), (
            f"layer 1: the root mean square of the outputs of `function` is {measured[0]:.4f}; got "
            f"{given[0]:.4f}. Take the root of the mean of the squares, after `function`"
        )
    print(f"Right: with the gain 1 the last of 20 layers has {given[-1] / given[0]:.1e} of the first.")


def _check_sums(sums: list[Array], outputs: list[Array], gain_of_weights: float) -> None:
    shape = (100, 256)
    assert all(one.shape == shape for one in sums), f"100 inputs and 256 units: {shape}; got {sums[0].shape}"
    # Inputs of mean square 1, or the outputs before, times weights of variance gain^2 / 256.
    entering = [1.0, *(np.sqrt(np.mean(one**2)) for one in outputs[:-1])]
    for layer, (size, one) in enumerate(zip(entering, sums, strict=True), start=1):
        expected, got = gain_of_weights * size, float(np.sqrt(np.mean(one**2)))
        assert 0.8 * expected < got < 1.25 * expected, (
            f"the sums of layer {layer} are about gain times its inputs, {expected:.2g}; got {got:.2g}. Is"
            " the standard deviation of the weights gain / √256, and does `function` come after the product?"
        )
    # 500 rows have no common weights (256 unknowns per unit) unless all layers have the same.
    before, after = np.concatenate(outputs[:5]), np.concatenate(sums[1:6])
    rest = after - before @ np.linalg.lstsq(before, after, rcond=None)[0]
    assert np.sqrt(np.mean(rest**2)) > 1e-6 * np.sqrt(np.mean(after**2)), (
        "all layers have the same weights; draw new ones for each, from one generator"
    )


def check_distinct(distinct: Callable[[Array], int]) -> None:
    """Check the number of different units of a layer.

    Args:
        distinct: takes the weights `(units, inputs)`.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    for rows, units, why in (
        (np.arange(15.0).reshape(5, 3), 5, "five different rows are five units"),
        (np.full((5, 3), 0.2), 1, "five equal rows are one unit"),
        ([[0.1, 0.2], [0.1 + 1e-9, 0.2]], 1, "rows that differ by rounding are equal: round first"),
        ([[0.001, 0.2], [0.002, 0.2]], 2, "round to six decimals, not to fewer"),
        ([[1234567.1, 0], [1234567.2, 0]], 2, "round to six decimals, not to six digits in all"),
        ([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]], 2, "compare whole rows, not numbers"),
        ([[1.0, 2.0], [1.0, 3.0]], 2, "compare whole rows, not the first column"),
    ):
        got = as_array(distinct(np.array(rows)), "distinct(weight)", ())
        assert got == units, f"{why}; got {got} for {len(rows)} rows that make {units}"
    print("distinct is right.")
