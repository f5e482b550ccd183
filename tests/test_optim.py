"""Optimizers against torch's: 200 steps, state dicts in both directions, rejected options."""

import copy
import math

import pytest
import torch

from nnfoundations import optim
from nnfoundations.errors import DtypeError, OptionError

CASES = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 1e-3}),
    ("RMSprop", {"lr": 1e-3, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 1e-3, "momentum": 0.9}),
    ("RMSprop", {"lr": 1e-3, "momentum": 0.9, "centered": True}),
    ("Adam", {"lr": 1e-3}),
    ("Adam", {"lr": 1e-3, "amsgrad": True, "betas": (0.8, 0.99)}),
    ("Adam", {"lr": 1e-3, "weight_decay": 0.1}),
    ("AdamW", {"lr": 1e-3}),
    ("AdamW", {"lr": 1e-3, "weight_decay": 0.5, "amsgrad": True}),
]
GIVEN, OWN = 64, 256  # tolerances in eps: for given gradients, and for gradients of the network itself
each_case = pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value))


def parameters(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 5), (7,), (3, 7), (3,), ()]
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
        for shape in shapes
    ]


def give_gradients(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def assert_close(ours, theirs, k):
    """Compare within k eps of the largest parameter: one near 0 keeps the rounding errors of its path."""
    ours, theirs = list(ours), list(theirs)
    scale = max(other.abs().max().item() for other in theirs)
    for mine, other in zip(ours, theirs, strict=True):
        bound = k * torch.finfo(mine.dtype).eps
        torch.testing.assert_close(mine.detach(), other.detach(), rtol=bound, atol=bound * scale)


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("maximize", [False, True])
def test_200_steps_on_given_gradients(name, options, dtype, foreach, maximize):
    ours, theirs = parameters(dtype), parameters(torch.float64)
    for p in theirs:
        p.data = p.to(dtype).double()
    mine = getattr(optim, name)(ours, **options, foreach=foreach, maximize=maximize)
    other = getattr(torch.optim, name)(theirs, **options, maximize=maximize)
    for seed in range(200):
        give_gradients(ours, seed)
        for p, q in zip(ours, theirs, strict=True):
            q.grad = p.grad.double()
        mine.step()
        other.step()
    assert_close(
        [p.double() for p in ours] if dtype == torch.float64 else ours, [q.to(dtype) for q in theirs], GIVEN
    )


@each_case
def test_200_steps_of_a_network(name, options):
    """The gradients depend on the rounded parameters; steps use closures."""
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double()
    theirs = copy.deepcopy(ours)
    x, y = torch.randn(32, 8, dtype=torch.float64), torch.randint(3, (32,))
    for net, package in ((ours, optim), (theirs, torch.optim)):
        optimizer = getattr(package, name)(net.parameters(), **options)

        def closure(net=net, optimizer=optimizer):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x), y)
            loss.backward()
            return loss

        losses = [optimizer.step(closure).item() for _ in range(200)]
        assert losses[-1] < losses[0]
    assert_close(ours.parameters(), theirs.parameters(), OWN)


@each_case
def test_state_dicts_load_both_ways(name, options):
    """50 steps with one package and 50 with the other, against 100 steps of torch."""
    for first, then in ((optim, torch.optim), (torch.optim, optim)):
        params, reference = parameters(), parameters()
        one, whole = getattr(first, name)(params, **options), getattr(torch.optim, name)(reference, **options)
        two = getattr(then, name)(params, lr=0.123)
        for seed in range(100):
            if seed == 50:
                two.load_state_dict(copy.deepcopy(one.state_dict()))
            give_gradients(params, seed)
            give_gradients(reference, seed)
            (one if seed < 50 else two).step()
            whole.step()
        assert_close(params, reference, GIVEN)


@each_case
def test_groups_have_options_of_their_own(name, options):
    ours, theirs = parameters(), parameters()
    pairs = []
    for params, package in ((ours, optim), (theirs, torch.optim)):
        groups = [{"params": params[:2]}, {"params": params[2:], "lr": 1e-4, "weight_decay": 0.2}]
        pairs.append(getattr(package, name)(groups, **options))
    for seed in range(20):
        for params, optimizer in zip((ours, theirs), pairs, strict=True):
            give_gradients(params, seed)
            params[seed % 4].grad = None  # not every parameter has a gradient in every step
            optimizer.step()
    assert_close(ours, theirs, GIVEN)


