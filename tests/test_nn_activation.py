"""Activations beyond the laws of the registry: in place, at kinks, in half precision, invalid input."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nnfoundations import nn
from nnfoundations.nn import functional as F
from nnfoundations.testing import HALF, assert_matches

INF, NAN = float("inf"), float("nan")
INPLACE = [
    (name, arguments)
    for name, arguments in (
        ("LeakyReLU", {}),
        ("ELU", {"alpha": 0.7}),
        ("CELU", {}),
        ("SELU", {}),
        ("RReLU", {}),
        ("ReLU6", {}),
        ("Hardtanh", {}),
        ("Hardsigmoid", {}),
        ("Hardswish", {}),
        ("SiLU", {}),
        ("Mish", {}),
        ("Threshold", {"threshold": 0.1, "value": 2.0}),
        ("Dropout", {}),
    )
]


@pytest.mark.parametrize(("name", "arguments"), INPLACE, ids=[name for name, _ in INPLACE])
def test_inplace_has_torchs_visible_effect(name: str, arguments: dict[str, float]) -> None:
    found = []
    for source in (nn, torch.nn):
        module = getattr(source, name)(**arguments, inplace=True)
        torch.manual_seed(0)
        leaf = torch.randn(6, 8, dtype=torch.float64).requires_grad_()
        x = leaf * 1
        y = module(x)
        assert y is x
        assert x._version == 1
        found.append((y.detach().clone(), *torch.autograd.grad(y.square().sum(), leaf)))
        with pytest.raises(RuntimeError, match="in-place"):
            module(leaf)
    torch.testing.assert_close(*found)


def _signature(function: Callable[..., Tensor]) -> list[tuple[str, object]]:
    return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(
    "name",
    [
        "sigmoid",
        "tanh",
        "leaky_relu",
        "silu",
        "elu",
        "celu",
        "selu",
        "relu6",
        "hardtanh",
        "hardsigmoid",
        "hardswish",
        "tanhshrink",
        "softsign",
        "mish",
        "threshold",
        "rrelu",
        "glu",
        "softmax",
        "softmin",
        "log_softmax",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_alpha_dropout",
    ],
)
def test_function_signatures_are_torchs(name: str) -> None:
    assert _signature(getattr(F, name)) == _signature(getattr(torch.nn.functional, name))


# Points without a unique derivative. Each is repeated 64 times, because torch's vectorized loop and its
# remainder treat NaN differently.
KINKS = (-6.0, -3.0, -1.0, -0.5, -0.1, -0.0, 0.0, 0.1, 0.5, 1.0, 3.0, 6.0, 20.0, INF)
PIECES: list[tuple[Callable[..., Tensor], Callable[..., Tensor]]] = [
    (getattr(F, name), getattr(torch.nn.functional, name))
    for name in [
        "relu6",
        "hardtanh",
        "hardsigmoid",
        "hardswish",
        "hardshrink",
        "softshrink",
        "leaky_relu",
        "elu",
        "softplus",
    ]
] + [
    (lambda x: F.threshold(x, 0.1, 2.0), lambda x: torch.nn.functional.threshold(x, 0.1, 2.0)),
    (
        lambda x: F.prelu(x, torch.full((1,), 0.25, dtype=x.dtype)),
        lambda x: torch.nn.functional.prelu(x, torch.full((1,), 0.25, dtype=x.dtype)),
    ),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("value", KINKS)
def test_slopes_at_kinks_are_torchs(value: float, dtype: torch.dtype) -> None:
    for ours, theirs in PIECES:
        for grad in (1.0, INF):
            found = []
            for function in (ours, theirs):
                x = torch.full((64,), value, dtype=dtype, requires_grad=True)
                y = function(x)
                found.append((y.detach(), *torch.autograd.grad(y, x, torch.full_like(y, grad))))
            torch.testing.assert_close(*found, equal_nan=True, msg=lambda text: f"{theirs}, {grad}: {text}")  # noqa: B023


def test_a_negative_zero_keeps_its_sign() -> None:
    x = torch.full((64,), -0.0)
    for name in [
        "relu",
        "leaky_relu",
        "elu",
        "celu",
        "selu",
        "relu6",
        "hardtanh",
        "hardswish",
        "silu",
        "gelu",
        "mish",
        "tanh",
        "softsign",
    ]:
        # In float64, because torch's float32 GELU loses the sign on some CPUs, for more than one element.
        ours, theirs = getattr(F, name)(x), getattr(torch.nn.functional, name)(x.double())
        assert torch.equal(ours.signbit(), theirs.signbit()), name


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_has_the_derivative_of_its_own_forward(approximate: str) -> None:
    """The derivative of the other approximation would be wrong by 8e-4 at -1.9."""
    x = torch.linspace(-6, 6, 61, dtype=torch.float64, requires_grad=True)  # includes 0
    assert torch.autograd.gradcheck(lambda x: F.gelu(x, approximate=approximate), x, atol=1e-8, rtol=0)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Softmin"])
def test_half_gradients_do_not_read_the_rounded_output(name: str, dtype: torch.dtype) -> None:
    arguments = {"dim": -1} if "oft" in name else {}
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(64, 16, generator=generator) * 4).to(dtype).requires_grad_()
    g = torch.randn(64, 16, generator=generator).to(dtype)
    exact = x.detach().double().requires_grad_()
    (found,) = torch.autograd.grad(getattr(nn, name)(**arguments)(x), x, g)
    (want,) = torch.autograd.grad(getattr(torch.nn, name)(**arguments)(exact), exact, g.double())
    assert_matches(found, want, "softmax" if arguments else "elementwise", "gradient")


@pytest.mark.parametrize("name", ["Softmax", "Softmin", "LogSoftmax"])
def test_softmax_compiles_and_autocasts_as_torchs(name: str) -> None:
    torch.compiler.reset()
    x, g = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    ours, theirs = getattr(nn, name)(dim=1), getattr(torch.nn, name)(dim=1)
    want = torch.autograd.grad(theirs(x), x, g)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x, g), want)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x).dtype == theirs(x).dtype
        assert ours(x.bfloat16()).dtype == theirs(x.bfloat16()).dtype


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
def test_softmax_arguments(name: str) -> None:
    ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
    for shape in ((), (3,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (2, 0)):
        x = torch.randn(shape)
        with pytest.warns(UserWarning, match="Implicit dimension choice"):
            torch.testing.assert_close(ours(x), theirs(x))
    whole = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(ours(whole, 1, dtype=torch.float64), theirs(whole, 1, dtype=torch.float64))
    torch.testing.assert_close(
        ours(torch.tensor([-INF, -INF]), 0), theirs(torch.tensor([-INF, -INF]), 0), equal_nan=True
    )


def test_integers_stay_where_torch_lets_them() -> None:
    x = torch.tensor([-8, -1, 0, 2, 9])
    for name, arguments in (("relu6", ()), ("hardtanh", (-1.5, 2.5)), ("threshold", (0.5, 1.5))):
        ours, theirs = (getattr(source, name)(x, *arguments) for source in (F, torch.nn.functional))
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "silu", "tanhshrink", "softsign"])
def test_complex_numbers_where_torch_takes_them(name: str) -> None:
    x = torch.randn(3, dtype=torch.complex128, requires_grad=True)
    function = getattr(F, name)
    y = getattr(torch.nn.functional, name)(
        x.detach() if name == "silu" else x
    )  # torch's complex silu has no gradient
    torch.testing.assert_close(function(x), y, check_dtype=True)
    assert torch.autograd.gradcheck(function, x, check_forward_ad=True)


def test_rrelu_draws_torchs_slopes() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        found = []
        for source in (F, torch.nn.functional):
            torch.manual_seed(0)
            x = torch.randn(40, 3).to(dtype)
            found.append((source.rrelu(x.T, training=True), torch.get_rng_state()))
        (y, state), (y_theirs, state_theirs) = found
        assert torch.equal(state, state_theirs)
        torch.testing.assert_close(y, y_theirs)
    torch.func.vmap(lambda x: F.rrelu(x, training=True), randomness="different")(torch.randn(3, 4))


def test_swiglu_and_swish() -> None:
    assert nn.Swish is nn.SiLU
    x = torch.randn(3, 8)
    torch.testing.assert_close(nn.SwiGLU()(x), torch.nn.functional.silu(x[:, :4]) * x[:, 4:])
    assert repr(nn.SwiGLU(1)) == "SwiGLU(dim=1)"


X = torch.zeros(5, 3)
BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: F.gelu(X.long()), RuntimeError, "GELU needs floating-point numbers; got torch.int64"),
    (lambda: F.gelu(X, approximate="sinh"), RuntimeError, "'none' or 'tanh'; got 'sinh'"),
    (lambda: F.hardtanh(X > 0), RuntimeError, "real numbers; got torch.bool"),
    (lambda: F.hardtanh(X, 2.0, 1.0), ValueError, "min_val <= max_val; got 2.0 and 1.0"),
    (lambda: F.softshrink(X, -1.0), RuntimeError, "lambd of at least 0; got -1.0"),
    (lambda: F.celu(X, 0.0), RuntimeError, "alpha other than 0"),
    (lambda: F.rrelu(X, 2.0, 1.0), RuntimeError, "lower <= upper; got 2.0 and 1.0"),
    (lambda: nn.PReLU(4)(X), RuntimeError, r"each of the 3 channels on axis 1; got 4. Build PReLU\(3\)"),
    (lambda: F.prelu(X, X), RuntimeError, r"one per channel; got \(5, 3\)"),
    (lambda: nn.PReLU()(X.double()), RuntimeError, "one dtype; got torch.float64, torch.float32"),
    (lambda: nn.GLU()(X), RuntimeError, r"even size on axis -1; got \(5, 3\)"),
    (lambda: nn.SwiGLU()(torch.tensor(1.0)), RuntimeError, "an axis to halve; got a scalar"),
    (lambda: nn.Softmax2d()(X), ValueError, r"\(N, C, H, W\) or \(C, H, W\); got \(5, 3\)"),
    (lambda: F.softmax(X.long(), 1), RuntimeError, "softmax needs floating-point numbers; got torch.int64"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD, ids=[text[:30] for *_, text in BAD])
def test_errors_state_rule_found_value_and_fix(
    call: Callable[[], object], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        call()
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("slope", [INF, -INF, NAN, 1e4, -2.0, 0.0])
def test_a_slope_without_bounds_has_no_part_above_zero(slope: float, dtype: torch.dtype) -> None:
    values = torch.tensor([[-INF, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, INF, NAN]], dtype=dtype).T
    for grad in (0.0, 1.0, INF):
        got = []
        for kind in (nn, torch.nn):
            x = values.clone().requires_grad_()
            leaky = kind.functional.leaky_relu(x, slope)
            prelu = kind.PReLU(init=slope).to(dtype)
            y = prelu(x)
            grads = torch.autograd.grad(y, (x, prelu.weight), torch.full_like(y, grad))
            (leaky_grad,) = torch.autograd.grad(leaky, x, torch.full_like(leaky, grad))
            got.append((y, *grads, leaky, leaky_grad))
        torch.testing.assert_close(*got, equal_nan=True)
