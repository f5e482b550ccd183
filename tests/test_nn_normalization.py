"""Difficult inputs of normalizations: running statistics, means far from zero, mixed dtypes, transforms."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import assert_matches
from torch import Tensor
from torch.func import grad, hessian, vmap

from nnfoundations import nn
from nnfoundations.nn import functional as F

BATCH_NORMS: list[dict[str, Any]] = [
    {},
    {"momentum": None},
    {"momentum": 0.7},
    {"affine": False},
    {"track_running_stats": False},
    {"bias": False},
]
HALF = [torch.bfloat16, torch.float16]


def both(name: str, *args: Any, **kwargs: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    return getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)


@pytest.mark.parametrize("options", BATCH_NORMS, ids=str)
@pytest.mark.parametrize("batch", [2, 8])
def test_running_statistics_are_torchs_after_200_batches(options: dict[str, Any], batch: int) -> None:
    ours, theirs = both("BatchNorm2d", 3, **options)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        x = torch.randn(batch, 3, 2, 2, generator=generator) * 3 + 5
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    for a, r in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, r, rtol=1e-6, atol=1e-6)
    x = torch.randn(5, 3, 2, 2, generator=generator, requires_grad=True)
    y, expected = ours.eval()(x), theirs.eval()(x)
    torch.testing.assert_close(y, expected)
    found, want = (torch.autograd.grad(out.square().sum(), x)[0] for out in (y, expected))
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["InstanceNorm1d", "BatchNorm1d"])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_running_statistics_in_each_dtype(name: str, dtype: torch.dtype) -> None:
    ours, theirs = (m.to(dtype) for m in both(name, 3, track_running_stats=True))
    for seed in range(5):
        x = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(seed)).to(dtype)
        ours(x), theirs(x)
    # Torch rounds the statistic of each instance to half precision before it averages them.
    close = {} if dtype == torch.float32 or name == "BatchNorm1d" else {"rtol": 3 * torch.finfo(dtype).eps}
    for a, r in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, r, **close, **({"atol": 1e-3} if close else {}))


@pytest.mark.parametrize("batch", [0, 1])
def test_an_empty_batch_leaves_the_statistics(batch: int) -> None:
    ours, theirs = both("BatchNorm2d", 2)
    for module in (ours, theirs):
        module(torch.ones(batch, 2, 0, 3))
    for a, r in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(a, r)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("LayerNorm", (6,)), ("GroupNorm", (2, 6)), ("BatchNorm1d", (6,)), ("RMSNorm", (6,))],
)
def test_float32_parameters_beside_a_half_input(
    name: str, arguments: tuple[int, ...], dtype: torch.dtype
) -> None:
    ours, theirs = both(name, *arguments)
    x = torch.randn(4, 6).to(dtype).requires_grad_()
    y, raised = ours(x), x.detach().double().requires_grad_()
    expected = theirs.double()(raised)
    assert y.dtype == dtype
    assert_matches(y, expected, "normalization", "forward")
    g = torch.randn(4, 6).to(dtype)
    found = torch.autograd.grad(y, [x, *ours.parameters()], g)
    want = torch.autograd.grad(expected, [raised, *theirs.parameters()], g.double())
    for place, (a, r) in enumerate(zip(found, want, strict=True)):
        assert a.dtype == (torch.float32 if place else dtype)
        assert_matches(a, r, "normalization", "parameter" if place else "gradient")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF], ids=str)
def test_the_epsilon_of_rms_norm_is_that_of_the_computation(dtype: torch.dtype) -> None:
    x = torch.tensor([[1e-4, 2e-4, -1e-4, 5e-5]]).to(dtype)
    torch.testing.assert_close(F.rms_norm(x, (4,)), torch.nn.functional.rms_norm(x, (4,)))


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_bilinear_under_autocast_stays_float32(dtype: torch.dtype) -> None:
    ours, theirs = both("Bilinear", 3, 2, 4)
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(5, 3), torch.randn(5, 2)
    with torch.autocast("cpu", dtype=dtype):
        y = ours(*inputs)
        assert y.dtype == theirs(*inputs).dtype
    torch.testing.assert_close(y, theirs(*inputs))


@pytest.mark.parametrize("offset", [1e2, 1e4])
def test_a_mean_far_from_zero_keeps_the_variance(offset: float) -> None:
    x = (torch.randn(64, 32) + offset).requires_grad_()
    raised = x.detach().double().requires_grad_()
    for ours, theirs in (both("LayerNorm", 32), both("BatchNorm1d", 32), both("GroupNorm", 4, 32)):
        error = (ours(x).double() - theirs.double()(raised)).abs().max().item()
        assert error <= 8 * torch.finfo(torch.float32).eps * offset


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    scale=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
    rows=st.integers(1, 5),
    features=st.integers(2, 9),
    seed=st.integers(0, 2**31),
)
def test_scale_and_shift_change_nothing(
    scale: float, shift: float, rows: int, features: int, seed: int
) -> None:
    x = torch.randn(rows, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = F.layer_norm(x, (features,), eps=0.0)
    close = {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close(F.layer_norm(scale * x + shift, (features,), eps=0.0), y, **close)
    torch.testing.assert_close(y.mean(1), torch.zeros(rows, dtype=x.dtype), **close)
    torch.testing.assert_close(y.var(1, correction=0), torch.ones(rows, dtype=x.dtype), **close)
    torch.testing.assert_close(
        F.rms_norm(scale * x, (features,), eps=0.0), F.rms_norm(x, (features,), eps=0.0), **close
    )


def test_one_group_is_layer_norm_and_as_many_as_channels_instance_norm() -> None:
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(F.group_norm(x, 1), F.layer_norm(x, (4, 3)))
    torch.testing.assert_close(F.group_norm(x, 4), F.instance_norm(x))


def test_linear_batch_norm_relu_has_torchs_gradient() -> None:
    gradients = []
    for source in (nn, torch.nn):
        torch.manual_seed(0)
        net = torch.nn.Sequential(source.Linear(4, 6), source.BatchNorm1d(6), source.ReLU()).double()
        x = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
        y = net(x)
        weights = torch.randn(y.shape, dtype=torch.float64)
        gradients.append(torch.autograd.grad((y * weights).sum(), [x, *net.parameters()]))
    for a, r in zip(*gradients, strict=True):
        torch.testing.assert_close(a, r, rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
def test_a_gradient_transform_leaves_torchs_statistics() -> None:
    x = torch.randn(5, 3, dtype=torch.float64)
    results = []
    for source in (F, torch.nn.functional):
        mean, variance = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)

        def total(x: Tensor, f: Any = source, running: Any = (mean, variance)) -> Tensor:
            y: Tensor = f.batch_norm(x, *running, training=True)
            return y.pow(3).sum()

        results.append((grad(total)(x), hessian(total)(x), mean, variance))
    torch.testing.assert_close(*results)
    for module in both("BatchNorm1d", 3):  # torch's module captures the batch counter too
        with pytest.raises(RuntimeError, match="captured"):
            grad(lambda x, module=module: module(x).sum())(x.float())


@pytest.mark.parametrize(
    ("function", "axis"),
    [(lambda x: F.layer_norm(x, (4,)), 1), (lambda x: F.batch_norm(x, None, None, training=True), 0)],
    ids=["layer_norm", "batch_norm"],
)
def test_third_derivatives(function: Callable[[Tensor], Tensor], axis: int) -> None:
    """Against autograd of the definition: torch's is wrong for layer_norm and missing for batch_norm."""

    def definition(x: Tensor) -> Tensor:
        d = x - x.mean(axis, keepdim=True)
        return d / (d.square().mean(axis, keepdim=True) + 1e-5).sqrt()

    results = []
    for f in (function, definition):
        x = torch.randn(
            3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        ).requires_grad_()
        y = (f(x).pow(2) * torch.arange(12.0).view(3, 4)).sum()
        for _ in range(3):
            (slope,) = torch.autograd.grad(y, x, create_graph=True)
            y = slope.pow(2).sum()
        results.append(slope)
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-8)


