"""The engine on arrays: dtypes, shapes as in NumPy, comparison with numbers, and error messages."""

import numpy as np
import pytest

from nnfoundations import autograd
from nnfoundations.autograd import Value
from nnfoundations.errors import DtypeError, LabelError, ShapeError


def test_float32_stays_float32():
    """Python numbers take the dtype of the value."""
    net = autograd.MLP([4, 8, 3], activation="gelu", seed=0)
    _, logits, gradients = net.differentiate(np.ones((5, 4), np.float32), np.zeros(5, int))
    assert {logits.dtype, *(g.dtype for g in gradients.values())} == {np.dtype("float32")}
    x = Value(np.ones(3, np.float32))
    y = (2 * x / 3 + 1) ** 2
    y.sum().backward()
    assert y.data.dtype == x.grad.dtype == np.float32


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * np.int64(2),
        lambda x: np.int64(2) - x,
        lambda x: x ** np.int64(2),
        lambda x: x / np.array(3),
        lambda x: x * np.array([1, 0, 2]),
        lambda x: np.array([True, False, True]) * x,
        lambda x: x + np.float64(0.5),
        lambda x: x * np.ones(3, np.float32),
        lambda x: np.float32(2) * x,
    ],
)
def test_integers_and_numbers_promote_nothing(f):
    x = Value(np.ones((2, 3), np.float32))
    y = f(x)
    y.sum().backward()
    assert y.data.dtype == x.grad.dtype == np.float32
    assert Value(np.int64(2)).data.dtype == autograd.exp(3).data.dtype == np.float64
    assert autograd.exp(np.float32(3)).data.dtype == np.float32


def test_a_gradient_has_the_dtype_of_its_value():
    """float64 with float32 gives float64, as in NumPy; each gradient has the dtype of its own value."""
    x, w = Value(np.ones(3, np.float32)), Value(np.ones((2, 3)))
    y = (w * x).sum()
    y.backward()
    assert (y.data.dtype, x.grad.dtype, w.grad.dtype) == (np.float64, np.float32, np.float64)


def test_shapes_are_given_as_to_numpy():
    a = np.arange(24.0).reshape(2, 3, 4)
    x = Value(a)
    for shape in [(24,), (4, 6), (-1, 8)]:
        np.testing.assert_array_equal(x.reshape(*shape).data, a.reshape(*shape))
        np.testing.assert_array_equal(x.reshape(shape).data, a.reshape(shape))
        np.testing.assert_array_equal(x.reshape(list(shape)).data, a.reshape(shape))
    for axes in [(0, 2, 1), (-1, 0, 1)]:
        np.testing.assert_array_equal(x.transpose(axes).data, a.transpose(axes))
        np.testing.assert_array_equal(x.transpose(*axes).data, a.transpose(axes))
    np.testing.assert_array_equal(x.transpose(None).data, a.transpose(None))
    with pytest.raises(ValueError, match=r"transpose needs shapes that fit; got \(2, 3, 4\), axes=.0, 1, 3"):
        x.transpose(0, 1, 3)


def test_a_net_takes_integers_lists_and_values():
    """Integer pixels promote nothing; if the input is a Value, it gets a gradient."""
    net = autograd.MLP([4, 3], seed=0)
    pixels = np.arange(8).reshape(2, 1, 2, 2)
    _, logits, gradients = net.differentiate(pixels, [0, 2])
    assert {logits.dtype, *(g.dtype for g in gradients.values())} == {np.dtype("float32")}
    np.testing.assert_array_equal(logits, net(pixels.reshape(2, 4).tolist()).data)
    x = Value(pixels.astype("float32"))
    net(x).sum().backward()
    expected = np.tile(net.parameters["0.weight"].sum(0), (2, 1))
    np.testing.assert_allclose(x.grad.reshape(2, 4), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "negative"])
def test_numpys_functions_are_those_of_the_table(name):
    x, a = Value([0.5, 2.0]), np.array([0.5, 2.0])
    y = getattr(np, name)(x)
    y.sum().backward()
    np.testing.assert_allclose(y.data, getattr(np, name)(a))
    h = 1e-6
    slope = (getattr(np, name)(a + h) - getattr(np, name)(a - h)) / (2 * h)
    np.testing.assert_allclose(x.grad, slope, rtol=1e-8)


@pytest.mark.parametrize("data", [0, 1, -2.5, [0.0], [[3.0]], np.float32(0)])
def test_a_value_is_true_and_equal_as_its_number(data):
    x, a = Value(data), np.asarray(data)
    assert bool(x) == bool(a.item())
    assert x == a.item()
    np.testing.assert_array_equal(x != a.item(), np.zeros_like(a, bool))
    assert x == Value(data)
    assert x != Value(a + 1)
    assert {x: "by identity"}[x] == "by identity"


def test_arrays_compare_entry_by_entry():
    x = Value([1.0, 2.0])
    np.testing.assert_array_equal(x == [1.0, 3.0], [True, False])
    np.testing.assert_array_equal(x != Value([1.0, 3.0]), [False, True])
    assert [row.item() for row in x] == [1.0, 2.0]
    assert sum(x).item() == 3


