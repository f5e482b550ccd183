"""Laws of the object: construction, state, copies, devices, what it keeps for the backward."""

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

from nnfoundations._errors import DtypeError
from nnfoundations.testing._subject import Subject, both, called, require
from nnfoundations.testing._tolerance import assert_matches

__all__ = ["CONTRACT", "saved_bytes"]


def it_is_an_instance_of_torchs(subject: Subject) -> None:
    """So that `isinstance` in other people's code holds."""
    ours, _ = subject.fresh()
    require(isinstance(ours, subject.theirs), f"{subject.ours} is no subclass of {subject.theirs}")


def signatures_are_torchs(subject: Subject) -> None:
    """Of the constructor whole, of forward by name."""
    ours, theirs = inspect.signature(subject.ours), inspect.signature(subject.theirs)
    require(ours == theirs, f"constructor {ours}, torch's {theirs}")
    ours, theirs = inspect.signature(subject.ours.forward), inspect.signature(subject.theirs.forward)
    require(list(ours.parameters) == list(theirs.parameters), f"forward{ours}, torch's forward{theirs}")


def repr_is_torchs(subject: Subject) -> None:
    """But for the class's name."""
    ours, theirs = subject.fresh()
    found = repr(ours).replace(type(ours).__name__, type(theirs).__name__)
    require(found == repr(theirs), f"{ours!r}, torch's {theirs!r}")


def one_seed_gives_torchs_initial_state(subject: Subject) -> None:
    """Names, order, shapes and values."""
    ours, theirs = (module.state_dict() for module in subject.fresh())
    require(list(ours) == list(theirs), f"state {list(ours)}, torch's {list(theirs)}")
    for name, value in theirs.items():
        require(torch.equal(ours[name], value), f"{name} starts as {ours[name]}, torch's as {value}")


def state_goes_both_ways(subject: Subject) -> None:
    """Strictly, through a file read with weights_only."""
    for forth in (True, False):
        source, sink = subject.build() if forth else subject.build()[::-1]
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.add_(1)
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        file.seek(0)
        sink.load_state_dict(torch.load(file, weights_only=True), strict=True)
        y, expected = (called(module, subject.inputs()) for module in (sink, source))
        assert_matches(y, expected, subject.kind, "forward", looser=subject.looser)


def copies_compute_the_same(subject: Subject) -> None:
    """By deepcopy and by pickle, with hooks, before and after use."""
    ours, _ = subject.build()
    called(ours, subject.inputs())
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        require(type(copied) is type(ours), f"a copy is a {type(copied)}")
        same = torch.equal(called(copied, subject.inputs()), called(ours, subject.inputs()))
        require(same, "a copy computes something else")


def it_moves_from_meta_to_memory(subject: Subject) -> None:
    """Built and called without memory, then given some."""
    shapes = []
    for kind in (subject.ours, subject.theirs):
        with torch.device("meta"):
            module = kind(**{name: _to_meta(value) for name, value in subject.arguments.items()})
        module = module.float().train(subject.training)
        inputs = tuple(_to_meta(x.detach().float() if x.is_floating_point() else x) for x in subject.inputs())
        shapes.append(called(module, inputs).shape)
        loaded = module.to_empty(device="cpu")
        require(all(x.device.type == "cpu" for x in loaded.parameters()), "to_empty left some on meta")
    require(shapes[0] == shapes[1], f"shape {shapes[0]} on meta, torch's {shapes[1]}")


def _to_meta(value: object) -> object:
    return value.to("meta") if isinstance(value, Tensor) else value


def it_saves_no_more_than_torch(subject: Subject) -> None:
    """Plus one number a row, also where the input or the parameters ask for no gradient."""
    for frozen in ("nothing", "input", "parameters"):
        counts = []
        for module in subject.build():
            inputs = subject.inputs()
            if frozen == "input":
                inputs = tuple(x.detach() for x in inputs)
            module.requires_grad_(frozen != "parameters")
            counts.append(saved_bytes(module, inputs))
        limit = counts[1] + subject.rows * inputs[0].element_size()
        require(counts[0] <= limit, f"{counts[0]} bytes kept with {frozen} frozen, torch keeps {counts[1]}")


def saved_bytes(module: Module, inputs: tuple[Tensor, ...]) -> int:
    """Bytes that the graph keeps, each storage once."""
    storages: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        called(module, inputs)
    return sum(storages.values())


def no_gradient_leaves_no_graph(subject: Subject) -> None:
    """Under no_grad, and where nothing asks for a gradient."""
    ours, _ = subject.build()
    inputs = subject.inputs()
    with torch.no_grad():
        require(not called(ours, inputs).requires_grad, "a graph is kept under no_grad")
    ours.requires_grad_(False)
    y = called(ours, tuple(x.detach() for x in inputs))
    require(not y.requires_grad, "a graph is kept though nothing asks for a gradient")


def what_torch_refuses_is_refused(subject: Subject) -> None:
    """Integers, another dtype than the parameters', one axis more, one feature less.

    What torch takes has to give the same, but for mixed dtypes, which may be refused.
    """
    for spoil, may_refuse in _SPOILS:
        first, *rest = subject.inputs()
        spoiled = spoil(first.detach())
        ours, theirs = (partial(called, module, (spoiled, *rest)) for module in subject.build())
        try:
            pairs = both(ours, theirs)
        except DtypeError:
            require(may_refuse, f"{spoiled.dtype} of shape {tuple(spoiled.shape)} is refused, torch takes it")
            continue
        if pairs:  # of mixed dtypes the coarser one counts
            close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6} if may_refuse else {}
            torch.testing.assert_close(*pairs, equal_nan=True, **close)


_SPOILS: tuple[tuple[Callable[[Tensor], Tensor], bool], ...] = (
    (lambda x: x.long(), False),
    (lambda x: x > 0, False),
    (lambda x: x.to(torch.complex128), False),
    (lambda x: x.float(), True),
    (lambda x: x.unsqueeze(0), False),
    (lambda x: x[..., 1:] if x.ndim else x, False),
    (lambda x: x[:, 1:] if x.ndim > 1 else x, False),
)

CONTRACT = (
    it_is_an_instance_of_torchs,
    signatures_are_torchs,
    repr_is_torchs,
    one_seed_gives_torchs_initial_state,
    state_goes_both_ways,
    copies_compute_the_same,
    it_moves_from_meta_to_memory,
    it_saves_no_more_than_torch,
    no_gradient_leaves_no_graph,
    what_torch_refuses_is_refused,
)
