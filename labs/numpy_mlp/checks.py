"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfoundations.labs._runner.answers import as_array, as_pair

__all__ = ["check_linear", "check_loss", "check_relu", "check_sgd"]

Array = np.ndarray


def _slopes(f: Callable[[Array], float], x: Array) -> Array:
    """The gradient of a function by central differences."""
    slopes, h = np.zeros_like(x), 1e-6
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = h
        slopes[place] = (f(x + step) - f(x - step)) / (2 * h)
    return slopes


def _same(what: str, got: Any, slopes: Array, batch: int) -> None:
    got = as_array(got, what, slopes.shape)
    if np.allclose(got, slopes, atol=1e-6):
        return
    assert not np.allclose(got * batch, slopes, atol=1e-6), (
        f"{what} is {batch} times too small: it is divided by the batch, which only the loss does"
    )
    assert not np.allclose(got / batch, slopes, atol=1e-6), (
        f"{what} is {batch} times too large: divide by the batch once, in the loss"
    )
    assert not np.allclose(-got, slopes, atol=1e-6), f"{what} has the wrong sign"
    raise AssertionError(f"{what} differs from the differences by up to {abs(got - slopes).max():.3g}")


def check_linear(forward: Callable[..., Array], backward: Callable[..., tuple[Array, Array, Array]]) -> None:
    """Check a linear layer.

    Args:
        forward: takes x, weight `(out, in)` and bias; returns y.
        backward: takes the gradient of y, x and weight; returns the gradients of x, weight and bias.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    r = np.random.default_rng(0)
    x, w, b, g = (r.standard_normal(shape) for shape in ((4, 3), (2, 3), (2,), (4, 2)))
    y = as_array(forward(x.copy(), w.copy(), b.copy()), "y, for 4 rows and 2 units,", (4, 2))
    assert np.allclose(y, [[row @ w[j] + b[j] for j in range(2)] for row in x]), (
        "y is x W^T + b: unit j is x . w[j] + b[j]"
    )
    kept = w.copy()
    gradients = backward(g.copy(), x.copy(), w)
    assert isinstance(gradients, tuple | list), "return three gradients: those of x, weight and bias"
    assert len(gradients) == 3, f"return three gradients, those of x, weight and bias; got {len(gradients)}"
    grad_x, grad_w, grad_b = gradients
    assert np.array_equal(w, kept), "backward changes the weight: only the optimizer may"
    _same("the gradient of x", grad_x, _slopes(lambda v: float((g * forward(v, w, b)).sum()), x), 4)
    _same("the gradient of weight", grad_w, _slopes(lambda v: float((g * forward(x, v, b)).sum()), w), 4)
    _same("the gradient of bias", grad_b, _slopes(lambda v: float((g * forward(x, w, v)).sum()), b), 4)
    print("linear is right.")


def check_relu(forward: Callable[[Array], Array], backward: Callable[[Array, Array], Array]) -> None:
    """Check the rectifier.

    Args:
        forward: takes x, returns y.
        backward: takes the gradient of y, and x; returns the gradient of x.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    x, g = np.array([[-2.0, 3.0], [1.0, -1.0]]), np.array([[5.0, 7.0], [-1.0, 2.0]])
    y = as_array(forward(x.copy()), "relu(x)", x.shape)
    assert np.array_equal(y, [[0, 3], [1, 0]]), f"relu of {x.tolist()} is {y.tolist()}"
    got = as_array(backward(g.copy(), x.copy()), "the gradient of x", x.shape)
    assert not np.array_equal(got, g), "the mask is missing: a unit that is off passes no gradient"
    _same("the gradient of x", got, _slopes(lambda v: float((g * forward(v.copy())).sum()), x), 2)
    print("relu is right.")


def check_loss(loss: Callable[[Array, Array], tuple[float, Array]]) -> None:
    """Check softmax with cross-entropy.

    Args:
        loss: takes logits and classes; returns the mean loss and its gradient.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    logits, y = np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 2, 1, 1])
    value, gradient = _loss_and_gradient(loss, logits, y)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = float(-np.log(p[np.arange(4), y]).mean())
    assert not np.isclose(value, 4 * right), "the loss is a sum; it needs the mean over the rows"
    assert np.isclose(value, right), f"the loss is {value:.4f}; it must be {right:.4f}"
    _same("the gradient", gradient, _slopes(lambda v: loss(v, y)[0], logits), 4)
    with np.errstate(all="ignore"):
        large = np.array([[1e4, 0.0, 0.0], [0.0, 1.0, 2.0]])
        value, gradient = _loss_and_gradient(loss, large, np.array([0, 1]))
        wrong, _ = _loss_and_gradient(loss, large, np.array([1, 1]))
    second = np.exp(large[1]) / np.exp(large[1]).sum()
    assert np.isfinite([value, wrong, *gradient.flat]).all(), (
        "logits of 1e4 overflow: subtract the largest logit of each row first, and take no log of 0"
    )
    assert np.isclose(value, -np.log(second[1]) / 2), (
        f"for {large.tolist()} and classes 0, 1 the loss is {-np.log(second[1]) / 2:.4f}; got {value:.4f}"
    )
    assert np.isclose(wrong, 5000 - np.log(second[1]) / 2), (
        "a wrong logit of 1e4 costs 1e4: do not limit log p"
    )
    assert np.allclose(gradient, np.array([[0, 0, 0], second - [0, 1, 0]]) / 2), (
        f"for these logits the gradient is wrong; got {gradient.tolist()}"
    )
    print("loss is right.")


def _loss_and_gradient(
    loss: Callable[[Array, Array], tuple[float, Array]], logits: Array, y: Array
) -> tuple[float, Array]:
    value, gradient = as_pair(loss(logits, y), "what loss returns")
    return float(as_array(value, "the loss", ())), as_array(gradient, "the gradient", logits.shape)


def check_sgd(step: Callable[..., None]) -> None:
    """Check one step of SGD.

    Args:
        step: takes a list of parameters, a list of gradients and the rate; changes the parameters in place.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    parameters, gradients = (
        [np.array([1.0, 2.0]), np.array([[3.0]])],
        [np.array([1.0, -1.0]), np.array([[2.0]])],
    )
    given = parameters[0]
    step(parameters, gradients, 0.1)
    assert parameters[0] is given, "change the arrays in place, p -= ...: a new array is not the network's"
    assert not np.allclose(given, [1.0, 2.0]), (
        "the parameter did not change: p = p - ... makes a new array; use p -= ..."
    )
    assert not np.allclose(given, [1.1, 1.9]), "the step goes uphill: subtract the gradient"
    assert np.allclose(given, [0.9, 2.1]), f"the first parameter is {given}; it must be [0.9, 2.1]"
    assert np.allclose(parameters[1], 2.8), "the second parameter did not move by the rate times its gradient"
    print("sgd is right.")
