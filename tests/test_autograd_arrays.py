"""The engine on arrays: dtypes that stay, and shapes as NumPy's methods take them."""

import numpy as np
import pytest

from nnfoundations import autograd
from nnfoundations.autograd import Value


def test_float32_stays_float32():
    """Numbers beside it take its dtype."""
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
    """Where float64 arrays meet float32 ones the result is float64, as NumPy's; each gets its own back."""
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
    with pytest.raises(ValueError, match="out of bounds"):
        x.transpose(0, 1, 3)
