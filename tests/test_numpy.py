"""The NumPy layers: every gradient against central differences and torch, alone and in networks."""

import numpy as np
import pytest
import torch

from nnfoundations import numpy as ours
from nnfoundations.testing import TOLERANCES

RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, (6, 5))
LABELS = RNG.integers(0, 5, 6)
F64 = {"dtype": "float64"}

# name: ours, torch's, kind in the tolerance table
LAYERS = {
    "Linear": (lambda: ours.Linear(5, 4, seed=0, **F64), lambda: torch.nn.Linear(5, 4), "linear"),
    "ReLU": (ours.ReLU, torch.nn.ReLU, "elementwise"),
    "LeakyReLU": (lambda: ours.LeakyReLU(0.1), lambda: torch.nn.LeakyReLU(0.1), "elementwise"),
    "Sigmoid": (ours.Sigmoid, torch.nn.Sigmoid, "elementwise"),
    "Tanh": (ours.Tanh, torch.nn.Tanh, "elementwise"),
    "GELU": (ours.GELU, torch.nn.GELU, "elementwise"),
    "SiLU": (ours.SiLU, torch.nn.SiLU, "elementwise"),
    "Softmax": (ours.Softmax, lambda: torch.nn.Softmax(-1), "softmax"),
    "BatchNorm": (lambda: ours.BatchNorm(5, **F64), lambda: torch.nn.BatchNorm1d(5), "normalization"),
    "LayerNorm": (lambda: ours.LayerNorm(5, **F64), lambda: torch.nn.LayerNorm(5), "normalization"),
    "RMSNorm": (lambda: ours.RMSNorm(5, **F64), lambda: torch.nn.RMSNorm(5, eps=1e-5), "normalization"),
}


def block(norm, torch_norm):
    """Linear, norm, ReLU, Linear: shows a ReLU mask that is computed before the norm."""

    def mine():
        return ours.Sequential(
            ours.Linear(5, 8, seed=1, **F64), norm(8, **F64), ours.ReLU(), ours.Linear(8, 5, seed=2, **F64)
        )

    def theirs():
        return torch.nn.Sequential(
            torch.nn.Linear(5, 8), torch_norm(8), torch.nn.ReLU(), torch.nn.Linear(8, 5)
        )

    return mine, theirs, "normalization"


NETS = {
    "BatchNorm block": block(ours.BatchNorm, torch.nn.BatchNorm1d),
    "LayerNorm block": block(ours.LayerNorm, torch.nn.LayerNorm),
    "RMSNorm block": block(ours.RMSNorm, lambda d: torch.nn.RMSNorm(d, eps=1e-5)),
    "MLP": (
        lambda: ours.MLP([5, 8, 7, 5], activation="GELU", seed=0, **F64),
        lambda: torch.nn.Sequential(
            torch.nn.Linear(5, 8),
            torch.nn.GELU(),
            torch.nn.Linear(8, 7),
            torch.nn.GELU(),
            torch.nn.Linear(7, 5),
        ),
        "linear",
    ),
}

LOSSES = {
    "CrossEntropyLoss": (ours.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(), LABELS),
    "MSELoss": (ours.MSELoss(), torch.nn.MSELoss(), RNG.normal(0, 2, (6, 5))),
    "HuberLoss": (ours.HuberLoss(0.7), torch.nn.HuberLoss(delta=0.7), RNG.normal(0, 2, (6, 5))),
}


def twin(layer, theirs):
    """Torch's layer with the parameters of a NumPy layer, which are changed from ones and zeros first."""
    theirs = theirs().double()
    generator = np.random.default_rng(3)
    for name, value in layer.parameters.items():
        value += generator.normal(0, 0.3, value.shape)
        theirs.get_parameter(name).data = torch.from_numpy(value.copy())
    return theirs


def close(found, reference, k, scale=0.0):
    """Compare to k eps of the largest entry, or of `scale` if that is larger."""
    reference = reference.detach().numpy() if isinstance(reference, torch.Tensor) else reference
    scale = max(scale, np.abs(reference).max(initial=0))
    eps = np.finfo(found.dtype).eps
    np.testing.assert_allclose(found, reference, rtol=k * eps, atol=k * eps * scale)


