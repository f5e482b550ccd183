"""NumPy networks in use: initial weights, gradients, error messages, and no import of torch."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from nnfoundations import numpy as ours
from nnfoundations.errors import DtypeError, LabelError, OptionError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, (6, 5))
LABELS = RNG.integers(0, 5, 6)


def after_forward(layer):
    layer(X)
    return layer


def test_integers_and_lists_promote_nothing():
    """Integer pixels and a list of labels are accepted; a float64 target leaves float32 gradients."""
    net = ours.Sequential(
        ours.Linear(5, 4, seed=0), ours.BatchNorm(4), ours.ReLU(), ours.Linear(4, 5, seed=1)
    )
    pixels = (X * 10).astype(np.int64)
    _, logits, gradients = net.differentiate(pixels, LABELS.tolist())
    assert {logits.dtype, *(g.dtype for g in gradients.values())} == {np.dtype("float32")}
    _, _, as_floats = net.differentiate(pixels.astype("float32"), LABELS)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, as_floats[name])
    for loss in (ours.MSELoss(), ours.HuberLoss()):
        for target in (X, X.tolist(), pixels):
            loss(logits, target)
            assert loss.backward().dtype == np.float32
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.uint8)
    assert ours.Perceptron(2).fit(x, [0, 0, 0, 1], seed=0).predict(x).tolist() == [0, 0, 0, 1]


def test_gradients_that_were_given_stay_as_they_are():
    """The next backward makes new arrays, and a step of SGD does not write to them."""
    net = ours.MLP([5, 8, 5], seed=0)
    _, _, first = net.differentiate(X.astype("float32"), LABELS)
    copies = {name: value.copy() for name, value in first.items()}
    ours.SGD(net, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True).step()
    net.differentiate(-X.astype("float32"), LABELS)
    for name, value in first.items():
        np.testing.assert_array_equal(value, copies[name])
        assert (net.gradients[name] != value).any()


@pytest.mark.parametrize(("init", "std"), [("he", np.sqrt(2 / 400)), ("xavier", np.sqrt(2 / 1000))])
def test_initial_weights(init, std):
    gain = np.sqrt(2) if init == "he" else 1.0
    weight = ours.Linear(400, 600, init=init, gain=gain, seed=0).parameters["weight"]
    assert weight.std() == pytest.approx(std, rel=0.01)
    np.random.seed(3)
    first = ours.Linear(4, 4).parameters["weight"]
    np.random.seed(3)
    np.testing.assert_array_equal(ours.Linear(4, 4).parameters["weight"], first)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ours.Linear(3, 2)(X), ShapeError, r"rows of 3 features; got x of shape \(6, 5\)"),
        (lambda: ours.BatchNorm(5)(X[:1]), ShapeError, "BatchNorm needs 2 rows or more in training"),
        (lambda: ours.ReLU().backward(X), RuntimeError, "needs a forward before it"),
        (lambda: ours.MSELoss().backward(), RuntimeError, "needs a forward before it"),
        (lambda: ours.Dropout(1), OptionError, "at least 0 and less than 1; got 1"),
        (lambda: ours.Linear(3, 2, init="lecun"), OptionError, "must be 'he' or 'xavier'; got 'lecun'"),
        (lambda: ours.MLP([3]), ShapeError, r"at least two sizes, all positive whole numbers; got \[3\]"),
        (lambda: ours.MLP([3, 2], activation="Relu"), OptionError, "got 'Relu'"),
        (lambda: ours.CrossEntropyLoss()(X, LABELS + 1), LabelError, "from 0 to 4; got"),
        (lambda: ours.CrossEntropyLoss()(X, LABELS[:3]), ShapeError, r"class indices \(N,\); got"),
        (lambda: ours.MSELoss()(X, X[:, :1]), ShapeError, "of one shape"),
        (lambda: ours.HuberLoss(0), OptionError, "a delta above 0; got 0"),
        (lambda: ours.Linear(0, 3), ShapeError, "1 for in_features and out_features; got in_features=0"),
        (lambda: ours.Linear(-1, 3), ShapeError, "got in_features=-1, out_features=3. Pass"),
        (lambda: ours.Linear(3, 2.5), ShapeError, "out_features=2.5"),
        (lambda: ours.Linear(3, 2, dtype="int32"), DtypeError, "a floating-point dtype; got 'int32'"),
        (lambda: ours.Linear(3, 2, dtype="float23"), DtypeError, "got 'float23'. Use 'float32'"),
        (lambda: ours.Linear(3, 2, gain=-1), OptionError, "a gain of at least 0; got -1"),
        (lambda: ours.Linear(5, 2)(X.tolist()), DtypeError, "a NumPy array; got list. Convert it"),
        (lambda: ours.Linear(5, 2)(X.astype(str)), DtypeError, "an array of real numbers; got <U"),
        (lambda: ours.Linear(5, 2)(X.astype(str)), DtypeError, "Encode text as numbers"),
        (lambda: ours.Linear(5, 2)(X.astype("M8[s]")), DtypeError, r"got datetime64\[s\]. Subtract a start"),
        (lambda: ours.ReLU()(X.astype("m8[s]")), DtypeError, "got timedelta64.s.. Divide it by a unit"),
        (lambda: ours.ReLU()(np.zeros(3, [("a", "f4")])), DtypeError, "Stack its fields as columns"),
        (lambda: ours.HuberLoss()(X, np.ma.array(X)), DtypeError, r"HuberLoss's target .* with filled\(0\)"),
        (lambda: ours.BatchNorm(-1), ShapeError, "at least 1 for num_features; got num_features=-1"),
        (lambda: ours.LayerNorm(0), ShapeError, "got num_features=0"),
        (lambda: ours.RMSNorm(5, eps=-1), OptionError, "RMSNorm needs an eps of at least 0; got -1"),
        (lambda: ours.BatchNorm(5, momentum=None), OptionError, "a momentum from 0 to 1; got None"),
        (lambda: ours.LayerNorm(4)(X), ShapeError, "LayerNorm needs rows of 4 features; got"),
        (lambda: ours.Dropout(-0.1), OptionError, "got -0.1"),
        (lambda: ours.Dropout(0.5)(LABELS), DtypeError, "an array of floats; got int64. Convert it with ast"),
        (lambda: ours.GELU()(X.tolist()), DtypeError, "GELU needs a NumPy array; got list"),
        (lambda: after_forward(ours.Linear(5, 2)).backward(X), ShapeError, r"\(6, 2\); got \(6, 5\)"),
        (lambda: after_forward(ours.ReLU()).backward(X[:2]), ShapeError, r"\(6, 5\); got \(2, 5\). Call"),
        (lambda: after_forward(ours.BatchNorm(5)).backward(X[:2]), ShapeError, "BatchNorm.backward needs"),
        (lambda: after_forward(ours.Dropout()).backward(1.0), DtypeError, "got float"),
        (lambda: ours.Sequential([ours.ReLU()]), TypeError, r"one per argument; got \[ReLU\(\)\]. Call"),
        (lambda: ours.Sequential(ours.ReLU), TypeError, r"got <class .*Call a class, as in ReLU\(\)"),
        (lambda: ours.Sequential(loss=ours.MSELoss), TypeError, "a loss with a backward; got <class"),
        (lambda: ours.MLP([3, 2.5]), ShapeError, r"positive whole numbers; got \[3, 2.5\]"),
        (lambda: ours.MLP([3, 2, 1], activation=ours.ReLU()), OptionError, r"got ReLU\(\). Use one"),
        (lambda: ours.MLP([5, 5])(X.tolist()), DtypeError, "MLP needs a NumPy array; got list"),
        (lambda: ours.CrossEntropyLoss()(X, LABELS / 1), DtypeError, "integers; got float64. Convert them"),
        (lambda: ours.CrossEntropyLoss()(X, LABELS == 0), DtypeError, "integers; got bool"),
        (lambda: ours.CrossEntropyLoss()(X, LABELS - 1), LabelError, "from 0 to 4; got -1 to"),
        (lambda: ours.CrossEntropyLoss()(X, np.eye(5)[LABELS]), ShapeError, r"got \(6, 5\) and \(6, 5"),
        (lambda: ours.CrossEntropyLoss()(LABELS[None], LABELS[:1]), DtypeError, "of floats; got int"),
        (lambda: ours.MSELoss()(X[:, 0], 1.0), ShapeError, r"got \(6,\) and \(\). Reshape"),
        (lambda: ours.SGD({}, 0.1), TypeError, r"SGD needs the network.*got dict. Pass it first: SGD\(net"),
        (lambda: ours.SGD(ours.ReLU(), 1, momentum=-0.1), OptionError, "momentum=-0.1"),
        (lambda: ours.Perceptron(0), ShapeError, "Perceptron needs whole numbers of at least 1 for features"),
        (lambda: ours.Perceptron(5)(X.tolist()), DtypeError, "Perceptron needs a NumPy array; got list"),
        (lambda: ours.SGD(ours.ReLU(), -1), OptionError, "got lr=-1"),
        (lambda: ours.SGD(ours.ReLU(), 1, nesterov=True), OptionError, "needs a momentum for nesterov"),
    ],
)  # fmt: skip
def test_error_messages(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_softmax_before_cross_entropy_gives_a_warning():
    loss = ours.CrossEntropyLoss()
    with pytest.warns(UserWarning, match="Remove the Softmax") as caught:
        loss(ours.Softmax()(X), LABELS)
    assert caught[0].filename == __file__  # the caller's line, not ours
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.CrossEntropyLoss()(X, LABELS)


def test_it_runs_without_torch():
    """The package imports and trains if torch cannot be imported."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from nnfoundations.numpy import MLP, SGD, Perceptron\n"
        "net = MLP([4, 8, 3], activation='GELU', seed=0); optimizer = SGD(net, 0.1, momentum=0.9)\n"
        "x, y = np.random.default_rng(0).normal(size=(9, 4)).astype('f'), np.arange(9) % 3\n"
        "losses = []\n"
        "for _ in range(200):\n"
        "    losses.append(net.differentiate(x, y)[0]); optimizer.step()\n"
        "assert losses[-1] < 0.01 < losses[0], losses\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_empty_batch_and_a_step_without_a_backward():
    net = ours.MLP([4, 3, 2], seed=0)
    empty = np.zeros((0, 4), np.float32)
    assert net(empty).shape == ours.Perceptron(4)(empty).shape == (0, 2)
    with pytest.raises(RuntimeError, match="needs the gradients of a backward"):
        ours.SGD(net, lr=0.1).step()
