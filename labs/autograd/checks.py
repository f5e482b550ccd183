"""Checks of what the reader writes in the notebook: each says what is wrong."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nnfoundations import autograd
from nnfoundations.autograd import Value
from nnfoundations.formulas import Array
from nnfoundations.labs.autograd.data import xor_table

__all__ = ["check_activations", "check_difference", "check_sweep", "check_training", "new_parameters"]

Activation = Callable[[Value], Value]
Step = Callable[[Sequence[Value], Array, Array, Activation, float], float]


def check_activations(
    silu: Callable[[Array], Array],
    silu_backward: Callable[[Array, Array], Array],
    gelu: Callable[[Array], Array],
    gelu_backward: Callable[[Array, Array], Array],
) -> None:
    """Check two activations and their backwards against differences.

    Args:
        silu: takes x.
        silu_backward: takes the gradient of the output, and x; returns the gradient of x.
        gelu: takes x.
        gelu_backward: as `silu_backward`.

    Raises:
        AssertionError: one is wrong; the text says how.
    """
    x = np.linspace(-6, 6, 49)  # with 0
    known = {"silu": autograd.silu(Value(x)).data, "gelu": autograd.gelu(Value(x)).data}
    given = {"silu": (silu, silu_backward), "gelu": (gelu, gelu_backward)}
    for name, (forward, backward) in given.items():
        y = np.asarray(forward(x))
        off = np.abs(y - known[name]).max()
        near = name == "gelu" and 1e-5 < off < 1e-3
        assert not near, (
            f"gelu differs from x Φ(x) by up to {off:.1g}: that is its tanh approximation. Use math.erf"
        )
        assert off < 1e-8, f"{name} is wrong by up to {off:.2g}; {name}(1) is {known[name][28]:.4f}"
        slope = (forward(x + 1e-5) - forward(x - 1e-5)) / 2e-5
        got = np.asarray(backward(np.ones_like(x), x))
        assert not np.allclose(got, y, atol=1e-6), f"{name}_backward returns the output, not its derivative"
        worst = int(np.abs(got - slope).argmax())
        assert np.allclose(got, slope, atol=1e-7), (
            f"{name}_backward at x = {x[worst]:.2f} is {got[worst]:.4f}; the difference of your {name} there "
            f"is {slope[worst]:.4f}. It is a product of x and a function of x: use the product rule"
        )
        twice = np.asarray(backward(np.full_like(x, 2.0), x))
        assert np.allclose(twice, 2 * slope, atol=1e-6), (
            f"{name}_backward does not multiply by the gradient of the output: that is the chain rule"
        )
    print("silu and gelu are right.")


def check_sweep(gradients: Callable[[Value], Mapping[Value, float]]) -> None:
    """Check a sweep through the graph.

    Args:
        gradients: takes a result; returns the gradient of each value behind it, by the value.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    a, b = Value(2.0), Value(-3.0)
    y = a * b
    got = gradients(y)
    assert got.get(y) == 1, f"the sweep begins with the gradient of the result itself, 1; got {got.get(y)}"
    assert (got.get(a), got.get(b)) == (-3, 2), (
        f"for a b the gradients are b = -3 and a = 2; got {got.get(a)} and {got.get(b)}"
    )
    got = gradients(a * a)
    assert got[a] == 4, (
        f"for a a with a = 2 the gradient is 2 a = 4; got {got[a]}. A value that is used twice gets "
        "the sum of two gradients"
    )
    z = a * b
    for shown, y in (("z z + z", z * z + z), ("z + z z", z + z * z)):
        got = gradients(y)
        assert got[z] == -11, f"for {shown} with z = -6 the gradient of z is 2 z + 1 = -11; got {got[z]}"
        assert got[a] == 33, (
            f"for {shown} with z = a b the gradient of a is -11 b = 33; got {got[a]}. Pass the gradient of z "
            "on when it is complete: go through the values from the newest to the oldest"
        )
    total = a
    for _ in range(3000):
        total = total + b
    try:
        got = gradients(total)
    except RecursionError:
        raise AssertionError(
            "a sum of 3,000 terms is too deep for recursion; use a loop and a list"
        ) from None
    assert got[b] == 3000, f"for a + b + ... + b the gradient of b is 3000; got {got[b]}"
    print("the sweep is right, also 3,000 operations deep.")