LATER = [
    ("SGD", {"momentum": 0.9, "dampening": 0.5}, None),
    ("RMSprop", {"momentum": 0.9}, "momentum_buffer"),
    ("RMSprop", {"centered": True}, "grad_avg"),
    ("Adam", {"amsgrad": True}, "max_exp_avg_sq"),
    ("AdamW", {"amsgrad": True}, "max_exp_avg_sq"),
]


@pytest.mark.parametrize(("name", "later", "array"), LATER, ids=lambda value: str(value))
@pytest.mark.parametrize("first", [optim, torch.optim], ids=["ours first", "torch first"])
def test_an_option_set_later_starts_from_zero(name, later, array, first):
    """An array that a later option needs starts at zero; torch's reference gets one by hand.

    10 steps, the change, then 10 steps with our optimizer and 10 with torch's. The state is handed over.
    """
    params, reference = parameters(), parameters()
    whole = getattr(torch.optim, name)(reference, lr=1e-3)
    optimizers = [getattr(package, name)(params, lr=0.123) for package in (first, optim, torch.optim)]
    optimizers[0].param_groups[0]["lr"] = 1e-3
    for seed in range(30):
        mine = optimizers[seed // 10]
        if seed in (10, 20):
            mine.load_state_dict(copy.deepcopy(optimizers[seed // 10 - 1].state_dict()))
        if seed == 10:
            mine.param_groups[0].update(later)
            whole.param_groups[0].update(later)
            for p in reference if array else []:
                whole.state[p][array] = torch.zeros_like(p)
        for each, optimizer in ((params, mine), (reference, whole)):
            give_gradients(each, seed)
            optimizer.step()
    assert_close(params, reference, GIVEN)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_a_group_added_later_is_checked_and_stepped(name):
    ours, theirs = parameters(), parameters()
    pairs = []
    for params, package in ((ours, optim), (theirs, torch.optim)):
        optimizer = getattr(package, name)(params[:2], lr=1e-3)
        optimizer.add_param_group({"params": params[2:], "lr": 1e-2})
        pairs.append(optimizer)
    for bad in ({"lr": -2.0}, {"weight_decay": -1.0}, {"lr": math.nan}):
        with pytest.raises(
            OptionError, match=f"{name} needs lr.*{next(iter(bad))}={next(iter(bad.values()))}"
        ):
            pairs[0].add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], **bad})
    assert len(pairs[0].param_groups) == 2  # rejected groups were not added
    for seed in range(20):
        for params, optimizer in zip((ours, theirs), pairs, strict=True):
            give_gradients(params, seed)
            optimizer.step()
    assert_close(ours, theirs, GIVEN)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_rejected_parameters_and_options(name):
    make = getattr(optim, name)
    half = torch.nn.Parameter(torch.ones(3, dtype=torch.float16))
    half.grad = torch.zeros_like(half)
    with pytest.raises(DtypeError, match=f"{name} needs parameters in float32.*got torch.float16"):
        make([half], lr=0.1).step()
    assert half.isfinite().all()
    embedding = torch.nn.Embedding(4, 3, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(OptionError, match=f"{name} needs dense gradients.*sparse=False"):
        make(embedding.parameters(), lr=0.1).step()
    with pytest.raises(OptionError, match=f"{name} needs lr.*lr=-1"):
        make(parameters(), lr=-1)
    with pytest.raises(OptionError, match="lr=-2"):
        make([{"params": parameters(), "lr": -2}], lr=1)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: optim.SGD(parameters(), nesterov=True), "a momentum and no dampening for nesterov"),
        (lambda: optim.SGD(parameters(), dampening=-0.1), "momentum, dampening and weight_decay of.*=-0.1"),
        (lambda: optim.SGD([{"params": parameters(), "dampening": -2}]), "dampening=-2"),
        (lambda: optim.SGD(parameters()).add_param_group({"params": [], "dampening": -3}), "dampening=-3"),
        (lambda: optim.Adam(parameters(), betas=(0.9, 1.0)), r"less than 1; got \(0.9, 1.0\)"),
        (lambda: optim.clip_grad_norm_(parameters(), 0), "max_norm above 0; got 0"),
        (lambda: optim.clip_grad_norm_(parameters(), 1, norm_type=0), "norm_type above 0; got 0"),
        (lambda: optim.RMSprop(parameters(), alpha=2), "an alpha of at most 1; got 2. 0.99"),
        (lambda: optim.clip_grad_value_(parameters(), -1), "clip_value above 0; got -1"),
        (lambda: optim.WarmupCosineLR(optim.SGD(parameters()), 5, 5), "warmup=5, total=5"),
    ],
)
def test_options_are_checked(call, text):
    with pytest.raises(OptionError, match=text):
        call()


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
def test_clipping_by_norm(norm_type, max_norm):
    """The norm is that of all gradients together; the direction stays; below the limit nothing changes."""
    ours, theirs = parameters(), parameters()
    give_gradients(ours, 0)
    give_gradients(theirs, 0)
    before = torch.cat([p.grad.flatten() for p in ours])
    total = optim.clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    torch.testing.assert_close(total, expected, rtol=1e-14, atol=0)
    assert_close([p.grad for p in ours], [p.grad for p in theirs], 16)
    after = torch.cat([p.grad.flatten() for p in ours])
    assert torch.linalg.vector_norm(after, norm_type) <= max(max_norm, 0) + 1e-6
    assert torch.cosine_similarity(before, after, dim=0) == pytest.approx(1)
    if max_norm > expected:
        assert torch.equal(before, after)


