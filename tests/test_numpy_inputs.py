"""Every layer and loss of nnfoundations.numpy on unusual input: the right numbers, or one clear error."""

import inspect
import math
import warnings

import numpy as np
import pytest
import torch

from nnfoundations import numpy as ours
from nnfoundations.errors import DtypeError, LabelError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, (6, 5)).astype("float32")
LABELS = RNG.integers(0, 5, 6)

LAYERS = {
    "BatchNorm": lambda: ours.BatchNorm(5),
    "Dropout": lambda: ours.Dropout(0.3, seed=0),
    "GELU": ours.GELU,
    "LayerNorm": lambda: ours.LayerNorm(5),
    "LeakyReLU": ours.LeakyReLU,
    "Linear": lambda: ours.Linear(5, 4, seed=0),
    "MLP": lambda: ours.MLP([5, 4, 5], seed=0),
    "Perceptron": lambda: ours.Perceptron(5),
    "RMSNorm": lambda: ours.RMSNorm(5),
    "ReLU": ours.ReLU,
    "Sequential": lambda: ours.Sequential(ours.Linear(5, 4, seed=0), ours.ReLU()),
    "SiLU": ours.SiLU,
    "Sigmoid": ours.Sigmoid,
    "Softmax": ours.Softmax,
    "Tanh": ours.Tanh,
}
ROWS = {"BatchNorm", "LayerNorm", "Linear", "MLP", "Perceptron", "RMSNorm", "Sequential"}
LOSSES = {
    "CrossEntropyLoss": (ours.CrossEntropyLoss, LABELS, torch.nn.functional.cross_entropy),
    "HuberLoss": (ours.HuberLoss, X[::-1], torch.nn.functional.huber_loss),
    "MSELoss": (ours.MSELoss, X[::-1], torch.nn.functional.mse_loss),
}

UNFIT = {
    "complex": lambda x: x + 1j,
    "masked": lambda x: np.ma.masked_array(x, x > 0),
    "masked nowhere": np.ma.masked_array,
    "matrix": lambda x: np.atleast_2d(x).view(np.matrix),
    "objects": lambda x: x.astype(object),
    "text": lambda x: x.astype(str),
    "dates": lambda x: np.zeros(x.shape, "datetime64[s]"),
    "records": lambda x: np.zeros(x.shape, [("a", "f4")]),
}


def of_kind(base):
    return {
        name
        for name, found in vars(ours).items()
        if inspect.isclass(found) and issubclass(found, base) and not inspect.isabstract(found)
    }


def test_every_layer_and_loss_is_in_the_tables():
    assert of_kind(ours.Layer) == set(LAYERS)
    assert of_kind(ours.Loss) == set(LOSSES)


def refused(call, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DtypeError) as caught:
            call()
    text = str(caught.value)
    assert name in text
    assert "got" in text
    assert "\n" not in text
    assert len(text) < 200


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_refuses_unfit_arrays(name, kind):
    """As input, as gradient of the output, and as parameters."""
    layer, unfit = LAYERS[name](), UNFIT[kind](X)
    refused(lambda: layer(unfit), "Linear" if name == "Sequential" else name)
    if name == "Perceptron":
        refused(lambda: layer.fit(unfit, X[:, 0] > 0), name)
        refused(lambda: layer.differentiate(unfit, X[:, 0] > 0), name)
    else:
        y = layer(X)
        refused(lambda: layer.backward(UNFIT[kind](y)), ".backward")
    if layer.parameters:
        arrays = {n: UNFIT[kind](value) for n, value in {**layer.parameters, **layer.buffers}.items()}
        refused(lambda: layer.bind(arrays), ".bind")


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_refuses_unfit_arrays(name, kind):
    build, target, _ = LOSSES[name]
    refused(lambda: build()(UNFIT[kind](X), target), name)
    unfit = UNFIT[kind](target)
    if name == "CrossEntropyLoss" and kind not in ("masked", "masked nowhere", "matrix"):
        refused(lambda: build()(X, unfit), "integers")
    else:
        refused(lambda: build()(X, unfit), f"{name}'s target")
    with pytest.raises(RuntimeError, match="a forward before it"):
        ours.MSELoss().backward()


@pytest.mark.parametrize("name", LOSSES)
def test_a_ragged_target_is_refused(name):
    with pytest.raises(ShapeError, match=f"{name}'s target needs rows of one length; got a ragged list"):
        LOSSES[name][0]()(X, [[1.0], [1.0, 2.0]])


