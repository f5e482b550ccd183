"""Every module of the registry under autograd's checks, torch.func, compile, export and FX."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from registry import CASES, Case, assert_matches
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

from nnfoundations.models import MLP

each_case = pytest.mark.parametrize("case", CASES, ids=str)
# torch's own hessian and jvp compile their decompositions that way.
own_script = pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")


def pure(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The module as a function of all that has a gradient, and those values."""
    names = [name for name, _ in module.named_parameters()]
    moving = [i for i, x in enumerate(inputs) if x.requires_grad]

    def call(*values: Tensor) -> Tensor:
        arguments: list[Any] = list(inputs)
        for place, value in zip(moving, values, strict=False):
            arguments[place] = value
        parameters = dict(zip(names, values[len(moving) :], strict=True))
        found: Tensor = functional_call(module, parameters, tuple(arguments))
        return found

    values = [inputs[i] for i in moving] + [p.detach().clone().requires_grad_() for p in module.parameters()]
    return call, values


@each_case
def test_gradcheck(case: Case) -> None:
    function, values = pure(case.build()[0], case.inputs())
    assert torch.autograd.gradcheck(
        function, values, eps=1e-6, atol=1e-7, rtol=1e-5, nondet_tol=0.0, check_batched_grad=True
    )


@each_case
@own_script
def test_forward_mode(case: Case) -> None:
    function, values = pure(case.build()[0], case.inputs())
    assert torch.autograd.gradcheck(
        function,
        values,
        eps=1e-6,
        atol=1e-7,
        rtol=1e-5,
        nondet_tol=0.0,
        check_forward_ad=True,
        check_backward_ad=False,
        check_batched_forward_grad=True,
    )


@each_case
def test_gradgradcheck(case: Case) -> None:
    function, values = pure(case.build()[0], case.inputs())
    assert torch.autograd.gradgradcheck(function, values)


@each_case
@own_script
def test_func_transforms_agree_with_torch(case: Case) -> None:
    results = []
    for module in case.build():
        function, values = pure(module, case.inputs())
        values = [value.detach() for value in values]
        tangents = tuple(torch.ones_like(value) for value in values)
        places = tuple(range(len(values)))

        def total(*values: Tensor, function: Callable[..., Tensor] = function) -> Tensor:
            return function(*values).square().sum()

        results.append(
            (
                jvp(function, tuple(values), tangents),
                jacrev(function, places)(*values),
                jacfwd(function, places)(*values),
                grad(total, places)(*values),
                hessian(total)(*values),
                jacrev(jacrev(total))(*values),
                jacrev(jacfwd(total))(*values),
                vmap(lambda t: jvp(function, tuple(values), (t, *tangents[1:]))[1])(  # noqa: B023
                    torch.stack((tangents[0], 2 * tangents[0]))
                ),
            )
        )
    ours, theirs = (torch.utils._pytree.tree_leaves(result) for result in results)
    for a, r in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, r, rtol=1e-10, atol=1e-10)


@each_case
def test_vmap_over_samples(case: Case) -> None:
    drawn = [case.inputs(seed=seed) for seed in range(3)]
    stacked = [torch.stack([x.detach() for x in xs]) for xs in zip(*drawn, strict=True)]
    ours, theirs = case.build()
    torch.testing.assert_close(vmap(ours)(*stacked), torch.stack([theirs(*xs) for xs in drawn]))
    moving = tuple(i for i, x in enumerate(drawn[0]) if x.requires_grad)
    each = vmap(grad(lambda *xs: ours(*xs).sum(), moving))(*stacked)
    for i, xs in enumerate(drawn):
        want = torch.autograd.grad(theirs(*xs).sum(), [xs[place] for place in moving])
        for place, expected in enumerate(want):
            torch.testing.assert_close(each[place][i], expected)


@each_case
def test_compiles_into_one_graph(case: Case) -> None:
    torch.compiler.reset()
    ours, theirs = case.build()
    inputs = case.inputs()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    wanted = [x for x in inputs if x.requires_grad]
    a, r = compiled(*inputs), theirs(*inputs)
    assert_matches(a, r, case.kind, "forward")
    for found, want in zip(
        torch.autograd.grad(a.sum(), [*wanted, *ours.parameters()]),
        torch.autograd.grad(r.sum(), [*wanted, *theirs.parameters()]),
        strict=True,
    ):
        assert_matches(found, want, case.kind, "gradient")


def test_compiles_no_more_often_than_torch() -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    counts = []
    torch.manual_seed(0)
    for net in (MLP([6, 5, 3]), _as_torch(MLP([6, 5, 3]))):
        torch.compiler.reset()
        counter = CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(net, fullgraph=True, backend=counter)
        for batch in (8, 16, 32, 1):
            compiled(torch.randn(batch, 6)).sum().backward()
        counts.append(counter.frame_count)
    assert counts[0] <= counts[1]


def _as_torch(mlp: MLP) -> torch.nn.Sequential:
    kept = [layer for layer in mlp.layers if not isinstance(layer, torch.nn.Flatten)]
    layers = [getattr(torch.nn, type(layer).__name__) for layer in kept]
    built = [
        kind(layer.in_features, layer.out_features) if isinstance(layer, torch.nn.Linear) else kind()
        for kind, layer in zip(layers, kept, strict=True)
    ]
    return torch.nn.Sequential(torch.nn.Flatten(), *built)


@each_case
def test_exports(case: Case) -> None:
    ours, theirs = case.build()
    inputs = tuple(x.detach() for x in case.inputs())
    program = torch.export.export(ours, inputs).module()
    torch.testing.assert_close(program(*inputs), theirs(*inputs))


@each_case
def test_fx_traces_it_as_one_call(case: Case) -> None:
    ours, theirs = case.build()
    traced = torch.fx.symbolic_trace(ours)
    torch.testing.assert_close(traced(*case.inputs()), theirs(*case.inputs()))
    assert sum(node.op == "call_function" for node in traced.graph.nodes) == 1
