"""The engine: gradcheck of every operation, random expressions, deep graphs, and networks that learn."""

import gc
import re
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnfoundations import autograd
from nnfoundations.autograd import OPERATIONS, Value
from nnfoundations.errors import OptionError, ShapeError
from nnfoundations.numpy import sgd_update

LABELS = np.array([0, 2, 1])
PICK = np.array([0, 2, 2])  # one entry twice

# Operation: expressions that use it, with the shapes of their arrays.
EXPRESSIONS = {
    "add": [(lambda a, b: a + b, (3, 4), (4,)), (lambda a: 2.0 + a, (3,)), (lambda a: a + 1, ())],
    "sub": [(lambda a, b: a - b, (3, 1), (2, 1, 4)), (lambda a: 1 - a, (3,))],
    "mul": [(lambda a, b: a * b, (3, 1), (1, 4)), (lambda a: 3 * a, (3,)), (lambda a: a * a, (3,))],
    "div": [(lambda a, b: a / (b * b + 1), (3, 4), (4,)), (lambda a: 1 / (a * a + 1), (3,))],
    "pow": [
        (lambda a: a**3, (3,)),
        (lambda a: a**0, (3,)),
        (lambda a: 2**a, (3,)),
        (lambda a, b: (a * a + 0.5) ** b, (3, 4), (4,)),
    ],
    "neg": [(lambda a: -a, (3,))],
    "matmul": [
        (lambda a, b: a @ b, (3, 4), (4, 2)),
        (lambda a, b: a @ b, (2, 3, 4), (4, 2)),
        (lambda a, b: a @ b, (4,), (4, 2)),
        (lambda a, b: a @ b, (3, 4), (4,)),
        (lambda a, b: a @ b, (4,), (4,)),
        (lambda a: np.ones((2, 3)) @ a, (3, 2)),
    ],
    "exp": [(autograd.exp, (3, 2))],
    "log": [(lambda a: autograd.log(a * a + 0.5), (3, 2))],
    "sum": [
        (lambda a: a.sum(), (3, 2)),
        (lambda a: a.sum(0), (3, 2)),
        (lambda a: a.sum((0, 2), True), (2, 3, 2)),
    ],
    "mean": [
        (lambda a: a.mean(), (3, 2)),
        (lambda a: a.mean(1, True), (3, 2)),
        (lambda a: a.mean((0, 1)), (3, 2)),
    ],
    "max": [(lambda a: a.max(), (3, 2)), (lambda a: a.max(0), (3, 2)), (lambda a: a.max(1, True), (3, 2))],
    "reshape": [
        (lambda a: a.reshape(2, -1), (3, 4)),
        (lambda a: a.reshape((2, 6)), (3, 4)),
        (lambda a: a.reshape(np.int64(12)), (3, 4)),
        (lambda a: a.reshape(()), (1, 1)),
    ],
    "transpose": [
        (lambda a: a.transpose(), (2, 3, 4)),
        (lambda a: a.transpose(1, 2, 0), (2, 3, 4)),
        (lambda a: a.transpose((-1, 0, -2)), (2, 3, 4)),
    ],
    "getitem": [(lambda a: a[1], (3, 2)), (lambda a: a[PICK], (3, 2)), (lambda a: a[:, ::2], (3, 4))],
    "tanh": [(autograd.tanh, (3, 2))],
    "sigmoid": [(autograd.sigmoid, (3, 2))],
    "relu": [(autograd.relu, (3, 2))],
    "gelu": [(autograd.gelu, (3, 2))],
    "silu": [(autograd.silu, (3, 2))],
    "softmax_cross_entropy": [(lambda a: autograd.softmax_cross_entropy(a, LABELS), (3, 4))],
}  # fmt: skip


class Expression(torch.autograd.Function):
    """Wraps an expression of `nnfoundations.autograd` as a torch function, for gradcheck."""

    @staticmethod
    def forward(ctx, f, *tensors):
        ctx.values = [Value(tensor.detach().numpy()) for tensor in tensors]
        ctx.out = f(*ctx.values)
        return torch.from_numpy(np.array(ctx.out.data))

    @staticmethod
    def backward(ctx, grad):
        ctx.out.backward(grad.numpy())
        return None, *(torch.from_numpy(np.array(value.grad)) for value in ctx.values)


def test_every_operation_has_an_expression():
    assert set(EXPRESSIONS) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("f", "shapes"),
    [
        pytest.param(f, shapes, id=f"{name}-{i}")
        for name, cases in EXPRESSIONS.items()
        for i, (f, *shapes) in enumerate(cases)
    ],
)
def test_gradcheck(f, shapes):
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes
    ]
    check = torch.autograd.gradcheck
    assert check(lambda *a: Expression.apply(f, *a), inputs, eps=1e-6, atol=1e-7, rtol=1e-5)


