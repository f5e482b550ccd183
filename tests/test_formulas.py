"""The formulas: the same results under NumPy and torch, and no library imported with them."""

import inspect
import subprocess
import sys
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from nnfoundations import formulas
from nnfoundations.formulas import Namespace, numpy_namespace, torch_namespace

RNG = np.random.default_rng(0)
X, Y, G = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
W, B, ROWS = RNG.normal(size=(5, 3)), RNG.normal(size=5), RNG.normal(size=(4, 5))
V = RNG.random(3) + 0.1
M, S, W3 = X.mean(1, keepdims=True), X.var(1, keepdims=True), RNG.normal(size=(2, 3, 5))
T = np.array([0, 2, -100, 1])
P = RNG.dirichlet(np.ones(3), size=4)
I = np.array([[0], [2], [1], [1]])  # noqa: E741
HARD = {"axis": 1, "ignore_index": -100, "label_smoothing": 0.1}
SOFT = {"axis": 1, "label_smoothing": 0.1}
NLL = {"axis": 1, "ignore_index": -100}

OPERATIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    **{name: ((np.abs(X) + 0.1,), {}) for name in ("sqrt", "rsqrt", "log")},
    **{
        name: ((X,), {})
        for name in ("abs", "sign", "square", "exp", "expm1", "tanh", "conj", "real", "sigmoid", "erf_")
    },
    **{name: ((X,), {}) for name in ("transpose", "ones_like", "zeros_like")},
    **{name: ((X, Y), {}) for name in ("maximum", "minimum", "mul_", "add_", "gate")},
    "log1p": ((np.abs(X),), {}),
    "exp_": ((X,), {}),
    "clamp": ((X, None, 0.5), {}),
    **{name: ((X, 0.1), {}) for name in ("above", "below", "at_most")},
    "clamp_": ((X, -0.5, 0.5), {}),
    "gate_": ((X, (Y > 0) * 1.0), {}),
    "select": (((Y > 0) * 1.0, X, Y), {}),
    "halves": ((ROWS[:, :4], 1), {}),
    "concat": ((X, Y, 1), {}),
    "xlogy": ((np.maximum(X, 0), np.maximum(X, 0)), {}),
    "type_as": ((X > 0, X), {}),
    "where": ((X > 0, X, 0.0), {}),
    "sum": ((X,), {"axis": (0, 1)}),
    "mean": ((X, 1), {"keepdims": True}),
    "amax": ((X, 1), {"keepdims": True}),
    "matmul": ((X, W.T), {}),
    "affine": ((B, X, W.T), {}),
    "take": ((V, I), {}),
    "gather": ((X, 1, I), {}),
    "scatter_add_": ((X, 1, I, G[:, :1]), {}),
    "expand_dims": ((X, 1), {}),
    "reshape": ((X, (2, 6)), {}),
    "squeeze": ((X[:, None], 1), {}),
}

ACTIVATIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("silu", "gelu", "gelu_tanh", "mish", "logsigmoid", "softsign", "tanhshrink")},
    "softplus": {"beta": 2.0, "threshold": 3.0},
    "elu": {"alpha": 0.7, "scale": 1.1, "rate": 0.9},
    "leaky_relu": {"negative_slope": 0.1},
    "hardtanh": {"low": -1.0, "high": 2.0},
    "hardsigmoid": {},
    "hardswish": {},
    "hardshrink": {"lambd": 0.5},
    "softshrink": {"lambd": 0.5},
    "threshold": {"threshold": 0.1, "value": 2.0},
}

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("linear", (X, W, B), {}),
    ("linear", (X, W, None), {}),
    ("sigmoid", (X,), {}),
    ("tanh", (X,), {}),
    ("linear_backward", (ROWS, X, W), {"wanted": (True, True, True)}),
    ("linear_jvp", (X, W, B, X, W), {}),
    ("linear_jvp", (None, W, None, X, W), {}),
    ("standardize", (X, V, V), {"over": (1,), "along": (1,), "eps": 1e-5}),
    ("standardize", (X, None, None), {"over": (0,), "along": (1,), "eps": 1e-5}),
    *[
        (
            "standardize_backward",
            (G, M, M, X, w, M, S),
            {"over": (1,), "along": (1,), "eps": 1e-5, "wanted": (True, True, True)},
        )
        for w in (None, V)
    ],
    ("standardize_jvp", (G, V, V, X, V, M, S), {"over": (1,), "along": (1,), "eps": 1e-5}),
    ("standardize_by", (X, V, V, V, V), {"along": (1,), "eps": 1e-5}),
    ("standardize_by_backward", (G, X, V, V, V), {"along": (1,), "eps": 1e-5, "wanted": (True, True, True)}),
    ("standardize_by_jvp", (G, V, V, X, V, V, V), {"along": (1,), "eps": 1e-5}),
    ("rms_norm", (X, V), {"eps": 1e-5}),
    ("rms_norm_backward", (G, M, X, V, S), {"eps": 1e-5, "wanted": (True, True)}),
    ("rms_norm_jvp", (G, V, X, V, S), {"eps": 1e-5}),
    ("bilinear", (X, ROWS, W3, V[:2]), {}),
    ("bilinear_backward", (G[:, :2], X, ROWS, W3), {"wanted": (True, True, True, True)}),
    ("bilinear_jvp", (G, ROWS, W3, V[:2], X, ROWS, W3), {}),
    ("relu", (X,), {}),
    ("relu_backward", (G, np.maximum(X, 0)), {}),
    *[
        call
        for name, options in ACTIVATIONS.items()
        for call in ((name, (4 * X,), options), (f"{name}_backward", (G, 4 * X), options))
    ],
    ("prelu", (X, V[None]), {}),
    ("prelu_backward", (G, X, V[None]), {"wanted": (True, True)}),
    ("prelu_jvp", (G, V[None], X, V[None]), {}),
    *[(f"{name}_backward", (G, np.exp(-np.abs(X))), {}) for name in ("sigmoid", "tanh")],
    *[
        call
        for name in ("glu", "swiglu")
        for call in (
            (name, (ROWS[:, :4],), {"axis": 1}),
            (f"{name}_backward", (G[:, :2], ROWS[:, :4]), {"axis": 1}),
            (f"{name}_jvp", (ROWS[:, 1:], ROWS[:, :4]), {"axis": 1}),
        )
    ],
    *[(name, (X,), {"axis": 1}) for name in ("softmax", "log_softmax")],
    *[
        (name, (G, np.minimum(Y, 0)), {"axis": 1})
        for name in ("softmax_backward", "log_softmax_backward", "log_softmax_jvp")
    ],
    ("dropout", (X, P), {}),
    ("dropout_backward", (G, P), {}),
    ("alpha_dropout", (X, (Y > 0) * 1.0), {"p": 0.3}),
    ("alpha_dropout_backward", (G, (Y > 0) * 1.0), {"p": 0.3}),
    *[
        ("cross_entropy", (X, T, w), {**HARD, "reduction": r})
        for w in (None, V)
        for r in ("none", "mean", "sum")
    ],
    *[("cross_entropy_backward", (G[0, 0], X, T, w), {**HARD, "reduction": "mean"}) for w in (None, V)],
    ("cross_entropy_jvp", (G, X, T, V), {**HARD, "reduction": "mean"}),
    ("soft_cross_entropy", (X, P, V), {**SOFT, "reduction": "mean"}),
    (
        "soft_cross_entropy_backward",
        (G[:, 0], X, P, V),
        {**SOFT, "reduction": "none", "wanted": (True, True, True)},
    ),
    ("soft_cross_entropy_jvp", (G, P, V, X, P, V), {**SOFT, "reduction": "sum"}),
    *[("nll_loss", (X, T, w), {**NLL, "reduction": r}) for w in (None, V) for r in ("none", "mean", "sum")],
    *[("nll_loss_backward", (G[0, 0], X, T, w), {**NLL, "reduction": "mean"}) for w in (None, V)],
    ("nll_loss_jvp", (G, X, T, V), {**NLL, "reduction": "mean"}),
    *[
        (name + part, (*given, *arrays), {"reduction": "mean", **options, **wanted})
        for name, arrays, options in (
            ("mse_loss", (X, Y), {}),
            ("huber_loss", (X, Y), {"delta": 0.7}),
            ("smooth_l1_loss", (X, Y), {"beta": 0.7}),
            ("weighted_loss", (X, Y), {"by_weight": True}),
            ("weighted_loss", (X, Y), {"by_weight": False}),
            ("kl_div", (X, P), {"log_target": False}),
            ("kl_div", (X, Y), {"log_target": True}),
            ("binary_cross_entropy", (P, P[::-1], None), {}),
            ("binary_cross_entropy", (P, P[::-1], V), {}),
            ("binary_cross_entropy_with_logits", (X, P, V, None), {}),
            ("binary_cross_entropy_with_logits", (X, P, None, V), {}),
        )
        for part, given, wanted in (
            ("", (), {}),
            ("_backward", (G[0, 0],), {"wanted": (True, True)}),
            ("_jvp", (G, Y), {}),
        )
    ],
    ("l1_loss", (X,), {"reduction": "sum"}),
    ("l1_loss_backward", (G[0, 0], X), {"reduction": "sum"}),
    ("l1_loss_jvp", (G, X), {"reduction": "sum"}),
]


