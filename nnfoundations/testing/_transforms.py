"""Laws about torch's transforms: gradient checks, torch.func, compile, export."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn import Module

from nnfoundations.testing._layer_case import LayerCase, differentiable, output_gradient, require, run_forward
from nnfoundations.testing._tolerance import assert_matches

__all__ = ["TRANSFORM_LAWS", "recompiles_no_more_often_than_torch"]

# Strict enough to find an error of one part in ten thousand; the defaults accept 0.1 %.
_CHECK: dict[str, Any] = {"eps": 1e-6, "atol": 1e-7, "rtol": 1e-5, "nondet_tol": 0.0}


def _pure(module: Module, inputs: tuple[Tensor, ...]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Return the module as a function of everything that requires a gradient, and those values."""
    names = [name for name, x in module.named_parameters() if x.requires_grad]
    places = [i for i, x in enumerate(inputs) if x.requires_grad]

    def call(*values: Tensor) -> Tensor:
        arguments: list[Any] = list(inputs)
        for place, value in zip(places, values, strict=False):
            arguments[place] = value
        state = dict(zip(names, values[len(places) :], strict=True))
        # Buffers are copied, so that running statistics do not change between two calls.
        state |= {name: buffer.clone() for name, buffer in module.named_buffers()}
        found: Tensor = run_forward(lambda *xs: functional_call(module, state, xs), tuple(arguments))
        return found

    return call, [x.detach().clone().requires_grad_() for x in differentiable(module, inputs)]


def gradients_pass_gradcheck(case: LayerCase) -> None:
    """Gradients agree with finite differences, batched gradients too."""
    function, values = _pure(case.build()[0], case.inputs())
    torch.autograd.gradcheck(function, values, **_CHECK, check_batched_grad=True)


def forward_mode_passes_gradcheck(case: LayerCase) -> None:
    """Tangents agree with finite differences.

    So do batched tangents, unless the layer draws random numbers, which torch cannot batch.
    """
    function, values = _pure(case.build()[0], case.inputs())
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
    run_forward(lambda: None, ())
    return not torch.equal(after, torch.get_rng_state())


def second_gradients_pass_gradgradcheck(case: LayerCase) -> None:
    """Second gradients agree with finite differences.

    A layer that drops the gradient of a saved statistic passes every other law and fails here.
    """
    function, values = _pure(case.build()[0], case.inputs())
    torch.autograd.gradgradcheck(function, values)


def func_transforms_match_torch(case: LayerCase) -> None:
    """Check jvp, jacrev, jacfwd, grad, hessian and compositions, if torch's layer supports them."""
    ours, theirs = (_transformed(module, case.inputs()) for module in case.build())
    for name, transform in theirs.items():
        try:
            expected = transform()
            if name in ("jacrev of jacfwd", "jacfwd of jacfwd"):
                # Both equal jacrev of jacrev; torch's normalizations get them wrong.
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


def vmap_over_samples_matches_torch(case: LayerCase) -> None:
    """Values and per-sample gradients under vmap are torch's, if torch's layer supports it.

    All samples have the same random mask.
    """
    drawn = [case.inputs(seed=seed) for seed in range(3)]
    stacked = tuple(torch.stack([x.detach() for x in xs]) for xs in zip(*drawn, strict=True))
    ours, theirs = case.build()
    try:
        run_forward(vmap(theirs, randomness="same"), stacked)
    except (RuntimeError, NotImplementedError, ValueError):
        return
    ours, theirs = case.build()
    one_by_one = [run_forward(theirs, xs) for xs in drawn]
    y = run_forward(vmap(ours, randomness="same"), stacked)
    torch.testing.assert_close(y, torch.stack(one_by_one), equal_nan=True)
    places = tuple(i for i, x in enumerate(drawn[0]) if x.requires_grad)
    slope = grad(lambda *xs: ours(*xs).sum(), places)
    each = run_forward(vmap(slope, randomness="same"), stacked)
    for i, (xs, y) in enumerate(zip(drawn, one_by_one, strict=True)):
        want = torch.autograd.grad(y.sum(), [xs[place] for place in places])
        for place, expected in enumerate(want):
            torch.testing.assert_close(each[place][i], expected)


def compiles_into_one_graph(case: LayerCase) -> None:
    """The layer compiles with fullgraph=True, and its values and gradients do not change.

    The backend aot_eager traces everything, but builds no kernels.
    """
    torch.compiler.reset()
    ours, theirs = case.build()
    inputs = case.inputs()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    a, r = run_forward(compiled, inputs), run_forward(theirs, inputs)
    assert_matches(a, r, case.kind, "forward", tolerance_factor=case.tolerance_factor)
    found = torch.autograd.grad(a, differentiable(ours, inputs), output_gradient(a))
    expected = torch.autograd.grad(r, differentiable(theirs, inputs), output_gradient(r))
    for x, want in zip(found, expected, strict=True):
        assert_matches(x, want, case.kind, "parameter", tolerance_factor=case.tolerance_factor)


def recompiles_no_more_often_than_torch(case: LayerCase) -> None:
    """Count compiled graphs over batches of 8, 16, 32 and 1, with gradients."""
    from torch._dynamo.testing import CompileCounterWithBackend

    drawn = case.inputs()
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
            run_forward(compiled, tuple(batch(x, count) for x in drawn)).sum().backward()
        return int(counter.frame_count)

    ours, theirs = case.build()
    try:
        allowed = graphs(
            theirs, "eager"
        )  # faster than aot_eager, and never more: tracing the backward only adds guards
    except Exception:
        return  # torch's own layer does not compile
    found = graphs(ours, "aot_eager")
    require(found <= allowed, f"{found} graphs over four batch sizes, torch's {allowed}")


def exports_with_torch_export(case: LayerCase) -> None:
    """The exported program gives the same output."""
    ours, theirs = case.build()
    inputs = tuple(x.detach() for x in case.inputs())
    program = torch.export.export(ours, inputs).module()
    torch.testing.assert_close(run_forward(program, inputs), run_forward(theirs, inputs), equal_nan=True)


TRANSFORM_LAWS = (
    gradients_pass_gradcheck,
    forward_mode_passes_gradcheck,
    second_gradients_pass_gradgradcheck,
    func_transforms_match_torch,
    vmap_over_samples_matches_torch,
    compiles_into_one_graph,
    recompiles_no_more_often_than_torch,
    exports_with_torch_export,
)
