"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfoundations import numpy as layers
from nnfoundations.formulas import Array
from nnfoundations.labs._runner.answers import as_array

__all__ = ["check_backward", "check_batch_norm", "check_block", "check_layer_norm", "check_rms_norm"]

Answer = Callable[..., Any]
EPS = 1e-5


def check_batch_norm(batch_norm: Answer) -> None:
    """Check the forward pass of BatchNorm in both modes.

    Args:
        batch_norm: takes x, weight, bias, the running mean and variance, and whether it trains; returns y and
            the new running mean and variance.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    x, weight, bias, _ = _batch()
    mean, variance = np.linspace(-1, 1, 4), np.linspace(0.5, 2, 4)
    y, new_mean, new_variance = _three(batch_norm(x.copy(), weight, bias, mean.copy(), variance.copy(), True))
    _compare_outputs(y, x, weight, bias, axis=0)
    given = as_array(new_mean, "the running mean", (4,))
    assert not np.allclose(given, 0.1 * mean + 0.9 * x.mean(0)), (
        "the newest batch has the weight 0.1, not 0.9"
    )
    assert np.allclose(given, 0.9 * mean + 0.1 * x.mean(0)), (
        f"the running mean is 0.9 of itself and 0.1 of that of the batch; got {given}"
    )
    given, right = (
        as_array(new_variance, "the running variance", (4,)),
        0.9 * variance + 0.1 * x.var(0, ddof=1),
    )
    assert not np.allclose(given, 0.9 * variance + 0.1 * x.var(0)), (
        "the running variance takes the biased variance of the batch; it is to estimate that of the data: "
        "divide by N - 1"
    )
    assert np.allclose(given, right), f"the running variance is {right}; got {given}"
    y, kept_mean, kept_variance = _three(
        batch_norm(x.copy(), weight, bias, mean.copy(), variance.copy(), False)
    )
    for kept, before, name in ((kept_mean, mean, "mean"), (kept_variance, variance, "variance")):
        unchanged = np.array_equal(as_array(kept, f"the running {name}", (4,)), before)
        assert unchanged, f"evaluation does not change the running {name}"
    expected = (x - mean) / np.sqrt(variance + EPS) * weight + bias
    assert np.allclose(as_array(y, "y", x.shape), expected), "evaluation normalizes by the running statistics"
    print("batch_norm is right.")


def check_backward(batch_norm_backward: Answer) -> None:
    """Check the backward pass of BatchNorm in training.

    Args:
        batch_norm_backward: takes the gradient of y, x and weight; returns those of x, weight and bias.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    x, weight, bias, grad = _batch()
    _compare_gradients(batch_norm_backward(grad.copy(), x.copy(), weight), grad, x, weight, bias, axis=0)
    print("batch_norm_backward is right.")


def check_layer_norm(layer_norm: Answer, layer_norm_backward: Answer) -> None:
    """Check both passes of LayerNorm.

    Args:
        layer_norm: takes x, weight and bias; returns y.
        layer_norm_backward: takes the gradient of y, x and weight; returns those of x, weight and bias.

    Raises:
        AssertionError: one is wrong; the text says how.
    """
    x, weight, bias, grad = _batch()
    _compare_outputs(layer_norm(x.copy(), weight, bias), x, weight, bias, axis=1)
    _compare_gradients(layer_norm_backward(grad.copy(), x.copy(), weight), grad, x, weight, bias, axis=1)
    print("Both passes of LayerNorm are right.")


def check_rms_norm(rms_norm: Answer, rms_norm_backward: Answer) -> None:
    """Check both passes of RMSNorm.

    Args:
        rms_norm: takes x and weight; returns y.
        rms_norm_backward: takes the gradient of y, x and weight; returns those of x and weight.

    Raises:
        AssertionError: one is wrong; the text says how.
    """
    x, weight, _, grad = _batch()
    layer = layers.RMSNorm(4, eps=EPS, dtype="float64")
    layer.parameters["weight"] = weight
    y = as_array(rms_norm(x.copy(), weight), "y", x.shape)
    assert not np.allclose(y, _normalized(x, 1) * weight), "RMSNorm does not subtract the mean"
    assert not np.allclose(y, x / np.sqrt((x**2).mean(0) + EPS) * weight), _wrong_axis(1)
    assert np.allclose(y, layer(x)), f"the first row is {layer(x)[0]}; got {y[0]}"
    got = _tuple(rms_norm_backward(grad.copy(), x.copy(), weight), 2)
    right, n = _input_gradient(layer, grad), x / np.sqrt((x**2).mean(1, keepdims=True) + EPS)
    given = as_array(got[0], "the gradient of x", x.shape)
    scaled = grad * weight / np.sqrt((x**2).mean(1, keepdims=True) + EPS)
    assert not np.allclose(given, scaled), "the mean square depends on x too: its term is missing"
    assert np.allclose(given, right), f"the gradient of the first row is {right[0]}; got {given[0]}"
    _compare_sum(got[1], (grad * n).sum(0), "weight")
    print("Both passes of RMSNorm are right.")


