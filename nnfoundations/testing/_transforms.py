"""Laws of what torch does with a layer: autograd's checks, torch.func, compile, export."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn import Module

from nnfoundations.testing._subject import Subject, called, moving, require, upstream
from nnfoundations.testing._tolerance import assert_matches

__all__ = ["TRANSFORMS", "it_compiles_no_more_often_than_torch"]

# Tight enough for a gradient that is wrong by one part in ten thousand; autograd's defaults pass 0.1 %.
_CHECK: dict[str, Any] = {"eps": 1e-6, "atol": 1e-7, "rtol": 1e-5, "nondet_tol": 0.0}


def _pure(module: Module, inputs: tuple[Tensor, ...]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The module as a function of all that has a gradient, and those values."""
    names = [name for name, x in module.named_parameters() if x.requires_grad]
    places = [i for i, x in enumerate(inputs) if x.requires_grad]

    def call(*values: Tensor) -> Tensor:
        arguments: list[Any] = list(inputs)
        for place, value in zip(places, values, strict=False):
            arguments[place] = value
        state = dict(zip(names, values[len(places) :], strict=True))
        # Buffers are copies, so that a running statistic changes nothing between two calls.
        state |= {name: buffer.clone() for name, buffer in module.named_buffers()}
        found: Tensor = called(lambda *xs: functional_call(module, state, xs), tuple(arguments))
        return found

    return call, [x.detach().clone().requires_grad_() for x in moving(module, inputs)]


def gradients_pass_gradcheck(subject: Subject) -> None:
    """Against finite differences, batched gradients too."""
    function, values = _pure(subject.build()[0], subject.inputs())
    torch.autograd.gradcheck(function, values, **_CHECK, check_batched_grad=True)


def tangents_pass_gradcheck(subject: Subject) -> None:
    """Forward mode; batched tangents too, unless the layer draws at random, which torch cannot batch."""
    function, values = _pure(subject.build()[0], subject.inputs())
    torch.autograd.gradcheck(
        function,
        values,
        **_CHECK,
        check_forward_ad=True,
        check_backward_ad=False,
        check_batched_forward_grad=not _draws(function, values),
    )


def _draws(function: Callable[..., Tensor], values: list[Tensor]) -> bool:
    function(*values)
    after = torch.get_rng_state()
    called(lambda: None, ())
    return not torch.equal(after, torch.get_rng_state())


def second_gradients_pass_gradgradcheck(subject: Subject) -> None:
    """A statistic whose incoming gradient is dropped passes every other law and fails here."""
    function, values = _pure(subject.build()[0], subject.inputs())
    torch.autograd.gradgradcheck(function, values)


def func_transforms_agree_with_torch(subject: Subject) -> None:
    """jvp, jacrev, jacfwd, grad, hessian and their compositions, wherever torch's own layer has them."""
    ours, theirs = (_transformed(module, subject.inputs()) for module in subject.build())
    for name, transform in theirs.items():
        try:
            expected = transform()
            if name in (
                "jacrev of jacfwd",
                "jacfwd of jacfwd",
            ):  # the same, and wrong in torch's normalizations
                expected = theirs["jacrev of jacrev"]()
        except (RuntimeError, NotImplementedError):
            continue
        found = ours[name]()
        for a, r in zip(*map(torch.utils._pytree.tree_leaves, (found, expected)), strict=True):
            torch.testing.assert_close(a, r, rtol=1e-10, atol=1e-10, msg=lambda text: f"{name}: {text}")  # noqa: B023


def _transformed(module: Module, inputs: tuple[Tensor, ...]) -> dict[str, Callable[[], Any]]:
    function, moved = _pure(module, inputs)
    values = tuple(value.detach() for value in moved)
    tangents = tuple(torch.ones_like(value) for value in values)
    places = tuple(range(len(values)))

    def total(*values: Tensor) -> Tensor:
        return function(*values).square().sum()

    def along(tangent: Tensor) -> Any:
        return jvp(function, values, (tangent, *tangents[1:]))[1]

    return {
        "jvp": lambda: jvp(function, values, tangents),
        "jacrev": lambda: jacrev(function, places)(*values),
        "jacfwd": lambda: jacfwd(function, places)(*values),
        "grad": lambda: grad(total, places)(*values),
        "hessian": lambda: hessian(total)(*values),
        "jacrev of jacrev": lambda: jacrev(jacrev(total))(*values),
        "jacrev of jacfwd": lambda: jacrev(jacfwd(total))(*values),
        "jacfwd of jacfwd": lambda: jacfwd(jacfwd(total))(*values),
        "vmap of jvp": lambda: vmap(along)(torch.stack((tangents[0], 2 * tangents[0]))),
    }