@pytest.mark.parametrize("name", [*LAYERS, *NETS])
def test_output_and_gradients_are_torchs(name):
    mine, theirs, kind = {**LAYERS, **NETS}[name]
    layer = mine()
    theirs = twin(layer, theirs)
    x = torch.from_numpy(X).requires_grad_()
    y = theirs(x)
    g = np.random.default_rng(1).normal(size=y.shape)
    y.backward(torch.from_numpy(g))
    k = TOLERANCES[kind].parameter or TOLERANCES[kind].gradient
    k *= 4 if name in NETS else 1  # four layers, one after the other
    close(layer(X), y, k)
    close(layer.backward(g), x.grad, k)
    assert set(layer.gradients) == set(layer.parameters) == {n for n, _ in theirs.named_parameters()}
    for parameter, gradient in layer.gradients.items():
        # The gradient of a bias before BatchNorm is zero: a sum of terms as large as the input's.
        close(gradient, theirs.get_parameter(parameter).grad, k, scale=np.abs(g).max())
    for buffer, value in layer.buffers.items():
        close(value, theirs.get_buffer(buffer), k)


def central(f, array, h=1e-5):
    """df/d array, entry by entry; f is called with the array changed in place."""
    found = np.empty_like(array)
    for index in np.ndindex(*array.shape):
        kept, step = array[index], h * max(1, abs(array[index]))
        array[index] = kept + step
        above = f()
        array[index] = kept - step
        below = f()
        array[index] = kept
        found[index] = (above - below) / (2 * step)
    return found


@pytest.mark.parametrize("name", [*LAYERS, *NETS])
def test_gradients_are_central_differences(name):
    layer = {**LAYERS, **NETS}[name][0]()
    for value in layer.parameters.values():
        value += np.random.default_rng(3).normal(0, 0.3, value.shape)
    x = X.copy()
    g = np.random.default_rng(1).normal(size=layer(x).shape)

    def f():
        return float((layer(x) * g).sum())

    expected = central(f, x)
    by_name = {parameter: central(f, value) for parameter, value in layer.parameters.items()}
    layer(x)
    found = layer.backward(g)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8 * np.abs(expected).max())
    for parameter, expected in by_name.items():
        # Relative to g, too: the gradient of a bias before BatchNorm is zero, a sum of terms as large as g.
        scale = max(np.abs(expected).max(), np.abs(g).max())
        np.testing.assert_allclose(layer.gradients[parameter], expected, rtol=1e-7, atol=1e-8 * scale)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_torchs(name):
    mine, theirs, target = LOSSES[name]
    x = torch.from_numpy(X).requires_grad_()
    loss = theirs(x, torch.from_numpy(target))
    loss.backward()
    close(np.float64(mine(X, target)), loss, TOLERANCES["loss"].forward)
    close(mine.backward(), x.grad, TOLERANCES["loss"].gradient)
    moved = X.copy()
    expected = central(lambda: mine(moved, target), moved)
    np.testing.assert_allclose(mine.backward(), expected, rtol=1e-7, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("residual", "slope"), [(-3, -0.7), (-0.70001, -0.7), (-0.5, -0.5), (0.5, 0.5), (0.70001, 0.7), (3, 0.7)]
)
def test_huber_on_both_sides_of_each_kink(residual, slope):
    """The gradient keeps the sign of the residual."""
    loss = ours.HuberLoss(0.7)
    loss(np.array([[float(residual)]]), np.zeros((1, 1)))
    assert loss.backward().item() == pytest.approx(slope)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_repeated_has_the_same_gradients(name):
    """Only the loss divides by the batch size."""
    loss, _, target = LOSSES[name]
    net = ours.Sequential(
        ours.Linear(5, 8, seed=1, **F64),
        ours.LayerNorm(8, **F64),
        ours.Linear(8, 5, seed=2, **F64),
        loss=loss,
    )
    once, _, gradients = net.differentiate(X, target)
    twice, _, repeated = net.differentiate(np.concatenate((X, X)), np.concatenate((target, target)))
    assert once == pytest.approx(twice, rel=1e-13)
    for parameter in gradients:
        np.testing.assert_allclose(repeated[parameter], gradients[parameter], rtol=1e-11, atol=1e-14)


