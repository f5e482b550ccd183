"""Properties for random shapes, strides, dtypes and values."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import CASES, DTYPES, Case
from torch import Tensor

from nnfoundations import nn
from nnfoundations.nn import functional as F
from nnfoundations.testing import assert_matches, run_backward


def _takes_any_shape(case: Case) -> bool:
    """Whether the module is elementwise; random modules have their own test."""
    if case.kind != "elementwise" or len(case.draws) != 1 or "Dropout" in case.ours.__name__:
        return False
    try:
        return case.build()[1](torch.ones((), dtype=torch.float64)).ndim == 0
    except (RuntimeError, IndexError):
        return False


ELEMENTWISE = list({case.ours: case for case in reversed(CASES) if _takes_any_shape(case)}.values())
SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4)
SEEDS = st.integers(0, 2**31)
SCALES = st.sampled_from([1e-6, 1.0, 30.0, 1e4])


def drawn(shape: list[int], seed: int, scale: float, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
    return x.to(dtype)


def strided(x: Tensor, how: str) -> Tensor:
    """The same numbers with another memory layout."""
    if how == "transposed" and x.ndim > 1:
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if how == "gaps":
        return torch.stack((x, x + 1), -1)[..., 0]
    if how == "offset":
        return torch.cat((x.new_zeros(1), x.flatten()))[1:].view(x.shape)
    return x


LAYOUTS = st.sampled_from(["plain", "transposed", "gaps", "offset"])


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
@given(shape=SHAPES, seed=SEEDS, scale=SCALES, how=LAYOUTS, dtype=st.sampled_from(DTYPES))
def test_elementwise_modules_match_float64(
    case: Case, shape: list[int], seed: int, scale: float, how: str, dtype: torch.dtype
) -> None:
    ours, theirs = case.build(dtype)[0], case.build(dtype)[1].double()
    x = drawn(shape, seed, scale, dtype)
    given_x = strided(x, how).requires_grad_()
    raised = strided(x, how).detach().double().requires_grad_()
    pairs = zip(run_backward(ours, (given_x,)), run_backward(theirs, (raised,), dtype), strict=True)
    for (part, a), (_, r) in pairs:
        finite = r.abs() <= torch.finfo(dtype).max  # larger values round to infinity
        # At scale 1: for small x the reference rounds differences such as x - tanh(x) too.
        one = torch.ones(1, dtype=torch.float64)
        a, r = torch.cat((a[finite].double(), one)).to(dtype), torch.cat((r[finite], one))
        assert_matches(a, r, case.kind, part, tolerance_factor=case.tolerance_factor)


@given(rows=st.integers(1, 5), classes=st.integers(1, 6), seed=SEEDS, shift=st.floats(-1e3, 1e3))
def test_a_shift_of_the_logits_changes_nothing(rows: int, classes: int, seed: int, shift: float) -> None:
    x = drawn([rows, classes], seed, 3.0, torch.float64)
    target = torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))
    for function in (
        lambda x: F.softmax(x, 1),
        lambda x: F.log_softmax(x, 1),
        lambda x: F.cross_entropy(x, target),
    ):
        torch.testing.assert_close(function(x + shift), function(x), rtol=1e-10, atol=1e-10)


@given(rows=st.integers(1, 5), classes=st.integers(1, 6), seed=SEEDS, scale=SCALES)
def test_shares_sum_to_one_and_gradients_to_zero(rows: int, classes: int, seed: int, scale: float) -> None:
    x = drawn([rows, classes], seed, scale, torch.float64).requires_grad_()
    y = F.softmax(x, 1)
    torch.testing.assert_close(y.sum(1), torch.ones(rows, dtype=torch.float64))
    (g,) = torch.autograd.grad(F.log_softmax(x, 1)[:, 0].sum(), x)
    torch.testing.assert_close(g.sum(1), torch.zeros(rows, dtype=torch.float64), rtol=0, atol=1e-12)


NORMS = [
    pytest.param(lambda c: nn.LayerNorm(c, eps=0.0), 1, id="LayerNorm"),
    pytest.param(lambda c: nn.BatchNorm1d(c, eps=1e-30), 0, id="BatchNorm1d"),
    pytest.param(lambda c: nn.GroupNorm(1, c, eps=1e-30), 1, id="GroupNorm"),
]


@pytest.mark.parametrize(("make", "axis"), NORMS)
@given(
    seed=SEEDS, a=st.floats(0.1, 100), b=st.floats(-100, 100), rows=st.integers(3, 6), size=st.integers(3, 6)
)
def test_norms_see_no_shift_and_no_positive_scale(
    make: Any, axis: int, seed: int, a: float, b: float, rows: int, size: int
) -> None:
    x = drawn([rows, size], seed, 1.0, torch.float64)
    norm = make(size).double()
    torch.testing.assert_close(norm(a * x + b), norm(x), rtol=1e-8, atol=1e-8)
    y = norm(x)
    torch.testing.assert_close(y.mean(axis), torch.zeros_like(y.mean(axis)), rtol=0, atol=1e-12)


@given(seed=SEEDS, a=st.floats(0.1, 100), shape=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_root_mean_square_sees_no_positive_scale(seed: int, a: float, shape: list[int]) -> None:
    x = drawn(shape, seed, 1.0, torch.float64)
    norm = nn.RMSNorm(shape[-1], eps=1e-30).double()
    torch.testing.assert_close(norm(a * x), norm(x), rtol=1e-10, atol=1e-10)


@given(
    seed=SEEDS, shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), out=st.integers(1, 4), how=LAYOUTS
)
def test_linear_is_linear_over_any_leading_axes(seed: int, shape: list[int], out: int, how: str) -> None:
    x, y = (drawn(shape, seed + i, 1.0, torch.float64) for i in (0, 1))
    layer = nn.Linear(shape[-1], out, bias=False).double()
    torch.testing.assert_close(layer(strided(2 * x + y, how)), 2 * layer(x) + layer(y))


@given(seed=SEEDS, rows=st.integers(1, 5), p=st.floats(0, 1), how=LAYOUTS)
def test_dropout_draws_torchs_mask(seed: int, rows: int, p: float, how: str) -> None:
    x = strided(drawn([rows, 4], seed, 1.0, torch.float32), how)
    found = []
    for dropout in (nn.Dropout(p), torch.nn.Dropout(p)):
        torch.manual_seed(seed)
        found.append((dropout(x), torch.get_rng_state()))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "loss" and len(c.draws) == 2], ids=str)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # torch's warning about KLDivLoss
@settings(max_examples=4)
@given(seed=SEEDS, reduction=st.sampled_from(["mean", "sum", "none"]))
def test_losses_match_torch_on_any_draw(case: Case, seed: int, reduction: str) -> None:
    ours, theirs = case.build()
    inputs = case.inputs(seed=seed)
    for module in (ours, theirs):
        module.reduction = reduction
    pairs = zip(run_backward(ours, inputs), run_backward(theirs, inputs), strict=True)
    for (part, a), (_, r) in pairs:
        assert_matches(a, r, case.kind, part, tolerance_factor=case.tolerance_factor)
