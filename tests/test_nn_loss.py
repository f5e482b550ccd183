"""Difficult inputs of losses: extreme numbers, kinks, ignored rows, unusual shapes, deprecated arguments."""

import math
import warnings
from typing import Any

import pytest
import torch
from registry import assert_matches
from torch import Tensor

from nnfoundations import nn
from nnfoundations.nn import functional as F

# Torch compiles its forward-mode decompositions with torch.jit.script.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_large_logits_keep_their_loss(dtype: torch.dtype, offset: float) -> None:
    logits = (torch.tensor([[0.0, 8.0, -8.0], [16.0, 16.0, 0.0]]) + offset).to(dtype).requires_grad_()
    target = torch.tensor([0, 1])
    found = F.cross_entropy(logits, target, reduction="none")
    raised = logits.detach().double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(raised, target, reduction="none")
    assert_matches(found, expected, "loss", "forward")
    (found,) = torch.autograd.grad(found.sum(), logits)
    (expected,) = torch.autograd.grad(expected.sum(), raised)
    assert_matches(found, expected, "loss", "gradient")


def test_a_certain_mistake_is_finite() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = F.cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == 2e4
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -1.0]]


def test_a_shift_changes_nothing() -> None:
    logits, target = torch.randn(7, 5, dtype=torch.float64), torch.randint(5, (7,))
    torch.testing.assert_close(F.cross_entropy(logits + 3.0, target), F.cross_entropy(logits, target))


def test_no_knowledge_costs_log_of_the_classes() -> None:
    loss = F.cross_entropy(torch.zeros(4, 10), torch.arange(4))
    assert loss.item() == pytest.approx(math.log(10), rel=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_ignored_rows_may_hold_anything(reduction: str, label_smoothing: float) -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, -100, 2, -100])
    logits[1] = float("nan")
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": label_smoothing}
    found = F.cross_entropy(logits, target, **options)
    kept = F.cross_entropy(logits[::2], target[::2], **options)
    torch.testing.assert_close(found[::2] if reduction == "none" else found, kept)


def test_all_ignored_is_nan_in_the_mean_and_zero_in_the_sum() -> None:
    logits, target = torch.randn(4, 3), torch.full((4,), -100)
    assert F.cross_entropy(logits, target).isnan()
    assert F.cross_entropy(logits, target, reduction="sum") == 0


@pytest.mark.filterwarnings("ignore:size_average and reduce args:UserWarning")
def test_the_old_arguments() -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    olds: list[dict[str, Any]] = [{"reduce": False}, {"size_average": False}, {"size_average": True}]
    for old in olds:
        expected = torch.nn.functional.cross_entropy(logits, target, **old)
        torch.testing.assert_close(F.cross_entropy(logits, target, **old), expected)
        torch.testing.assert_close(nn.CrossEntropyLoss(**old)(logits, target), expected)


def test_bytes_as_labels_and_probabilities_of_another_dtype() -> None:
    logits = torch.randn(4, 3)
    target = torch.tensor([0, 1, 2, 0], dtype=torch.uint8)
    torch.testing.assert_close(
        F.cross_entropy(logits, target), torch.nn.functional.cross_entropy(logits, target)
    )
    soft = torch.rand(4, 3, dtype=torch.float64)
    found = F.cross_entropy(logits, soft)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits.double(), soft))


def test_class_weights_of_probabilities_have_a_gradient() -> None:
    logits, soft = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    weight = torch.rand(3, dtype=torch.float64, requires_grad=True)
    found, expected = (
        torch.autograd.grad(f.cross_entropy(logits, soft, weight, label_smoothing=0.1), weight)[0]
        for f in (F, torch.nn.functional)
    )
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(
        lambda w: F.cross_entropy(logits, soft, w, label_smoothing=0.1), (weight,), check_forward_ad=True
    )


REGRESSION: list[tuple[str, dict[str, Any]]] = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("huber_loss", {}),
    ("huber_loss", {"delta": 0.5}),
    ("smooth_l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.5}),
    ("smooth_l1_loss", {"beta": 0.0}),
]
each_regression = pytest.mark.parametrize(("name", "options"), REGRESSION)
INF, NAN = math.inf, math.nan


def _equal_to_torchs(name: str, *arrays: Tensor, **options: Any) -> None:
    """Compare values and gradients, element by element."""
    results = []
    for source in (F, torch.nn.functional):
        given = [x.clone().requires_grad_(x.requires_grad) for x in arrays]
        y = getattr(source, name)(*given, **options)
        wanted = [x for x in given if x.requires_grad]
        results.append((y.detach(), *torch.autograd.grad(y.sum(), wanted)))
    for a, r in zip(*results, strict=True):
        torch.testing.assert_close(a, r, equal_nan=True)