def test_clipping_by_value_and_normalisation():
    ours, theirs = parameters(), parameters()
    give_gradients(ours, 0)
    give_gradients(theirs, 0)
    before = torch.cat([p.grad.flatten() for p in ours])
    assert optim.normalize_grad_(ours) == pytest.approx(before.norm().item())
    after = torch.cat([p.grad.flatten() for p in ours])
    assert after.norm().item() == pytest.approx(1, abs=1e-14)
    torch.testing.assert_close(after * before.norm(), before)
    give_gradients(ours, 0)
    optim.clip_grad_value_(ours, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(ours, theirs, strict=True))
    zero = torch.nn.Parameter(torch.ones(2))
    zero.grad = torch.zeros(2)
    optim.normalize_grad_([zero])
    assert torch.equal(zero.grad, torch.zeros(2))
    assert optim.clip_grad_norm_([torch.nn.Parameter(torch.ones(2))], 1.0) == 0


def test_warmup_and_cosine():
    optimizer = optim.AdamW(parameters(), lr=1.0)
    schedule = optim.WarmupCosineLR(optimizer, warmup=4, total=20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [(t + 1) / 5 for t in range(4)]
    expected += [(1 + math.cos(math.pi * t / 16)) / 2 for t in range(16)]
    assert rates == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_after_its_end_the_schedule_stays_at_zero():
    """A plain cosine would rise again; also after loading a state dict that was saved at the end."""
    optimizer = optim.SGD(parameters(), lr=1.0)
    schedule = optim.WarmupCosineLR(optimizer, warmup=2, total=6)
    for step in range(1, 16):
        optimizer.step()
        schedule.step()
        if step == 6:
            saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
        if step >= 6:
            assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
            assert schedule.get_last_lr() == pytest.approx([0], abs=1e-12)
    again = optim.SGD(parameters(), lr=1.0)
    schedule = optim.WarmupCosineLR(again, warmup=2, total=6)
    again.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    for _ in range(5):
        again.step()
        schedule.step()
        assert again.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_a_rate_may_be_a_tensor(name):
    moved = []
    for lr in (0.01, torch.tensor(0.01, dtype=torch.float64)):
        params = parameters()
        optimizer = getattr(optim, name)(params, lr=lr)
        for seed in range(2):
            give_gradients(params, seed)
            optimizer.step()
        moved.append(params)
    assert all(torch.allclose(a, b, rtol=1e-14) for a, b in zip(*moved, strict=True))