def test_backward_changes_no_parameter_and_a_step_every_one():
    net = ours.Sequential(
        ours.Linear(5, 8, seed=1), ours.BatchNorm(8), ours.ReLU(), ours.LayerNorm(8), ours.RMSNorm(8),
        ours.Linear(8, 5, seed=2),
    )  # fmt: skip
    before = {name: value.copy() for name, value in net.parameters.items()}
    net.differentiate(X.astype("float32"), LABELS)
    assert all((net.parameters[name] == before[name]).all() for name in before)
    ours.SGD(net, lr=0.1).step()
    assert all((net.parameters[name] != before[name]).any() for name in before)


@pytest.mark.parametrize("rows", [2, 8])
def test_running_statistics_are_torchs(rows):
    """The running variance is the unbiased one."""
    mine, theirs = ours.BatchNorm(5, **F64), torch.nn.BatchNorm1d(5, dtype=torch.float64)
    for _ in range(200):
        x = RNG.normal(3, 2, (rows, 5))
        mine(x)
        theirs(torch.from_numpy(x))
    np.testing.assert_allclose(mine.buffers["running_mean"], theirs.running_mean, rtol=1e-10)
    np.testing.assert_allclose(mine.buffers["running_var"], theirs.running_var, rtol=1e-10)
    mine.eval()
    theirs.eval()
    inputs = torch.from_numpy(X).requires_grad_()
    expected = theirs(inputs)
    expected.backward(torch.ones_like(expected))
    close(mine(X), expected, 32)
    close(mine.backward(np.ones_like(X)), inputs.grad, 32)


def test_dropout():
    """Evaluation is the identity; forward and backward share a mask; the mean stays the same."""
    layer = ours.Dropout(0.3, seed=0)
    x = np.ones((400, 400), np.float32)
    y = layer(x)
    assert y.dtype == np.float32
    standard_error = np.sqrt(0.3 / 0.7 / x.size)
    assert abs(y.mean() - 1) < 4 * standard_error
    np.testing.assert_array_equal(layer.backward(x), y)
    net = ours.Sequential(layer)
    net.eval()
    np.testing.assert_array_equal(net(x), x)
    np.testing.assert_array_equal(net.backward(x), x)
    net.train()
    assert (net(x) == 0).any()


def test_cross_entropy_of_large_logits():
    """The loss is finite, and a constant added to all logits does not change it."""
    loss = ours.CrossEntropyLoss()
    assert loss(X, LABELS) == pytest.approx(loss(X + 1000, LABELS), rel=1e-12)
    assert loss(np.array([[1e4, 0.0]]), np.array([1])) == 1e4
    assert np.isfinite(loss.backward()).all()


@pytest.mark.parametrize("name", [*LAYERS, *NETS])
def test_float32_stays_float32(name):
    """A float64 array on the way would double the work."""
    layer = {**LAYERS, **NETS}[name][0]()
    layer.bind({n: v.astype("float32") for n, v in {**layer.parameters, **layer.buffers}.items()})
    x = X.astype("float32")
    y = layer(x)
    grad = layer.backward(np.ones_like(y))
    arrays = [y, grad, *layer.gradients.values(), *layer.buffers.values()]
    assert {array.dtype for array in arrays} == {np.dtype("float32")}


def test_a_bias_gradient_over_many_rows_keeps_its_digits():
    """A float32 sum along the first axis is not pairwise in NumPy: 709 eps off at a million rows."""
    layer = ours.Linear(1, 2, seed=0)
    g = np.random.default_rng(0).random((1 << 20, 2), np.float32)
    layer(np.ones((1 << 20, 1), np.float32))
    layer.backward(g)
    close(layer.gradients["bias"], g.astype("float64").sum(0), TOLERANCES["sum"].gradient)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"weight_decay": 0.1},
        {"momentum": 0.5, "weight_decay": 0.1, "nesterov": True},
    ],
    ids=str,
)
def test_200_steps_of_sgd_are_torchs(options):
    mine, theirs, _ = NETS["MLP"]
    net = mine()
    theirs = twin(net, theirs)
    optimizer, reference = (
        ours.SGD(net, 0.05, **options),
        torch.optim.SGD(theirs.parameters(), 0.05, **options),
    )
    criterion = torch.nn.CrossEntropyLoss()
    for _ in range(200):
        net.differentiate(X, LABELS)
        optimizer.step()
        reference.zero_grad()
        criterion(theirs(torch.from_numpy(X)), torch.from_numpy(LABELS)).backward()
        reference.step()
    for name, value in net.parameters.items():
        close(value, theirs.get_parameter(name), 256)
