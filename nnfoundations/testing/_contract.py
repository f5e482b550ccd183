"""Laws about the module object: construction, state, copies, devices, memory for the backward."""

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from nnfoundations.errors import DtypeError
from nnfoundations.testing._layer_case import LayerCase, require, run_both, run_forward
from nnfoundations.testing._tolerance import assert_matches

__all__ = ["CONTRACT_LAWS", "saved_bytes"]


def is_instance_of_torch_layer(case: LayerCase) -> None:
    """`isinstance` checks in existing code must still hold."""
    ours, _ = case.build_initial()
    require(isinstance(ours, case.theirs), f"{case.ours} is not a subclass of {case.theirs}")


def signatures_match_torch(case: LayerCase) -> None:
    """The signature of the constructor is the same, and the parameter names of forward are."""
    ours, theirs = inspect.signature(case.ours), inspect.signature(case.theirs)
    require(ours == theirs, f"constructor {ours}, torch's {theirs}")
    ours, theirs = inspect.signature(case.ours.forward), inspect.signature(case.theirs.forward)
    require(list(ours.parameters) == list(theirs.parameters), f"forward{ours}, torch's forward{theirs}")


def repr_matches_torch(case: LayerCase) -> None:
    """The representation is torch's, apart from the name of the class."""
    ours, theirs = case.build_initial()
    found = repr(ours).replace(type(ours).__name__, type(theirs).__name__)
    require(found == repr(theirs), f"{ours!r}, torch's {theirs!r}")


def initial_state_matches_torch(case: LayerCase) -> None:
    """Names, order, shapes and values are the same for one random seed."""
    ours, theirs = (module.state_dict() for module in case.build_initial())
    require(list(ours) == list(theirs), f"state {list(ours)}, torch's {list(theirs)}")
    for name, value in theirs.items():
        require(torch.equal(ours[name], value), f"{name} starts as {ours[name]}, torch's as {value}")


def state_dict_loads_both_ways(case: LayerCase) -> None:
    """Each loads the other's state dict with strict=True, from a file read with weights_only=True."""
    for ours_first in (True, False):
        source, sink = case.build() if ours_first else case.build()[::-1]
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.add_(1)
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        file.seek(0)
        sink.load_state_dict(torch.load(file, weights_only=True), strict=True)
        y, expected = (run_forward(module, case.inputs()) for module in (sink, source))
        assert_matches(y, expected, case.kind, "forward", tolerance_factor=case.tolerance_factor)


def copies_give_the_same_output(case: LayerCase) -> None:
    """Copies of a used layer, by deepcopy and by pickle, give the same output."""
    ours, _ = case.build()
    run_forward(ours, case.inputs())
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        require(type(copied) is type(ours), f"a copy is a {type(copied)}")
        same = torch.equal(run_forward(copied, case.inputs()), run_forward(ours, case.inputs()))
        require(same, "a copy computes a different output")


def builds_on_the_meta_device(case: LayerCase) -> None:
    """The layer is built and called on the meta device, then moved to the CPU by `to_empty`."""
    shapes = []
    for kind in (case.ours, case.theirs):
        with torch.device("meta"):
            module = kind(**{name: _to_meta(value) for name, value in case.arguments.items()})
        module = module.float().train(case.training)
        inputs = tuple(_to_meta(x.detach().float() if x.is_floating_point() else x) for x in case.inputs())
        shapes.append(run_forward(module, inputs).shape)
        loaded = module.to_empty(device="cpu")
        require(all(x.device.type == "cpu" for x in loaded.parameters()), "to_empty left parameters on meta")
    require(shapes[0] == shapes[1], f"shape {shapes[0]} on meta, torch's {shapes[1]}")


def _to_meta(value: object) -> object:
    return value.to("meta") if isinstance(value, Tensor) else value


def saves_no_more_memory_than_torch(case: LayerCase) -> None:
    """The graph saves at most `extra_saved` more numbers than torch's.

    This also holds if the input or the parameters require no gradient.
    """
    for frozen in ("nothing", "input", "parameters"):
        counts = []
        for module in case.build():
            inputs = case.inputs()
            if frozen == "input":
                inputs = tuple(x.detach() for x in inputs)
            module.requires_grad_(frozen != "parameters")
            counts.append(saved_bytes(module, inputs))
        limit = counts[1] + case.extra_saved * inputs[0].element_size()
        require(counts[0] <= limit, f"{counts[0]} bytes saved with {frozen} frozen, torch saves {counts[1]}")


def saved_bytes(module: Module, inputs: tuple[Tensor, ...]) -> int:
    """Count the bytes that the graph saves, each storage once."""
    storages: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run_forward(module, inputs)
    return sum(storages.values())


def no_grad_builds_no_graph(case: LayerCase) -> None:
    """No graph is built under no_grad, or if nothing requires a gradient."""
    ours, _ = case.build()
    inputs = case.inputs()
    with torch.no_grad():
        require(not run_forward(ours, inputs).requires_grad, "a graph is built under no_grad")
    ours.requires_grad_(False)
    y = run_forward(ours, tuple(x.detach() for x in inputs))
    require(not y.requires_grad, "a graph is built although nothing requires a gradient")


def rejects_what_torch_rejects(case: LayerCase) -> None:
    """Wrong inputs are rejected, if torch rejects them.

    The inputs are integers, a dtype that differs from the parameters', one axis more, and one feature less.
    If torch accepts an input, the results must be the same. Only mixed dtypes may be rejected anyway.
    """
    for change, may_reject in _CHANGES:
        first, *rest = case.inputs()
        changed = change(first.detach())
        ours, theirs = (partial(run_forward, module, (changed, *rest)) for module in case.build())
        try:
            pairs = run_both(ours, theirs)
        except DtypeError:
            require(
                may_reject, f"{changed.dtype} of shape {tuple(changed.shape)} is rejected, torch accepts it"
            )
            continue
        if pairs:  # for mixed dtypes the coarser one counts
            close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6} if may_reject else {}
            torch.testing.assert_close(*pairs, equal_nan=True, **close)


_CHANGES: tuple[tuple[Callable[[Tensor], Tensor], bool], ...] = (
    (lambda x: x.long(), False),
    (lambda x: x > 0, False),
    (lambda x: x.to(torch.complex128), False),
    (lambda x: x.float(), True),
    (lambda x: x.unsqueeze(0), False),
    (lambda x: x[..., 1:] if x.ndim else x, False),
    (lambda x: x[:, 1:] if x.ndim > 1 else x, False),
)

CONTRACT_LAWS = (
    is_instance_of_torch_layer,
    signatures_match_torch,
    repr_matches_torch,
    initial_state_matches_torch,
    state_dict_loads_both_ways,
    copies_give_the_same_output,
    builds_on_the_meta_device,
    saves_no_more_memory_than_torch,
    no_grad_builds_no_graph,
    rejects_what_torch_rejects,
)