def test_vmap_refuses_shared_running_statistics_and_takes_batched_ones() -> None:
    stacked = torch.randn(3, 5, 2)
    for module in both("BatchNorm1d", 2):
        with pytest.raises((RuntimeError, ValueError)):
            vmap(module)(stacked)
    results = []
    for module in both("BatchNorm1d", 2):
        mean, variance = torch.zeros(3, 2), torch.ones(3, 2)
        function = F.batch_norm if type(module) is nn.BatchNorm1d else torch.nn.functional.batch_norm
        y = vmap(lambda x, m, v, f=function: f(x, m, v, training=True))(stacked, mean, variance)
        results.append((y, mean, variance))
    torch.testing.assert_close(*results)


def test_conversion_for_many_devices_and_averaged_weights() -> None:
    net = torch.nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    synchronous = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(net))
    assert type(synchronous[1]) is torch.nn.SyncBatchNorm
    assert torch.equal(synchronous[1].weight, net[1].weight)
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    theirs.load_state_dict(net.state_dict())
    loader = [torch.randn(6, 4) for _ in range(5)]
    for model in (net, theirs):
        torch.optim.swa_utils.update_bn(loader, model)
    for a, r in zip(net.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, r)
    assert net[1].momentum == 0.1


def test_channels_last_stays_channels_last() -> None:
    x = torch.randn(2, 4, 3, 5).contiguous(memory_format=torch.channels_last)
    for name, arguments in (("BatchNorm2d", (4,)), ("GroupNorm", (2, 4))):
        ours, theirs = both(name, *arguments)
        assert ours(x).stride() == theirs(x).stride()
    permuted = torch.randn(1, 4, 3, 5).permute(0, 2, 3, 1)
    ours, theirs = both("LayerNorm", 4)
    assert ours(permuted).stride() == theirs(permuted).stride()