UNARY = ["tanh", "sigmoid", "gelu", "silu", "relu", "exp"]


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_expressions_have_torchs_gradients(data):
    """Up to 12 operations on three arrays that broadcast; a result may be used several times."""
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    shapes = [(3, 4), (4,), (3, 1)]
    leaves = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    mine = [Value(leaf.detach().numpy()) for leaf in leaves]
    theirs = list(leaves)
    ours = list(mine)
    for _ in range(data.draw(st.integers(1, 12))):
        i, j = data.draw(st.integers(0, len(ours) - 1)), data.draw(st.integers(0, len(ours) - 1))
        name = data.draw(st.sampled_from([*UNARY, "+", "-", "*", "/", "mean", "T"]))
        a, b, c, d = ours[i], ours[j], theirs[i], theirs[j]
        if name in UNARY:
            f = {"gelu": torch.nn.functional.gelu, "silu": torch.nn.functional.silu}.get(name)
            # exp of exp of exp overflows
            a, c = (autograd.tanh(a), torch.tanh(c)) if name == "exp" else (a, c)
            ours.append(getattr(autograd, name)(a))
            theirs.append((f or getattr(torch, name))(c))
        elif name == "mean":
            ours.append(a.mean())
            theirs.append(c.mean())
        elif name == "T":
            ours.append(a.transpose().transpose())
            theirs.append(c)
        elif name == "/":
            ours.append(a / (b * b + 1))
            theirs.append(c / (d * d + 1))
        else:
            op = {"+": "__add__", "-": "__sub__", "*": "__mul__"}[name]
            ours.append(getattr(autograd.tanh(a), op)(b))
            theirs.append(getattr(torch.tanh(c), op)(d))
    ours[-1].sum().backward()
    expected = torch.autograd.grad(theirs[-1].sum(), leaves, allow_unused=True)
    for value, reference in zip(mine, expected, strict=True):
        if reference is None:
            assert value.grad is None
        else:
            scale = max(1.0, reference.abs().max().item())
            np.testing.assert_allclose(value.grad, reference.numpy(), rtol=1e-10, atol=1e-11 * scale)


def test_two_equal_maxima_share_the_gradient():
    x = Value([1.0, 3.0, 3.0])
    x.max().backward()
    np.testing.assert_array_equal(x.grad, [0, 0.5, 0.5])


def test_a_backward_sets_and_does_not_add():
    x = Value(3.0)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad == 6


def test_100_000_nodes_and_nothing_left_of_them():
    x = Value(0.5)
    y = x
    for _ in range(100_000):
        y = y + x
    y.backward()
    assert x.grad == 100_001
    gone = weakref.ref(y)
    gc.disable()  # reference counts alone must free the graph: it has no cycle
    try:
        del y
        assert gone() is None
    finally:
        gc.enable()


def trained(net, x, y, *, steps, lr, momentum=0.9, batch=None, seed=0):
    generator = np.random.default_rng(seed)
    velocities = {name: np.zeros_like(p) for name, p in net.parameters.items()}
    for step in range(steps):
        rows = slice(None) if batch is None else generator.integers(0, len(x), batch)
        _, _, gradients = net.differentiate(x[rows], y[rows])
        rate = lr if batch is None else lr * (1 - step / steps)
        for name, parameter in net.parameters.items():
            sgd_update(parameter, gradients[name], velocities[name], lr=rate, momentum=momentum)
    return net


@pytest.mark.parametrize(
    "activation",
    ["tanh", *(pytest.param(name, marks=pytest.mark.slow) for name in ("relu", "gelu", "silu"))],
)
def test_xor_is_learnt_from_20_of_20_seeds(activation):
    x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
    y = np.array([0, 1, 1, 0])
    for seed in range(20):
        net = trained(autograd.MLP([2, 8, 2], activation=activation, seed=seed), x, y, steps=300, lr=0.3)
        assert (net.forward(x).argmax(1) == y).all(), seed


def test_digits_are_learnt():
    """1,437 images for training, 360 for the test; 15 epochs."""
    from nnfoundations.datamodules import DigitsDataModule

    data = DigitsDataModule(batch_size=2000)
    data.setup()
    (x, y), (test_x, test_y) = (
        [t.numpy() for t in next(iter(loader))]
        for loader in (data.train_dataloader(), data.test_dataloader())
    )
    net = trained(autograd.MLP([64, 32, 10], seed=0), x, y, steps=600, lr=0.1, batch=32)
    assert (net.forward(test_x).argmax(1) == test_y).mean() >= 0.95


def test_a_drawing():
    w, x = Value(0.5), Value(2.0)
    y = autograd.tanh(w * x)
    y.backward()
    dot = autograd.to_dot(y, {"w": w, "x": x})
    assert dot.startswith("digraph {")
    assert 'label="w\\n0.5\\ngrad 0.8399"' in dot
    assert dot.count(" -> ") == 3
    a, b = Value(np.ones((2, 3))), Value(np.ones(3))
    z = (a / b).sum()
    z.backward()
    dot = autograd.to_dot(z, {"a": a, "b": b})
    assert 'label="a\\n(2, 3)\\n|grad| 2.449"' in dot  # the root of six ones
    assert 'label="b\\n(3,)' in dot  # a vector, not the number 3
    (of_a,), (of_b,) = (re.findall(rf'(v\d+) \[shape=box label="{name}', dot) for name in "ab")
    assert dot.index(f"  {of_a} -> ") < dot.index(f"  {of_b} -> ")
    if shutil.which("dot"):
        assert "<svg" in autograd.to_svg(y)
    else:
        with pytest.raises(RuntimeError, match="Install graphviz"):
            autograd.to_svg(y)


def test_it_runs_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from nnfoundations.autograd import Value, gelu\n"
        "x = Value(1.0); gelu(x * x).backward(); assert x.grad > 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Value([1.0, 2.0]).backward(), ShapeError, r"a value of shape \(2,\); got none"),
        (lambda: Value([1.0]).backward(np.ones(3)), ShapeError, r"shape \(1,\); got \(3,\)"),
        (lambda: autograd.MLP([3]), ShapeError, r"got \[3\]"),
        (lambda: autograd.MLP([3, 2], activation="selu"), OptionError, "got 'selu'"),
        (lambda: autograd.MLP([3, 2])(np.ones((1, 4))), ShapeError, "3 numbers per sample; got"),
        (lambda: autograd.softmax_cross_entropy(Value([1.0]), LABELS), ShapeError, "logits"),
    ],
)
def test_error_messages(call, error, text):
    with pytest.raises(error, match=text):
        call()