def outcome(layer, x):
    y = layer(x)
    grad = layer.backward(np.ones_like(y)) if type(layer).__name__ != "Perceptron" else y
    return [y, grad, *layer.gradients.values()]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_same_for_the_same_numbers(name):
    """In another memory order, byte order or dtype; integers and booleans if the layer takes rows."""
    numbers = np.round(X)
    expected = outcome(LAYERS[name](), numbers)
    same = [np.asfortranarray(numbers), np.repeat(numbers, 2, 0)[::2], numbers.astype(">f4")]
    same += [numbers.astype("float64"), numbers.astype("float16"), numbers.astype("longdouble")]
    if name in ROWS:
        same += [numbers.astype("int64"), numbers.astype("int8")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in same:
            for found, array in zip(outcome(LAYERS[name](), x), expected, strict=True):
                assert found.dtype.kind == "f"
                eps = np.finfo(np.float16).eps if x.dtype == np.float16 else 1e-6
                np.testing.assert_allclose(np.asarray(found, "f8"), array, rtol=8 * eps, atol=8 * eps)
    if name in ROWS:
        (y, *_), (expected, *_) = outcome(LAYERS[name](), X > 0), outcome(LAYERS[name](), (X > 0) * 1)
        np.testing.assert_array_equal(y, expected)
        return
    for x in (X > 0, numbers.astype("int64")):
        refused(lambda x=x: LAYERS[name]()(x), name)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "x", [X[:0], X[:, :0], X[0, 0], np.asarray(X[0, 0]), X[0]], ids=lambda x: str(x.shape)
)
def test_a_layer_on_an_empty_batch_a_number_and_one_row(name, x):
    """Activations take any shape; a layer that takes rows refuses another number of features."""
    layer = LAYERS[name]()
    if name in ROWS and x.shape != (0, 5):
        with pytest.raises(ShapeError, match=r"features; got x of shape|a batch .*; got one number"):
            layer(x)
        return
    if name == "BatchNorm":
        with pytest.raises(ShapeError, match="2 rows or more in training"):
            layer(x)
        layer.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, grad, *gradients = outcome(layer, x)
    assert y.shape == ((0, len(layer.parameters["weight"])) if name == "Linear" else y.shape)
    assert grad.shape == (x.shape if name != "Perceptron" else (0, 2))
    assert y.dtype == grad.dtype == np.float32
    assert all((array == 0).all() for array in gradients)
    if not x.shape and name not in ("Dropout", "Softmax"):
        rows = LAYERS[name]()
        np.testing.assert_allclose(y, rows(X)[0, 0], rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_an_empty_batch_is_nan_and_its_gradient_empty(name):
    """As in torch; a step on it changes no parameter."""
    build, target, reference = LOSSES[name]
    x = torch.zeros(0, 5, requires_grad=True)
    expected = reference(x, torch.from_numpy(target[:0].copy()))
    expected.backward()
    assert expected.isnan()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = build()
        assert math.isnan(loss(X[:0], target[:0]))
        assert loss.backward().shape == tuple(x.grad.shape)
        net = ours.Sequential(ours.Linear(5, 5, seed=0), loss=build())
        value, _, gradients = net.differentiate(X[:0], target[:0].tolist() if name[0] == "C" else target[:0])
    assert math.isnan(value)
    assert all((gradient == 0).all() for gradient in gradients.values())


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_torchs_for_every_dtype(name):
    """Half precision is computed in float32: the square of a residual above 256 would overflow."""
    build, target, reference = LOSSES[name]
    x = np.round(X * 200)
    targets = [target, target.tolist()]
    targets += (
        [target.astype(np.int8)] if name[0] == "C" else [target > 0, target.astype("f8"), np.round(target)]
    )
    for one in targets:
        tensor = torch.as_tensor(np.array(one))
        reference_x = torch.from_numpy(x.copy()).requires_grad_()
        expected = reference(reference_x, tensor.long() if name[0] == "C" else tensor.float())
        expected.backward()
        for dtype in ("float16", "float32", "float64", "longdouble", ">f4"):
            loss = build()
            assert loss(x.astype(dtype), one) == pytest.approx(expected.item(), rel=1e-5)
            np.testing.assert_allclose(
                np.asarray(loss.backward(), "f4"), reference_x.grad, rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("name", ["MSELoss", "HuberLoss"])
def test_the_loss_of_two_numbers(name):
    loss = LOSSES[name][0]()
    assert loss(np.float32(3), 1) == pytest.approx(4 if name == "MSELoss" else 1.5)
    assert loss.backward().shape == ()


@pytest.mark.parametrize(
    "labels",
    [np.ma.masked_array(LABELS > 2), [0, 1, None, 1, 0, 1], [0, 1, "b", 1, 0, 1], LABELS + 1j, LABELS / 2],
    ids=str,
)
def test_a_perceptron_refuses_other_classes(labels):
    with pytest.raises((DtypeError, LabelError), match=r"Perceptron.*(masked array|classes 0 and 1; got)"):
        ours.Perceptron(5).fit(X, labels)


@pytest.mark.parametrize("kind", UNFIT)
def test_the_bound_refuses_unfit_arrays(kind):
    """It accepts lists, as NumPy does."""
    x, y, weight = np.array([[2.0, 0.0], [-2.0, 1.0]]), [1, 0], np.array([1.0, 0.0])
    expected = ours.novikoff_bound(x, y, weight, 0.0)
    assert ours.novikoff_bound(x.tolist(), y, [1, 0], 0) == expected
    refused(lambda: ours.novikoff_bound(UNFIT[kind](x), y, weight, 0.0), "novikoff_bound's x")
    refused(lambda: ours.novikoff_bound(x, y, UNFIT[kind](weight), 0.0), "novikoff_bound's weight")


def test_a_perceptron_takes_booleans_as_classes():
    labels = X[:, 0] > 0
    assert ours.Perceptron(5).fit(X, labels, seed=0).predict(X).tolist() == labels.tolist()


def test_a_perceptron_without_rows():
    net = ours.Perceptron(5)
    with pytest.raises(ShapeError, match=r"at least one row; got x of shape \(0, 5\)"):
        net.fit(X[:0], LABELS[:0])
    with pytest.raises(ShapeError, match="at least one row"):
        ours.novikoff_bound(X[:0], LABELS[:0], np.ones(5), 0.0)
    loss, logits, differences = net.differentiate(X[:0], LABELS[:0])
    assert math.isnan(loss)
    assert logits.shape == (0, 2)
    assert all((value == 0).all() for value in differences.values())
