"""The factory's first half: two `autograd.Function` classes of one record.

`eager` is ctx-first: quick to call, and the form that Dynamo sees through. `transformable` has
`setup_context`, a vmap rule and `jvp`, which functorch and forward mode need and Dynamo refuses.
Here alone dtypes, recording and reuse of memory are known; formulas are free of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nnfoundations.formulas import Namespace, torch_namespace
from nnfoundations.nn._record import Record

__all__ = ["make_functions"]

_HALF = (torch.float16, torch.bfloat16)
_PURE = torch_namespace()
_REUSING = torch_namespace(reuse=True)

_Values = Sequence[Any]


def make_functions(record: Record) -> tuple[type[Function], type[Function]]:
    """(eager, transformable): both take the record's inputs, then the values of its options."""
    inputs, options, saved = record.inputs, record.options, record.saved
    count, single = len(inputs), len(record.outputs) == 1
    places = {name: place for place, name in enumerate((*inputs, *record.outputs))}
    differentiable = tuple(places[name] for name in inputs if name in record.needs)
    readers = [tuple(places[name] for name in record.needs if kept in record.needs[name]) for kept in saved]

    def compute(xp: Namespace, args: _Values) -> Any:
        values = dict(zip(options, args[count:], strict=True))
        tensors, dtype = args[:count], args[0].dtype
        if not record.raise_half or dtype not in _HALF:
            return record.forward(*tensors, **values, xp=xp)
        y = record.forward(*map(_raised, tensors), **values, xp=xp)
        return y.to(dtype) if single else (y[0].to(dtype), *y[1:])

    def describe(ctx: Any, args: _Values, y: Any) -> None:
        """What the backward wants to know beyond tensors."""
        ctx.values = tuple(args[count:])
        ctx.dtypes = None
        if record.raise_half and any(args[place].dtype in _HALF for place in differentiable):
            ctx.dtypes = tuple(None if args[place] is None else args[place].dtype for place in differentiable)
        if not single:
            ctx.like = y[0].shape, y[0].dtype, y[0].device

    def gradients(ctx: Any, grads: _Values, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        result: list[Tensor | None] = [None] * (count + len(options))
        if all(grad is None for grad in grads):
            return tuple(result)
        if grads[0] is None:
            shape, dtype, device = ctx.like
            grads = (torch.zeros(shape, dtype=dtype, device=device), *grads[1:])
        tensors = (*grads, *ctx.saved_tensors)
        if ctx.dtypes is not None:
            tensors = tuple(map(_raised, tensors))
        values = dict(zip(options, ctx.values, strict=True))
        found: tuple[Tensor | None, ...]
        if len(differentiable) == 1:
            found = (record.backward(*tensors, **values, xp=_words(grads)),)
        else:
            asked = tuple(wanted[place] for place in differentiable)
            found = record.backward(*tensors, **values, wanted=asked, xp=_words(grads))
        if ctx.dtypes is not None:
            found = tuple(map(_rounded, found, ctx.dtypes))
        for place, grad in zip(differentiable, found, strict=True):
            result[place] = grad
        return tuple(result)

    def eager_forward(ctx: Any, *args: Any) -> Any:
        y = compute(_REUSING, args)
        known = (*args[:count], y) if single else (*args[:count], *y)
        wanted = ctx.needs_input_grad
        ctx.save_for_backward(
            *(
                known[places[name]] if any(wanted[place] for place in readers[i]) else None
                for i, name in enumerate(saved)
            )
        )
        describe(ctx, args, y)
        if not torch.compiler.is_compiling():  # Dynamo does not know it, and materialises at compile time
            ctx.set_materialize_grads(False)
        return y

    def forward(*args: Any) -> Any:
        return compute(_PURE, args)

    def setup_context(ctx: Any, args: _Values, y: Any) -> None:
        known = (*args[:count], y) if single else (*args[:count], *y)
        kept = [known[places[name]] for name in saved]
        ctx.save_for_backward(*kept)
        ctx.save_for_forward(*kept)
        describe(ctx, args, y)
        ctx.set_materialize_grads(False)

    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        return gradients(ctx, grads, ctx.needs_input_grad)

    def jvp(ctx: Any, *tangents: Any) -> Any:
        moved: list[Any] = [tangents[place] for place in differentiable]
        tensors = (*moved, *ctx.saved_tensors)
        if ctx.dtypes is not None:
            tensors = tuple(map(_raised, tensors))
        y = record.jvp(*tensors, **dict(zip(options, ctx.values, strict=True)), xp=_PURE)
        if ctx.dtypes is None:
            return y
        dtype = ctx.dtypes[0]
        return y.to(dtype) if single else (y[0].to(dtype), *y[1:])

    eager: dict[str, Any] = {"forward": staticmethod(eager_forward), "backward": staticmethod(backward)}
    transformable: dict[str, Any] = {
        "forward": staticmethod(forward),
        "setup_context": staticmethod(setup_context),
        "backward": staticmethod(backward),
        "jvp": staticmethod(jvp),
        "generate_vmap_rule": True,
    }
    return type(record.name, (Function,), eager), type(record.name, (Function,), transformable)


def _raised(x: Any) -> Any:
    return x.float() if x is not None and x.dtype in _HALF else x


def _rounded(grad: Tensor | None, dtype: torch.dtype | None) -> Tensor | None:
    return grad if grad is None or dtype is None else grad.to(dtype)


def _words(grads: _Values) -> Namespace:
    """Temporaries may be reused only where nobody records or batches the backward."""
    if (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    ):
        return _PURE
    if any(grad is not None and torch._C._functorch.is_legacy_batchedtensor(grad) for grad in grads):
        return _PURE
    return _REUSING