@each_regression
def test_both_sides_of_every_kink(name: str, options: dict[str, Any]) -> None:
    near = [k + e for k in (-1, -0.5, 0, 0.5, 1) for e in (-1e-9, 0.0, 1e-9)]
    x = torch.tensor([-INF, -3, *near, -0.0, 3, 1e4, INF, NAN], dtype=torch.float64, requires_grad=True)
    _equal_to_torchs(name, x, torch.zeros_like(x).requires_grad_(), reduction="none", **options)


@each_regression
def test_the_second_derivative_at_every_kink(name: str, options: dict[str, Any]) -> None:
    x = torch.tensor([-3, -1, -0.5, -0.0, 0, 0.3, 0.5, 1, 3], dtype=torch.float64, requires_grad=True)
    results = []
    for source in (F, torch.nn.functional):
        y = getattr(source, name)(x, torch.zeros_like(x), reduction="none", **options)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        bend = torch.autograd.grad(slope.sum(), x)[0] if slope.requires_grad else torch.zeros_like(x)
        results.append(bend)
    assert torch.equal(*results)


@each_regression
def test_a_batch_twice_over_has_the_same_gradient(name: str, options: dict[str, Any]) -> None:
    weight = torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64, requires_grad=True)
    x, target = torch.randn(4, 3, dtype=torch.float64), torch.tensor([-3.0, -0.5, 0.5, 3.0]).double()
    once, twice = (
        torch.autograd.grad(
            getattr(F, name)((x @ weight).repeat(copies), target.repeat(copies), **options), weight
        )[0]
        for copies in (1, 2)
    )
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("mse_loss", 4.625, [-1.5, -0.25, 0.25, 1.5]),
        ("l1_loss", 1.75, [-0.25, -0.25, 0.25, 0.25]),
        ("huber_loss", 1.3125, [-0.25, -0.125, 0.125, 0.25]),
        ("smooth_l1_loss", 1.3125, [-0.25, -0.125, 0.125, 0.25]),
    ],
)
def test_by_hand(name: str, value: float, slope: list[float]) -> None:
    x = torch.tensor([-3.0, -0.5, 0.5, 3.0], requires_grad=True)
    loss = getattr(F, name)(x, torch.zeros(4))
    assert loss.item() == value
    assert torch.autograd.grad(loss, x)[0].tolist() == slope


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"])
def test_unequal_sizes_broadcast_with_torchs_warning(name: str) -> None:
    x, target = torch.randn(3, 1, requires_grad=True), torch.randn(4, requires_grad=True)
    with pytest.warns(UserWarning, match="different to the input size") as caught:
        getattr(F, name)(x, target)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _equal_to_torchs(name, x, target)
        with pytest.raises(ValueError, match="target of the prediction's shape"):
            getattr(F, name)(x[:2, 0], target)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
def test_weights_of_elements(name: str, reduction: str) -> None:
    x, target, weight = torch.randn(3, 4), torch.randn(3, 4), torch.rand(3, 4)
    arrays = [y.double().requires_grad_() for y in (x, target, weight)]

    def loss(*arrays: Tensor) -> Tensor:
        found: Tensor = getattr(F, name)(*arrays[:2], reduction=reduction, weight=arrays[2])
        return found

    _equal_to_torchs(name, *arrays[:2], reduction=reduction, weight=arrays[2])
    assert torch.autograd.gradcheck(loss, arrays, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, arrays)
    options = {"reduction": reduction, "weight": arrays[2]}
    _equal_to_torchs(name, arrays[0], torch.randn(2, 3, 4).double().requires_grad_(), **options)


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_complex_distances(reduction: str) -> None:
    x, target = (torch.randn(5, dtype=torch.complex128, requires_grad=True) for _ in range(2))
    _equal_to_torchs("l1_loss", x, target, reduction=reduction)
    assert torch.autograd.gradcheck(
        lambda x: F.l1_loss(x, target.detach(), reduction=reduction), (x,), check_forward_ad=True
    )


@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"]
)
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32"), ("bfloat16", "float32")])
def test_two_dtypes_give_torchs(name: str, dtypes: tuple[str, str]) -> None:
    x, target = (torch.rand(6).to(getattr(torch, dtype)) for dtype in dtypes)
    found, expected = (getattr(f, name)(x, target) for f in (F, torch.nn.functional))
    assert found.dtype == expected.dtype
    torch.testing.assert_close(
        found, expected, rtol=1e-2, atol=1e-2
    )  # torch rounds intermediate half-precision values