def test_an_instance_norm_without_affine_warns_of_another_number_of_channels() -> None:
    for module in both("InstanceNorm1d", 3):
        with pytest.warns(UserWarning, match="features|num_features"):
            assert module(torch.randn(2, 4, 5)).shape == (2, 4, 5)


@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d", "LayerNorm", "GroupNorm"])
def test_fx_traces_it_as_one_call(name: str) -> None:
    module: torch.nn.Module = getattr(nn, name)(*((2, 4) if name == "GroupNorm" else (4,)))
    traced = torch.fx.symbolic_trace(module)
    x = torch.randn(2, 4, 4, 4)
    torch.testing.assert_close(traced(x), module(x))
    assert sum(node.op == "call_function" for node in traced.graph.nodes) == 1


X, IMAGES = torch.randn(4, 6), torch.randn(2, 4, 3, 3)
BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: nn.LayerNorm(5)(X), RuntimeError, r"end in \(5,\); got \(4, 6\)"),
    (lambda: F.layer_norm(X, ()), RuntimeError, r"at least one axis; got \(\)"),
    (lambda: F.layer_norm(X, (6,), torch.ones(1)), RuntimeError, r"weight of shape \(6,\); got \(1,\)"),
    (lambda: nn.LayerNorm(6)(X.double()), RuntimeError, "of one dtype.*got torch.float64, torch.float32"),
    (lambda: nn.LayerNorm(6).half()(X), RuntimeError, "got torch.float32, torch.float16"),
    (lambda: nn.RMSNorm(6)(X.long()), RuntimeError, "floating-point numbers; got torch.int64"),
    (lambda: nn.GroupNorm(2, 6)(IMAGES), RuntimeError, r"weight of shape \(4,\).*got \(6,\)"),
    (lambda: F.group_norm(X, 4), RuntimeError, "that 4 groups divide; got 6"),
    (lambda: F.group_norm(X[:1], 6), ValueError, r"more than one value per group; got \(1, 6\)"),
    (lambda: F.group_norm(X[0], 2), RuntimeError, r"shape \(N, C, \*\).*got \(6,\)"),
    (lambda: nn.BatchNorm1d(6)(X[:1]), ValueError, r"more than one value per channel.*got \(1, 6\)"),
    (lambda: nn.BatchNorm1d(5)(X), RuntimeError, r"shape \(5,\)|shape \(6,\)"),
    (lambda: nn.BatchNorm2d(6)(X), ValueError, r"BatchNorm2d needs x with 4 axes.*got \(4, 6\)"),
    (lambda: nn.BatchNorm1d(6)(IMAGES), ValueError, "BatchNorm1d needs x with 2 or 3 axes"),
    (lambda: F.batch_norm(X, None, None), RuntimeError, "both running_mean and running_var.*got none"),
    (lambda: F.batch_norm(X, X[0], None, training=True), ValueError, "both running_mean.*got one"),
    (lambda: F.batch_norm(X, None, None, training=True, eps=0.0), ValueError, "eps > 0.*got 0.0"),
    (lambda: F.batch_norm(X.long(), None, None, training=True), RuntimeError, "got torch.int64"),
    (
        lambda: F.batch_norm(X, torch.ones(6, requires_grad=True), torch.ones(6)),
        RuntimeError,
        "no gradient of running statistics",
    ),
    (lambda: F.instance_norm(X), ValueError, r"more than one value per channel.*got \(4, 6\)"),
    (
        lambda: nn.InstanceNorm2d(3, affine=True)(IMAGES),
        ValueError,
        r"needs 3 channels on axis 1.*build it for 4",
    ),
    (lambda: nn.Bilinear(3, 2, 4)(X, X), RuntimeError, r"x1 to end in 3 features; got \(4, 6\)"),
    (lambda: nn.Bilinear(6, 6, 4)(X, X[:1]), RuntimeError, r"last axis only; got \(4, 6\) and \(1, 6\)"),
    (lambda: nn.Bilinear(6, 6, 4)(X, X.double()), RuntimeError, "got torch.float32, torch.float64"),
    (lambda: F.bilinear(X, X, torch.ones(6, 6)), RuntimeError, r"\(out, in1, in2\); got \(6, 6\)"),
    (lambda: F.bilinear(X, X, torch.ones(2, 6, 6), torch.ones(1)), RuntimeError, r"bias of shape \(2,\)"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD_INPUT, ids=[text[:40] for *_, text in BAD_INPUT])
def test_errors_state_rule_found_value_and_fix(
    call: Callable[[], object], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        call()
    assert str(caught.value).endswith(".")
