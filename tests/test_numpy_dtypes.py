"""NumPy networks in float32 and float64: no promotion, and derivatives that fit their forward."""

import tracemalloc

import numpy as np
import pytest

from nnfoundations import numpy as ours

X = np.random.default_rng(0).normal(0, 2, (6, 5))


def test_a_float32_net_and_its_optimizer_stay_float32():
    """In training steps and in evaluation; options that are NumPy's float64 promote nothing."""
    one = np.float64(1)
    net = ours.Sequential(
        ours.Linear(5, 8, gain=one, seed=1), ours.BatchNorm(8, eps=1e-5 * one, momentum=0.1 * one),
        ours.LeakyReLU(0.1 * one), ours.Dropout(0.1 * one, seed=2), ours.LayerNorm(8, eps=1e-5 * one),
        ours.GELU(), ours.RMSNorm(8, eps=1e-5 * one), ours.Linear(8, 5, seed=3), loss=ours.HuberLoss(one),
    )  # fmt: skip
    optimizer = ours.SGD(net, 0.1 * one, momentum=0.9 * one, weight_decay=0.1 * one, nesterov=True)
    x = X.astype("float32")
    for _ in range(3):
        _, y, gradients = net.differentiate(x, X)
        optimizer.step()
    net.eval()
    arrays = [y, net(x), net.backward(y), *gradients.values(), *optimizer.velocities.values()]
    arrays += [*net.parameters.values(), *net.buffers.values(), net.loss.backward()]
    assert {array.dtype for array in arrays} == {np.dtype("float32")}


@pytest.mark.parametrize("kind", [float, np.float64])
def test_a_numpy_rate_does_no_work_in_float64(kind):
    """Its product with the gradient would be a float64 array of the same size."""
    weight, gradient, velocity = np.zeros((3, 1 << 18), np.float32)
    tracemalloc.start()
    options = {"lr": kind(0.1), "momentum": kind(0.9), "weight_decay": kind(0.1), "nesterov": True}
    ours.sgd_update(weight, gradient, velocity, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3.5 * weight.nbytes


@pytest.mark.parametrize("name", ["LeakyReLU", "Sigmoid", "Tanh", "GELU", "SiLU"])
def test_a_derivative_is_that_of_its_own_forward(name):
    """On [-6, 6], where the derivative of GELU's tanh approximation is 8e-4 off."""
    layer, x = (
        getattr(ours, name)(),
        np.linspace(-6, 6, 122)[None],
    )  # 0 is not an entry: LeakyReLU has a kink there
    h = 1e-5
    slope = (layer(x + h) - layer(x - h)) / (2 * h)
    layer(x)
    np.testing.assert_allclose(layer.backward(np.ones_like(x)), slope, rtol=0, atol=1e-8)