def test_certain_mistakes_of_probabilities_cost_a_hundred() -> None:
    x = torch.tensor([0.0, 1.0, 0.5, 1e-13, 0.0, 1.0, 1e-310], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0.0, 1.0, 0.5, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    _equal_to_torchs("binary_cross_entropy", x, target, reduction="none")


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")  # torch's linearize
def test_tracing_does_not_read_probabilities() -> None:
    x = torch.rand(4)
    results = [
        torch.func.linearize(lambda x, f=f: f.binary_cross_entropy(x, torch.full((4,), 0.5)), x)[1](x)
        for f in (F, torch.nn.functional)
    ]
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("value", [INF, -INF, NAN, 1.5, -0.5])
def test_no_probability_is_refused(value: float) -> None:
    for source in (F, torch.nn.functional):
        for arrays in ((torch.tensor([value]), torch.ones(1)), (torch.ones(1), torch.tensor([value]))):
            with pytest.raises(RuntimeError, match=r"from 0 to 1|between 0 and 1"):
                source.binary_cross_entropy(*arrays)


@pytest.mark.parametrize("pos_weight", [None, torch.tensor([2.0])])
def test_logits_of_any_size(pos_weight: Tensor | None) -> None:
    x = torch.tensor([INF, INF, -INF, -INF, NAN, 1e4, -1e4, 1e4, -1e4, 0.0, -0.0], requires_grad=True)
    target = torch.tensor([0.0, 1, 0, 1, 1, 0, 0, 1, 1, 0.5, 0.5], requires_grad=True)
    name, options = "binary_cross_entropy_with_logits", {"pos_weight": pos_weight}
    _equal_to_torchs(name, x, target.detach(), reduction="none", **options)
    _equal_to_torchs(name, x[3:].detach(), target.detach()[3:].requires_grad_(), reduction="none", **options)


@pytest.mark.parametrize("log_target", [False, True])
def test_divergence_at_zero_and_infinity(log_target: bool) -> None:
    x = torch.tensor([-1.0, -INF, -1, -INF, NAN, 0.0, -1], requires_grad=True)
    target = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.5, NAN, -0.5], requires_grad=True)
    _equal_to_torchs("kl_div", x, target, reduction="none", log_target=log_target)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("reduction", ["batchmean", "mean", "sum", "none"])
def test_divergence_broadcasts_and_divides_by_the_batch(reduction: str) -> None:
    target = torch.rand(3, 4, requires_grad=True)
    for x in (torch.randn(3, 4), torch.randn(1, 4), torch.randn(4), torch.randn(())):
        _equal_to_torchs("kl_div", x.requires_grad_(), target, reduction=reduction)


def test_the_mean_of_divergences_warns_as_torch() -> None:
    for source in (F, torch.nn.functional):
        with pytest.warns(UserWarning, match="'mean' divides"):
            source.kl_div(torch.randn(2, 3), torch.rand(2, 3))


@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_no_label_counts(name: str, reduction: str) -> None:
    x = torch.randn(3, 4, requires_grad=True)
    _equal_to_torchs(name, x, torch.full((3,), -100), reduction=reduction)
    empty = torch.zeros(3, 0, requires_grad=True)
    _equal_to_torchs(name, empty, torch.full((3,), -100), reduction=reduction)
    _equal_to_torchs(name, empty[:0].detach().requires_grad_(), torch.zeros(0).long(), reduction=reduction)
    assert_close = torch.testing.assert_close
    for source in (F, torch.nn.functional):
        with pytest.raises(IndexError):
            getattr(source, name)(empty, torch.zeros(3).long(), reduction=reduction)
    if name == "cross_entropy":
        found, expected = (
            f.cross_entropy(empty, empty.detach(), reduction=reduction) for f in (F, torch.nn.functional)
        )
        assert_close(found, expected, equal_nan=True)


def test_labels_at_minus_infinity() -> None:
    x = torch.tensor([[-INF, 0.0], [NAN, NAN]], requires_grad=True)
    _equal_to_torchs("nll_loss", x, torch.tensor([0, -100]))


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((4,), ()), ((2, 4, 3, 5), (2, 3, 5)), ((2, 4, 3, 2, 2), (2, 3, 2, 2))],
)
def test_labels_of_any_number_of_axes(shape: tuple[int, ...], labels: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    _equal_to_torchs("nll_loss", x, torch.randint(4, labels), reduction="none")


@pytest.mark.filterwarnings("ignore:size_average and reduce args:UserWarning")
@pytest.mark.filterwarnings("ignore:reduction='elementwise_mean':UserWarning")
@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy", "kl_div", "nll_loss"]
)
def test_the_old_arguments_of_all(name: str) -> None:
    x, target = torch.rand(3, 4, requires_grad=True), torch.rand(3, 4)
    if name == "nll_loss":
        target = torch.tensor([0, 3, 1])
    for old in ({"reduce": False}, {"size_average": False}, {"reduction": "elementwise_mean"}):
        _equal_to_torchs(name, x, target, **old)
