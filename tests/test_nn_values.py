"""Values and gradients of every module in the registry, on all kinds of input."""

import pytest
import torch
from registry import CASES, DTYPES, HALF, Case, assert_matches, backpropagated

each_case = pytest.mark.parametrize("case", CASES, ids=str)


@each_case
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_value_and_gradient_match_float64(case: Case, dtype: torch.dtype) -> None:
    ours, _ = case.build(dtype)
    _, theirs = case.build(dtype)
    theirs.double()
    inputs = case.inputs(dtype)
    raised = tuple(x.detach().double().requires_grad_() if x.is_floating_point() else x for x in inputs)
    for (part, a), (_, r) in zip(backpropagated(ours, inputs), backpropagated(theirs, raised), strict=True):
        assert a.dtype == dtype
        assert_matches(a, r, case.kind, part)


@each_case
def test_non_contiguous_input(case: Case) -> None:
    ours, theirs = case.build()
    inputs = case.inputs()
    strided = tuple(
        torch.stack((x.detach(), x.detach()), -1)[..., 0].requires_grad_(x.requires_grad) for x in inputs
    )
    assert inputs[0].numel() == 1 or not strided[0].is_contiguous()
    for (part, a), (_, r) in zip(backpropagated(ours, strided), backpropagated(theirs, inputs), strict=True):
        assert_matches(a, r, case.kind, part)


@each_case
def test_empty_batch(case: Case) -> None:
    if case.inputs()[0].ndim < 2:
        pytest.skip("has no batch axis")
    ours, theirs = case.build()
    inputs = tuple(x.detach()[:0].requires_grad_(x.requires_grad) for x in case.inputs())
    for (part, a), (_, r) in zip(backpropagated(ours, inputs), backpropagated(theirs, inputs), strict=True):
        assert_matches(a, r, case.kind, part)


@each_case
@pytest.mark.parametrize("value", [1e4, 1e-8, 1e-310, float("inf"), -float("inf"), float("nan")])
def test_extreme_inputs_give_what_torch_gives(case: Case, value: float) -> None:
    ours, theirs = case.build()
    inputs = case.inputs()
    with torch.no_grad():
        inputs[0].view(-1)[-1] = value
    for (part, a), (_, r) in zip(backpropagated(ours, inputs), backpropagated(theirs, inputs), strict=True):
        finite = r.isfinite()
        assert torch.equal(a.isnan(), r.isnan())
        assert torch.equal(a[~finite].nan_to_num(), r[~finite].nan_to_num())
        assert_matches(a[finite], r[finite], case.kind, part)


@each_case
def test_the_incoming_gradient_is_not_written(case: Case) -> None:
    ours, _ = case.build()
    inputs = case.inputs()
    y = ours(*inputs)
    grad_output = torch.ones_like(y)
    before = grad_output._version
    torch.autograd.grad(y, [x for x in (*inputs, *ours.parameters()) if x.requires_grad], grad_output)
    assert grad_output._version == before
    assert torch.equal(grad_output, torch.ones_like(y))


@each_case
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_autocast_gives_torchs_dtypes(case: Case, dtype: torch.dtype) -> None:
    ours, theirs = case.build(torch.float32)
    inputs = case.inputs(torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        a, r = ours(*inputs), theirs(*inputs)
    assert a.dtype == r.dtype
    torch.testing.assert_close(a, r)
    wanted = [x for x in inputs if x.requires_grad]
    for found, want in zip(
        torch.autograd.grad(a.sum(), wanted), torch.autograd.grad(r.sum(), wanted), strict=True
    ):
        torch.testing.assert_close(found, want)