UNFIT = {
    "complex": np.ones((2, 3)) + 1j,
    "masked": np.ma.masked_array(np.ones((2, 3)), np.eye(2, 3)),
    "matrix": np.ones((2, 3)).view(np.matrix),
    "objects": np.full((2, 3), None),
    "text": np.full((2, 3), "1.0"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_unfit_arrays_are_refused_in_every_operation(kind):
    """From both sides of each operator, in a network, as labels and as parameters."""
    unfit, x = UNFIT[kind], Value(np.ones((2, 3)))
    net = autograd.MLP([3, 2], seed=0)
    calls = [lambda: Value(unfit), lambda: x.backward(unfit), lambda: net(unfit), lambda: autograd.exp(unfit)]
    calls += [lambda: x + unfit, lambda: x * unfit, lambda: x / unfit, lambda: x**unfit, lambda: x @ unfit.T]
    calls += [lambda: unfit + x, lambda: unfit * x, lambda: unfit / x, lambda: unfit - x, lambda: unfit.T @ x]
    calls += [lambda: autograd.softmax_cross_entropy(x, unfit[:, 0].reshape(-1)[:2])] * (kind != "matrix")
    calls += [lambda: net.bind({**net.parameters, "0.weight": unfit})]
    for call in calls:
        with pytest.raises(DtypeError) as caught:
            call()
        assert "\n" not in str(caught.value)
    net.forward(np.ones((2, 3), np.float32))


def test_an_empty_batch_has_empty_gradients():
    """The mean loss is NaN and the gradients are zero, as in torch."""
    net = autograd.MLP([3, 4, 2], seed=0)
    loss, logits, gradients = net.differentiate(np.zeros((0, 3), np.float32), np.zeros(0, int))
    assert np.isnan(loss)
    assert logits.shape == (0, 2)
    assert all((gradient == 0).all() for gradient in gradients.values())


X = np.ones((6, 5))
LABELS = np.arange(6) % 5


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Value(X) @ Value(X), ShapeError, r"matmul needs shapes that fit; got \(6, 5\) and \(6, 5\)"),
        (lambda: Value(X) + np.ones(6), ShapeError, r"add needs shapes that fit; got \(6, 5\) and \(6,\)"),
        (lambda: Value(X).reshape(7), ShapeError, r"reshape needs .*, shape=\(7,\). Reshape or"),
        (lambda: Value(X).sum(axis=2), ShapeError, r"sum needs shapes that fit; got \(6, 5\), axis=2"),
        (lambda: Value(X).max().backward(X), ShapeError, r"a gradient of shape \(\); got \(6, 5\)"),
        (lambda: Value(X).backward(), ShapeError, "Reduce the value to one number first"),
        (lambda: np.sin(Value(X)), TypeError, r"np.tanh, none of them in place; got np.sin. Write it with"),
        (lambda: np.add(X, Value(X), out=X), TypeError, "got np.add in place. Write"),
        (lambda: Value(None), DtypeError, "a real number or an array of them; got None"),
        (lambda: Value(1.0) + None, DtypeError, "got None. Pass floats"),
        (lambda: Value([[1.0], [1.0, 2.0]]), DtypeError, "in rows of one length"),
        (lambda: Value([Value(1.0)]), DtypeError, "does not convert to an array.*Use x.data"),
        (lambda: np.asarray(Value(X)), DtypeError, "A Value does not convert to an array"),
        (lambda: bool(Value(X)), ShapeError, r"if it is one number; got shape \(6, 5\)"),
        (lambda: list(Value(1.0)), ShapeError, "rows; got one number"),
        (lambda: Value(1j), DtypeError, "got 1j"),
        (lambda: autograd.softmax_cross_entropy(X, LABELS / 1), DtypeError, "integers; got float64. Conv"),
        (lambda: autograd.softmax_cross_entropy(X, LABELS == 0), DtypeError, "integers; got bool"),
        (lambda: autograd.softmax_cross_entropy(X, LABELS + 1), LabelError, "from 0 to 4; got 1 to 5"),
        (lambda: autograd.softmax_cross_entropy(X, LABELS - 1), LabelError, "from 0 to 4; got -1 to 3"),
        (lambda: autograd.softmax_cross_entropy(X, np.eye(6)[:, :5]), ShapeError, r"class indices \(N,\)"),
        (lambda: autograd.MLP([5, 2.5]), ShapeError, r"positive whole numbers; got \[5, 2.5\]"),
        (lambda: autograd.MLP([5, 0]), ShapeError, r"positive whole numbers; got \[5, 0\]"),
        (lambda: autograd.MLP([5, 2], dtype="int32"), DtypeError, "a floating-point dtype; got int32"),
        (lambda: autograd.MLP([5, 2], dtype="float23"), DtypeError, "got float23. Use 'float32'"),
        (lambda: autograd.MLP([5, 2])(X[0]), ShapeError, r"5 numbers per sample; got x of shape \(5,\)"),
    ],
)  # fmt: skip
def test_error_messages(call, error, text):
    with pytest.raises(error, match=text):
        call()
