"""Every formula under NumPy against an oracle: SciPy, or the formula written a second time.

The table has an entry for each formula; a formula without one fails the first test. An entry is (oracle,
arrays, options). Gradients and tangents are compared with differences of the oracle, so an oracle computes
values only.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import special

from nnfoundations import formulas
from nnfoundations.formulas import numpy_namespace

XP = numpy_namespace()
RNG = np.random.default_rng(0)
# Far enough from every kink in the table that no difference quotient crosses one.
X = np.array([[-3.6, -1.5, -0.8, -0.25], [0.3, 0.8, 1.5, 3.7], [-4.2, 0.25, 2.2, -1.6]])
Y, M, W = RNG.normal(size=(3, 4)), (RNG.random((3, 4)) > 0.4) / 0.6, RNG.normal(size=4)
P = 0.7 * RNG.dirichlet(np.ones(4), size=3) + 0.075
V = RNG.random(4) + 0.2
T = np.array([0, 3, -100])
IMAGE = RNG.normal(size=(2, 3, 5))

Oracle = Callable[..., Any]
Entry = tuple[Oracle, tuple[Any, ...], dict[str, Any]]


def reduced(loss: Any, reduction: str = "mean") -> Any:
    return {"none": lambda: loss, "sum": loss.sum, "mean": loss.mean}[reduction]()


def of_labels(log_p: Any, target: Any, weight: Any, smoothing: float, reduction: str) -> Any:
    weight = np.ones(log_p.shape[1]) if weight is None else weight
    rows, total = [], 0.0
    for row, label in zip(log_p, target, strict=True):
        if label == -100:
            rows.append(0.0)
            continue
        q = smoothing / len(row) * weight
        q = q + (1 - smoothing) * weight[label] * np.eye(len(row))[label]
        rows.append(-(q * row).sum())
        total += weight[label]
    loss = np.array(rows)
    return loss.sum() / total if reduction == "mean" else reduced(loss, reduction)


def cross_entropy(
    x: Any, target: Any, weight: Any, *, label_smoothing: float, reduction: str, **_: Any
) -> Any:
    return of_labels(special.log_softmax(x, 1), target, weight, label_smoothing, reduction)


def nll_loss(x: Any, target: Any, weight: Any, *, reduction: str, **_: Any) -> Any:
    return of_labels(x, target, weight, 0.0, reduction)


def soft_cross_entropy(
    x: Any, target: Any, weight: Any, *, label_smoothing: float, reduction: str, **_: Any
) -> Any:
    q = (1 - label_smoothing) * target + label_smoothing / x.shape[1]
    q = q if weight is None else q * weight
    return reduced(-(q * special.log_softmax(x, 1)).sum(1), reduction)


def bce(x: Any, target: Any, weight: Any, *, reduction: str) -> Any:
    loss = -special.xlogy(target, x) - special.xlog1py(1 - target, -x)
    return reduced(loss if weight is None else weight * loss, reduction)


def bce_with_logits(x: Any, target: Any, weight: Any, pos_weight: Any, *, reduction: str) -> Any:
    q = 1 if pos_weight is None else pos_weight
    loss = -q * target * special.log_expit(x) - (1 - target) * special.log_expit(-x)
    return reduced(loss if weight is None else weight * loss, reduction)


def kl_div(x: Any, target: Any, *, reduction: str, log_target: bool) -> Any:
    t = np.exp(target) if log_target else target
    return reduced(-special.entr(t) - t * x, reduction)


def weighted_loss(loss: Any, weight: Any, *, reduction: str, by_weight: bool) -> Any:
    loss = loss * weight
    return loss.sum() / weight.sum() if by_weight and reduction == "mean" else reduced(loss, reduction)


def along_axes(vector: Any, x: Any, axes: tuple[int, ...], default: float) -> Any:
    if vector is None:
        return default
    return vector.reshape([size if axis in axes else 1 for axis, size in enumerate(x.shape)])


def standardize(x: Any, weight: Any, bias: Any, *, over: Any, along: Any, eps: float) -> Any:
    mean, variance = x.mean(over, keepdims=True), x.var(over, keepdims=True)
    n = (x - mean) / np.sqrt(variance + eps)
    return n * along_axes(weight, x, along, 1) + along_axes(bias, x, along, 0), mean, variance


def standardize_by(
    x: Any, mean: Any, variance: Any, weight: Any, bias: Any, *, along: Any, eps: float
) -> Any:
    n = (x - along_axes(mean, x, along, 0)) / np.sqrt(along_axes(variance, x, along, 0) + eps)
    return n * along_axes(weight, x, along, 1) + along_axes(bias, x, along, 0)


def rms_norm(x: Any, weight: Any, *, eps: float) -> Any:
    square = (x**2).mean(-1, keepdims=True)
    return x / np.sqrt(square + eps) * (1 if weight is None else weight), square


def elu(x: Any, *, alpha: float, scale: float, rate: float) -> Any:
    return scale * np.where(x > 0, x, alpha * special.expm1(rate * x))


def alpha_dropout(x: Any, mask: Any, *, p: float) -> Any:
    kept, lowest = mask != 0, -1.7580993408473766
    a = (1 - p) ** -0.5 * (1 + p * lowest**2) ** -0.5
    return a * np.where(kept, x, lowest) - a * p * lowest


def halves(x: Any, axis: int) -> Any:
    return np.split(x, 2, axis)


def huber(x: Any, target: Any, *, reduction: str, delta: float) -> Any:
    return reduced(special.huber(delta, x - target), reduction)


def smooth_l1(x: Any, target: Any, *, reduction: str, beta: float) -> Any:
    return reduced(special.huber(beta, x - target) / beta, reduction)


MEAN, NONE, AXIS = {"reduction": "mean"}, {"reduction": "none"}, {"axis": 1}
LABELS = {"axis": 1, "ignore_index": -100}
ORACLES: dict[str, list[Entry]] = {
    "sigmoid": [(special.expit, (X,), {})],
    "tanh": [(lambda x: 1 - 2 / (np.exp(2 * x) + 1), (X,), {})],
    "silu": [(lambda x: x * special.expit(x), (X,), {})],
    "gelu": [(lambda x: x * special.ndtr(x), (X,), {})],
    "gelu_tanh": [(lambda x: x * special.expit(2 * (2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)), (X,), {})],
    "mish": [(lambda x: x * np.tanh(np.log1p(np.exp(x))), (X,), {})],
    "softplus": [
        (
            lambda x, beta, threshold: np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta),
            (X,),
            {"beta": 2.0, "threshold": 5.0},
        )
    ],
    "logsigmoid": [(special.log_expit, (X,), {})],
    "softsign": [(lambda x: x / (1 + np.abs(x)), (X,), {})],
    "tanhshrink": [(lambda x: x - np.tanh(x), (X,), {})],
    "elu": [(elu, (X,), {"alpha": 0.7, "scale": 1.3, "rate": 0.6})],
    "relu": [(lambda x: np.where(x > 0, x, 0), (X,), {})],
    "leaky_relu": [
        (lambda x, negative_slope: np.where(x > 0, x, negative_slope * x), (X,), {"negative_slope": slope})
        for slope in (0.2, 1.5, -0.3)
    ],
    "prelu": [(lambda x, weight: np.where(x > 0, x, weight * x), (X, np.full((3, 4), 0.3)), {})],
    "hardtanh": [(lambda x, low, high: np.clip(x, low, high), (X,), {"low": -1.2, "high": 2.6})],
    "hardsigmoid": [(lambda x: np.clip(x / 6 + 0.5, 0, 1), (X,), {})],
    "hardswish": [(lambda x: x * np.clip(x / 6 + 0.5, 0, 1), (X,), {})],
    "hardshrink": [(lambda x, lambd: np.where(np.abs(x) > lambd, x, 0), (X,), {"lambd": 0.5})],
    "softshrink": [
        (lambda x, lambd: np.sign(x) * np.maximum(np.abs(x) - lambd, 0), (X,), {"lambd": 0.5}),
    ],
    "threshold": [
        (
            lambda x, threshold, value: np.where(x > threshold, x, value),
            (X,),
            {"threshold": 0.5, "value": -2.0},
        )
    ],
    "softmax": [(lambda x, axis: special.softmax(x, axis), (X,), {"axis": axis}) for axis in (0, 1)],
    "log_softmax": [(lambda x, axis: special.log_softmax(x, axis), (X,), {"axis": axis}) for axis in (0, 1)],
    "glu": [(lambda x, axis: halves(x, axis)[0] * special.expit(halves(x, axis)[1]), (X,), AXIS)],
    "swiglu": [
        (
            lambda x, axis: halves(x, axis)[0] * special.expit(halves(x, axis)[0]) * halves(x, axis)[1],
            (X,),
            AXIS,
        )
    ],
    "dropout": [(lambda x, mask: x * mask, (X, M), {})],
    "alpha_dropout": [(alpha_dropout, (X, np.sign(M)), {"p": 0.4})],
    "linear": [
        (lambda x, w, b: np.einsum("ni,oi->no", x, w) + (0 if b is None else b), (X, Y, bias), {})
        for bias in (None, W[:3])
    ],
    "bilinear": [
        (
            lambda x1, x2, w, b: np.einsum("ni,oij,nj->no", x1, w, x2) + (0 if b is None else b),
            (X, Y[:, :2], RNG.normal(size=(3, 4, 2)), bias),
            {},
        )
        for bias in (None, W[:3])
    ],
    "standardize": [
        (standardize, (X, V, W), {"over": (1,), "along": (1,), "eps": 1e-5}),
        (standardize, (X, V, W), {"over": (0,), "along": (1,), "eps": 0.1}),
        (standardize, (IMAGE, V[:3], W[:3]), {"over": (0, 2), "along": (1,), "eps": 1e-5}),
        (standardize, (IMAGE, None, None), {"over": (2,), "along": (1,), "eps": 1e-5}),
    ],
    "standardize_by": [
        (standardize_by, (X, W, V, V, W), {"along": (1,), "eps": 1e-5}),
        (standardize_by, (IMAGE, W[:3], V[:3], None, None), {"along": (1,), "eps": 1e-5}),
    ],
    "rms_norm": [(rms_norm, (X, weight), {"eps": 1e-5}) for weight in (None, V)],
    "cross_entropy": [
        (cross_entropy, (X, T, weight), {**LABELS, "label_smoothing": s, "reduction": r})
        for weight in (None, V)
        for s in (0.0, 0.2)
        for r in ("none", "mean", "sum")
    ],
    "soft_cross_entropy": [
        (soft_cross_entropy, (X, P, weight), {"axis": 1, "label_smoothing": 0.1, "reduction": r})
        for weight in (None, V)
        for r in ("none", "mean", "sum")
    ],
    "nll_loss": [
        (nll_loss, (X, T, weight), {**LABELS, "reduction": r})
        for weight in (None, V)
        for r in ("none", "mean", "sum")
    ],
    "binary_cross_entropy": [(bce, (P, P[::-1], weight), MEAN) for weight in (None, V)],
    "binary_cross_entropy_with_logits": [
        (bce_with_logits, (X, P, weight, positive), MEAN) for weight, positive in ((None, None), (V, V[::-1]))
    ],
    "kl_div": [
        (kl_div, (X, P), {**MEAN, "log_target": False}),
        (kl_div, (X, Y), {**NONE, "log_target": True}),
    ],
    "mse_loss": [(lambda x, t, reduction: reduced((x - t) ** 2, reduction), (X, Y), r) for r in (MEAN, NONE)],
    "l1_loss": [(lambda residual, reduction: reduced(np.abs(residual), reduction), (X,), MEAN)],
    "huber_loss": [(huber, (X, 0 * Y), {**MEAN, "delta": 1.2})],
    "smooth_l1_loss": [(smooth_l1, (X, 0 * Y), {**MEAN, "beta": 1.2})],
    "weighted_loss": [(weighted_loss, (P, V + P), {**MEAN, "by_weight": by}) for by in (True, False)],
}  # fmt: skip


def every_formula() -> Iterator[str]:
    """Names of functions that have a backward, in all files of the package."""
    for file in pkgutil.iter_modules(formulas.__path__, "nnfoundations.formulas."):
        found = vars(importlib.import_module(file.name))
        for name, function in found.items():
            if (
                inspect.isfunction(function)
                and function.__module__ == file.name
                and f"{name}_backward" in found
            ):
                yield name


FORMULAS = dict.fromkeys(every_formula())


def test_every_formula_has_an_oracle() -> None:
    assert set(FORMULAS) == set(ORACLES), "a formula without an entry, or an entry without a formula"


def function_of(name: str) -> Any:
    for file in pkgutil.iter_modules(formulas.__path__, "nnfoundations.formulas."):
        found = vars(importlib.import_module(file.name))
        if name in found and found[name].__module__ == file.name:
            return found[name]
    return None


def positional(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def as_tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def slope(function: Callable[[float], Any]) -> Any:
    """df/dt at 0 from six points; the error is h^6 f^(7) / 140."""
    h = 1e-3
    weights = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
    return sum(w * (np.asarray(function(k * h)) - np.asarray(function(-k * h))) for k, w in weights) / h


ENTRIES = [
    pytest.param(name, *line, id=f"{name}{i}")
    for name, lines in ORACLES.items()
    for i, line in enumerate(lines)
]


@pytest.mark.parametrize(("name", "oracle", "arrays", "options"), ENTRIES)
def test_values_gradients_and_tangents(
    name: str, oracle: Oracle, arrays: tuple[Any, ...], options: dict[str, Any]
) -> None:
    forward, backward = function_of(name), function_of(f"{name}_backward")
    jvp = function_of(f"{name}_jvp") or backward  # elementwise or symmetric: the Jacobian is its transpose
    y = as_tuple(forward(*arrays, **options, xp=XP))
    for a, r in zip(y, as_tuple(oracle(*arrays, **options)), strict=True):
        np.testing.assert_allclose(a, r, rtol=1e-13, atol=1e-14)

    # torch's gradient of hardsigmoid uses 1/6 in float32, also for float64; ours does too, so it is 3e-8 off.
    looser = {"hardsigmoid": 4e-8}
    inputs, grads = positional(forward), [n for n in positional(backward) if n.startswith("grad_")]
    outputs = ["y", *(n.removeprefix("grad_") for n in grads[1:])]
    known = dict(zip(inputs, arrays, strict=True)) | dict(zip(outputs, y, strict=True))
    tangents = [n for n in positional(jvp) if n.startswith("tangent")]
    named = len(tangents) > 1 or "tangent_x" in tangents
    moving = [n.removeprefix("tangent_") for n in tangents] if named else inputs[:1]
    rng = np.random.default_rng(1)
    g = [rng.normal(size=np.shape(a)) for a in y]
    t = {n: None if known[n] is None else rng.normal(size=np.shape(known[n])) for n in moving}

    def at(moved: dict[str, Any]) -> tuple[Any, ...]:
        return as_tuple(oracle(*(moved.get(n, known[n]) for n in inputs), **options))

    def total(moved: dict[str, Any]) -> float:
        return float(sum((np.asarray(a) * b).sum() for a, b in zip(at(moved), g, strict=True)))

    wanted = {"wanted": tuple(known[n] is not None for n in moving)}
    wanted = wanted if "wanted" in inspect.signature(backward).parameters else {}
    saved = [known[n] for n in positional(backward)[len(grads) :]]
    found = as_tuple(backward(*g, *saved, **wanted, **options, xp=XP))
    for n, gradient in zip(moving, found, strict=True):
        if known[n] is None:
            assert gradient is None
            continue
        expected = np.empty_like(known[n])
        for place in np.ndindex(expected.shape):
            unit = np.zeros_like(expected)
            unit[place] = 1
            expected[place] = slope(lambda h, n=n, unit=unit: total({n: known[n] + h * unit}))  # type: ignore[misc]
        np.testing.assert_allclose(
            gradient, expected, rtol=looser.get(forward.__name__, 1e-8), atol=1e-9, err_msg=n
        )

    saved = [known[n] for n in positional(jvp)[len(tangents) or len(grads) :]]
    carried = as_tuple(jvp(*t.values(), *saved, **options, xp=XP))
    for i, tangent in enumerate(carried):
        expected = slope(lambda h, i=i: at({n: known[n] + h * d for n, d in t.items() if d is not None})[i])  # type: ignore[misc]
        np.testing.assert_allclose(tangent, expected, rtol=looser.get(forward.__name__, 1e-8), atol=1e-9)