def check_difference(difference: Callable[[Callable[[Array], float], Array, float], Array]) -> None:
    """Check a gradient by differences.

    Args:
        difference: takes a function of an array, the array and a step; returns the gradient.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    x = np.array([[0.5, -1.0], [2.0, 0.0]])
    kept, true = x.copy(), np.exp(x)
    got = np.asarray(difference(lambda a: float(np.exp(a).sum()), x, 1e-3))
    assert np.array_equal(x, kept), "difference leaves x changed: put each entry back"
    assert got.shape == x.shape, f"the gradient has the shape of x, (2, 2); got {got.shape}"
    off = float(np.abs(got - true).max())
    assert not np.allclose(got, 2 * true, rtol=0.01), "it is twice too large: the two ends are 2 h apart"
    assert not 1e-4 < off < 1e-1, (
        f"with h = 0.001 the error is {off:.1g}, of order h: it is one-sided. With f(x + h) - f(x - h) "
        "it is of order h²"
    )
    assert off < 1e-5, f"for the sum of exp(x) the gradient is exp(x); it is wrong by up to {off:.2g}"
    print("difference is right.")


def new_parameters(units: int, seed: int) -> list[Value]:
    """Draw the parameters of a network with two inputs and two outputs.

    Args:
        units: hidden units.
        seed: of the weights, which have variance 2 / in and 1 / in. Biases are zero.

    Returns:
        Weight `(units, 2)` and bias, weight `(2, units)` and bias.
    """
    net = autograd.MLP([2, units, 2], seed=seed, dtype="float64")
    return list(net.values.values())


def check_training(forward: Callable[[Sequence[Value], Array, Activation], Value], step: Step) -> None:
    """Check the forward of a two-layer network and a step of gradient descent.

    Args:
        forward: takes parameters, x and the activation; returns the outputs.
        step: takes parameters, x, y, the activation and the rate; changes the parameters, returns the loss.

    Raises:
        AssertionError: one is wrong; the text says how.
    """
    x, y = (tensor.numpy() for tensor in xor_table())
    x = x.astype(float)
    parameters = new_parameters(8, seed=0)
    net = autograd.MLP([2, 8, 2], seed=0, activation="gelu", dtype="float64")
    out = forward(parameters, x, autograd.gelu)
    assert isinstance(out, Value), "forward must return a Value: without its graph there is no gradient"
    assert out.shape == (4, 2), f"four patterns and two outputs are (4, 2); got {out.shape}"
    expected = net(x)
    assert not np.allclose(out.data, autograd.gelu(expected).data), (
        "the last layer has no activation: its outputs are logits, and the loss applies the softmax"
    )
    off = float(np.abs(out.data - expected.data).max())
    assert off < 1e-9, f"forward is wrong by up to {off:.2g}: x W1^T + b1, the activation, then W2^T and b2"
    loss, _, gradients = net.differentiate(x, y)
    before = [value.data.copy() for value in parameters]
    got = step(parameters, x, y, autograd.gelu, 0.5)
    for name, kept, value in zip(gradients, before, parameters, strict=True):
        moved, wanted = value.data - kept, -0.5 * gradients[name]
        assert moved.any(), f"parameter {name} has not moved; every one of the four gets a step"
        assert not np.allclose(moved, -wanted), f"parameter {name} moves up the gradient; subtract it"
        assert np.allclose(moved, wanted), (
            f"parameter {name} moves by up to {np.abs(moved).max():.3g}; rate times gradient is "
            f"{np.abs(wanted).max():.3g}"
        )
    assert math.isclose(got, loss, rel_tol=1e-6), (
        f"step returns {got:.4f}; the mean loss before the update is {loss:.4f}"
    )
    print("forward and step are right.")