def _copied(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x


def _tensor(x: Any) -> Any:
    return torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x


def _assert_same(found: Any, expected: Any) -> None:
    if not isinstance(expected, tuple):
        found, expected = (found,), (expected,)
    for a, r in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, r.numpy(), rtol=1e-13, atol=1e-14)


def test_every_formula_is_called() -> None:
    functions = {name for name in formulas.__all__ if inspect.isfunction(getattr(formulas, name))}
    over = {n for n in functions if "xp" in inspect.signature(getattr(formulas, n)).parameters}
    assert over <= {name for name, *_ in CALLS}


@pytest.mark.parametrize(("name", "arrays", "options"), CALLS)
def test_numpy_and_torch_agree(name: str, arrays: tuple[Any, ...], options: dict[str, Any]) -> None:
    formula = getattr(formulas, name)
    found = formula(*map(_copied, arrays), **options, xp=numpy_namespace())
    _assert_same(found, formula(*map(_tensor, arrays), **options, xp=torch_namespace()))
    _assert_same(found, formula(*map(_tensor, arrays), **options, xp=torch_namespace(reuse=True)))


@pytest.mark.parametrize("name", [f.name for f in fields(Namespace)])
def test_each_operation_has_the_same_meaning(name: str) -> None:
    arrays, options = OPERATIONS[name]
    found = getattr(numpy_namespace(), name)(*map(_copied, arrays), **options)
    for xp in (torch_namespace(), torch_namespace(reuse=True)):
        _assert_same(found, getattr(xp, name)(*map(_tensor, arrays), **options))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_number_is_selected_in_the_arrays_dtype(dtype: str) -> None:
    gate, y = (np.asarray(values, dtype) for values in ([1, 0, 1], [4, 5, 6]))
    found = numpy_namespace().select(gate, 7, y)
    assert found.dtype == y.dtype
    for xp in (torch_namespace(), torch_namespace(reuse=True)):
        _assert_same(found, xp.select(_tensor(gate), 7, _tensor(y)))


@pytest.mark.parametrize(("name", "arrays", "options"), CALLS)
def test_a_formula_writes_to_none_of_its_inputs(
    name: str, arrays: tuple[Any, ...], options: dict[str, Any]
) -> None:
    for convert, xp in ((_copied, numpy_namespace()), (_tensor, torch_namespace(reuse=True))):
        given = [convert(x) for x in arrays]
        getattr(formulas, name)(*given, **options, xp=xp)
        for x, before in zip(given, arrays, strict=True):
            if before is not None:
                np.testing.assert_array_equal(np.asarray(x), before)


def test_importing_the_formulas_imports_no_library() -> None:
    script = "import sys, nnfoundations.formulas; print({'torch', 'numpy', 'jax'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 8, 9, 64])
def test_affine_is_the_same_for_few_rows_and_many(rows, dtype):
    """From 9 rows on, for 32 outputs, the product has another order; shape, dtype and memory order stay."""
    generator = np.random.default_rng(0)
    x, weight, bias = (generator.normal(size=s).astype(dtype) for s in ((rows, 40), (32, 40), (32,)))
    y = numpy_namespace().affine(bias, x, weight.T)
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    exact = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    np.testing.assert_allclose(y, exact, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(exact).max())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.complex64])
def test_a_gate_lets_through_all_or_nothing(dtype):
    """NaN and inf pass an open gate; a NaN as gate is open; a closed gate gives 0 for everything."""
    x = np.array([np.nan, np.inf, -1.5, np.nan, -np.inf, 2.5, -0.0], dtype)
    gate = np.array([1, -2, np.nan, 0, 0, 0, 3], dtype)
    for array, g in ((x, gate), (np.stack([x, x]).T, np.stack([gate, gate]).T), (x[::2], gate[::2])):
        y = numpy_namespace().gate(array, g)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, np.where(g != 0, array, 0))