def vmap_runs_over_samples(subject: Subject) -> None:
    """Values and per-sample gradients, one mask for all, wherever torch's own layer can."""
    drawn = [subject.inputs(seed=seed) for seed in range(3)]
    stacked = tuple(torch.stack([x.detach() for x in xs]) for xs in zip(*drawn, strict=True))
    ours, theirs = subject.build()
    try:
        called(vmap(theirs, randomness="same"), stacked)
    except (RuntimeError, NotImplementedError, ValueError):
        return
    ours, theirs = subject.build()
    one_by_one = [called(theirs, xs) for xs in drawn]
    y = called(vmap(ours, randomness="same"), stacked)
    torch.testing.assert_close(y, torch.stack(one_by_one), equal_nan=True)
    places = tuple(i for i, x in enumerate(drawn[0]) if x.requires_grad)
    slope = grad(lambda *xs: ours(*xs).sum(), places)
    each = called(vmap(slope, randomness="same"), stacked)
    for i, (xs, y) in enumerate(zip(drawn, one_by_one, strict=True)):
        want = torch.autograd.grad(y.sum(), [xs[place] for place in places])
        for place, expected in enumerate(want):
            torch.testing.assert_close(each[place][i], expected)


def it_compiles_into_one_graph(subject: Subject) -> None:
    """fullgraph=True, values and gradients as torch's; aot_eager, which traces all but builds no kernel."""
    torch.compiler.reset()
    ours, theirs = subject.build()
    inputs = subject.inputs()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    a, r = called(compiled, inputs), called(theirs, inputs)
    assert_matches(a, r, subject.kind, "forward", looser=subject.looser)
    found = torch.autograd.grad(a, moving(ours, inputs), upstream(a))
    expected = torch.autograd.grad(r, moving(theirs, inputs), upstream(r))
    for x, want in zip(found, expected, strict=True):
        assert_matches(x, want, subject.kind, "parameter", looser=subject.looser)


def it_compiles_no_more_often_than_torch(subject: Subject) -> None:
    """Over batches of 8, 16, 32 and 1, with gradients."""
    from torch._dynamo.testing import CompileCounterWithBackend

    drawn = subject.inputs()
    size = drawn[0].shape[:1]
    if drawn[0].ndim < 2:
        return  # no batch axis

    def batch(x: Tensor, count: int) -> Tensor:
        if x.shape[:1] != size:
            return x
        taken = torch.arange(count) % x.shape[0]
        return x.detach()[taken].requires_grad_(x.requires_grad)

    def graphs(module: Module, backend: str) -> int:
        torch.compiler.reset()
        counter = CompileCounterWithBackend(backend)
        compiled = torch.compile(module, fullgraph=True, backend=counter)
        for count in (8, 16, 32, 1):
            called(compiled, tuple(batch(x, count) for x in drawn)).sum().backward()
        return int(counter.frame_count)

    ours, theirs = subject.build()
    try:
        allowed = graphs(theirs, "eager")  # cheaper, and no more: tracing the backward only adds guards
    except Exception:
        return  # what torch's own layer cannot is not asked
    found = graphs(ours, "aot_eager")
    require(found <= allowed, f"{found} graphs over four batch sizes, torch's {allowed}")


def it_exports(subject: Subject) -> None:
    """torch.export gives a program that computes the same."""
    ours, theirs = subject.build()
    inputs = tuple(x.detach() for x in subject.inputs())
    program = torch.export.export(ours, inputs).module()
    torch.testing.assert_close(called(program, inputs), called(theirs, inputs), equal_nan=True)


TRANSFORMS = (
    gradients_pass_gradcheck,
    tangents_pass_gradcheck,
    second_gradients_pass_gradgradcheck,
    func_transforms_agree_with_torch,
    vmap_runs_over_samples,
    it_compiles_into_one_graph,
    it_compiles_no_more_often_than_torch,
    it_exports,
)