def check_block(block_backward: Answer) -> None:
    """Check the backward pass of BatchNorm and ReLU.

    Args:
        block_backward: takes the gradient of relu(batch_norm(x)), x, weight and bias; returns that of x.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    x, weight, bias, grad = _batch()
    layer = _layer(weight, bias, axis=0)
    y = layer(x)
    given = as_array(block_backward(grad.copy(), x.copy(), weight, bias), "the gradient of x", x.shape)
    for mask, why in (
        (x > 0, "the mask is that of x, from before the norm; ReLU sees the output of the norm"),
        (_normalized(x, 0) > 0, "the mask is that of the normalized x; weight and bias come before ReLU"),
        (np.ones_like(x), "ReLU's mask is missing"),
    ):
        assert not np.allclose(given, _input_gradient(layer, grad * mask)), why
    right, late = _input_gradient(layer, grad * (y > 0)), _input_gradient(layer, grad) * (y > 0)
    assert not np.allclose(given, late), "ReLU comes last, so its mask comes first"
    assert np.allclose(given, right), f"the gradient of the first row is {right[0]}; got {given[0]}"
    print("block_backward is right.")


def _batch() -> tuple[Array, Array, Array, Array]:
    """Features of several means and scales: x, weight, bias, and the gradient of y."""
    generator = np.random.default_rng(0)
    x = generator.normal([2, -1, 0.5, 0], [1, 3, 0.5, 2], (6, 4))
    return x, np.array([0.5, 2.0, -1.0, 1.5]), np.array([0.1, -0.7, 0.3, 0.6]), generator.normal(size=(6, 4))


def _layer(weight: Array, bias: Array, axis: int) -> layers.BatchNorm | layers.LayerNorm:
    kind = layers.LayerNorm if axis else layers.BatchNorm
    layer = kind(len(weight), eps=EPS, dtype="float64")
    layer.parameters |= {"weight": weight, "bias": bias}
    return layer


def _input_gradient(layer: layers.Layer, grad: Array) -> Array:
    found = layer.backward(grad)
    assert found is not None
    return found


def _normalized(x: Array, axis: int, ddof: int = 0) -> Array:
    mean, variance = x.mean(axis, keepdims=True), x.var(axis, keepdims=True, ddof=ddof)
    return np.asarray((x - mean) / np.sqrt(variance + EPS))


def _wrong_axis(axis: int) -> str:
    named = ("a feature over the batch, axis 0", "a sample over its features, axis 1")
    return f"the statistics are those of {named[axis]}; yours are those of {named[1 - axis]}"


def _compare_outputs(answer: object, x: Array, weight: Array, bias: Array, axis: int) -> None:
    y, right = as_array(answer, "y", x.shape), _layer(weight, bias, axis)(x)
    assert not np.allclose(y, _normalized(x, 1 - axis) * weight + bias), _wrong_axis(axis)
    assert not np.allclose(y, _normalized(x, axis)), "weight and bias are missing: y = n * weight + bias"
    assert not np.allclose(y, _normalized(x, axis, ddof=1) * weight + bias), (
        "normalize by the biased variance, which divides by N and not by N - 1"
    )
    assert np.allclose(y, right), f"the first row of y is {right[0]}; got {y[0]}"


def _compare_gradients(answer: object, grad: Array, x: Array, weight: Array, bias: Array, axis: int) -> None:
    got, layer = _tuple(answer, 3), _layer(weight, bias, axis)
    layer(x)
    right = _input_gradient(layer, grad)
    given = as_array(got[0], "the gradient of x", x.shape)
    n, scale = _normalized(x, axis), np.sqrt(x.var(axis, keepdims=True) + EPS)
    g = grad * weight
    mean_term, variance_term = g.mean(axis, keepdims=True), n * (g * n).mean(axis, keepdims=True)
    other = _layer(weight, bias, 1 - axis)
    other(x)
    for wrong, why in (
        (g / scale, "mean and variance depend on x too: both terms are missing"),
        ((g - variance_term) / scale, "the mean depends on x too: its term is missing"),
        ((g - mean_term) / scale, "the variance depends on x too: its term is missing"),
        (right / weight if axis == 0 else None, "the gradient of n is that of y times weight"),
        (_input_gradient(other, grad), _wrong_axis(axis)),
    ):
        assert wrong is None or not np.allclose(given, wrong), why
    assert np.allclose(given, right), f"the gradient of the first row of x is {right[0]}; got {given[0]}"
    _compare_sum(got[1], layer.gradients["weight"], "weight")
    _compare_sum(got[2], layer.gradients["bias"], "bias")


def _compare_sum(answer: object, right: Array, name: str) -> None:
    given = as_array(answer, f"the gradient of {name}", right.shape)
    assert not np.allclose(given, right / 6), f"the gradient of {name} is a sum over the batch, not a mean"
    assert np.allclose(given, right), f"the gradient of {name} is {right}; got {given}"


def _tuple(answer: object, count: int) -> tuple[object, ...]:
    assert answer is not None, "the answer is None: end the function with `return`"
    assert isinstance(answer, tuple | list), f"return {count} arrays; got {type(answer).__name__}"
    assert len(answer) == count, f"return {count} arrays; got {len(answer)}"
    return tuple(answer)


def _three(answer: object) -> tuple[object, object, object]:
    y, mean, variance = _tuple(answer, 3)
    return y, mean, variance
