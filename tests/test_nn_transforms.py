"""Every module of the registry with gradient checks, torch.func, compile, export and FX."""

import pytest
import torch
from registry import CASES, Case, Law, each_law

from nnfoundations.models import MLP
from nnfoundations.testing import LAWS, TRANSFORM_LAWS, run_forward

# Torch's hessian and jvp compile their decompositions with torch.jit.script.
own_script = pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
# Torch has no batching rule for its own kl_div.
own_kl_div = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


@each_law(
    TRANSFORM_LAWS,
    per_file=[LAWS["compiles_into_one_graph"], LAWS["exports_with_torch_export"]],
    per_class=[LAWS["recompiles_no_more_often_than_torch"]],
)
@own_script
@own_kl_div
def test_law(case: Case, law: Law) -> None:
    law(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fx_traces_it_as_one_call(case: Case) -> None:
    ours, theirs = case.build()
    traced = torch.fx.symbolic_trace(ours)
    torch.manual_seed(0)
    found = traced(*case.inputs())
    torch.manual_seed(0)
    torch.testing.assert_close(found, theirs(*case.inputs()))
    assert sum(node.op == "call_function" for node in traced.graph.nodes) == 1


@pytest.mark.weekly
@pytest.mark.parametrize("case", list({case.ours: case for case in reversed(CASES)}.values()), ids=str)
def test_sizes_and_options_may_be_variable(case: Case) -> None:
    """With dynamic=True also the numbers that a formula takes as options."""
    for module in case.build()[::-1]:
        torch.compiler.reset()
        compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
        try:
            run_forward(compiled, case.inputs())
        except RuntimeError:
            if type(module) is case.ours:
                raise
            return  # torch's module cannot be compiled either


def test_a_model_compiles_no_more_often_than_torchs() -> None:
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
