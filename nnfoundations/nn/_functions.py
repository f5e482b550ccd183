"""The factory's first half: two `autograd.Function` classes of one record.

`eager` is ctx-first: quick to call, and the form that Dynamo sees through. `transformable` has
`setup_context`, a vmap rule and `jvp`, which functorch and forward mode need and Dynamo refuses.
Here alone dtypes, recording and reuse of memory are known; formulas are free of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

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
    differentiable = [places[name] for name in inputs if name in record.needs]
    kept_places = [places[name] for name in saved]
    readers = [[places[name] for name in record.needs if kept in record.needs[name]] for kept in saved]
    all_wanted = tuple(name in record.needs for name in inputs) + (False,) * len(options)
    no_gradients = (None,) * len(all_wanted)

    def compute(xp: Namespace, args: _Values) -> Any:
        values = dict(zip(options, args[count:], strict=True))
        dtype = args[0].dtype
        if not record.raise_half or dtype not in _HALF:
            return record.forward(*args[:count], **values, xp=xp)
        y = record.forward(*map(_raised, args[:count]), **values, xp=xp)
        return y.to(dtype) if single else (y[0].to(dtype), *y[1:])

    def describe(ctx: Any, args: _Values, y: Any) -> None:
        """Keep what the backward wants to know beyond tensors."""
        ctx.values = args[count:]
        ctx.dtypes = None
        if record.raise_half and args[0].dtype in _HALF:
            ctx.dtypes = [None if args[place] is None else args[place].dtype for place in differentiable]
        if not single:
            ctx.like = y[0].shape, y[0].dtype, y[0].device

    def gradients(ctx: Any, grads: _Values, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        if all(grad is None for grad in grads):
            return no_gradients
        if grads[0] is None:
            shape, dtype, device = ctx.like
            grads = (torch.zeros(shape, dtype=dtype, device=device), *grads[1:])
        xp = _words(grads)
        tensors = (*grads, *ctx.saved_tensors)
        if ctx.dtypes is not None:
            tensors = tuple(map(_raised, tensors))
        values = dict(zip(options, ctx.values, strict=True))
        found: Sequence[Tensor | None]
        if len(differentiable) == 1:
            found = (record.backward(*tensors, **values, xp=xp),)
        else:
            asked = tuple([wanted[place] for place in differentiable])
            found = record.backward(*tensors, **values, wanted=asked, xp=xp)
        if ctx.dtypes is not None:
            found = list(map(_rounded, found, ctx.dtypes))
        result: list[Tensor | None] = list(no_gradients)
        for place, grad in zip(differentiable, found, strict=True):
            result[place] = grad
        return tuple(result)

    def eager_forward(ctx: Any, *args: Any) -> Any:
        y = compute(_REUSING, args)
        known = (*args[:count], y) if single else (*args[:count], *y)
        wanted = ctx.needs_input_grad
        kept = [known[place] for place in kept_places]
        if wanted != all_wanted:  # what nobody will read is not kept alive
            kept = [x if any(wanted[i] for i in by) else None for x, by in zip(kept, readers, strict=True)]
        ctx.save_for_backward(*kept)
        describe(ctx, args, y)
        if not torch.compiler.is_compiling():  # Dynamo refuses the call, and fuses the zeros away
            ctx.set_materialize_grads(False)
        return y

    def forward(*args: Any) -> Any:
        return compute(_PURE, args)

    def setup_context(ctx: Any, args: _Values, y: Any) -> None:
        known = (*args[:count], y) if single else (*args[:count], *y)
        kept = [known[place] for place in kept_places]
        ctx.save_for_backward(*kept)
        ctx.save_for_forward(*kept)
        describe(ctx, args, y)
        ctx.set_materialize_grads(False)

    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        return gradients(ctx, grads, ctx.needs_input_grad)

    def jvp(ctx: Any, *tangents: Any) -> Any:
        # Torch switches forward mode off here, and a tangent of the tangent would be lost without a word. On
        # again, only this level's own tangents have to stay out.
        tensors = [tangents[place] for place in differentiable] + list(map(_primal, ctx.saved_tensors))
        values = dict(zip(options, ctx.values, strict=True))
        with forward_ad._set_fwd_grad_enabled(True):
            if ctx.dtypes is None:
                return record.jvp(*tensors, **values, xp=_PURE)
            y, dtype = record.jvp(*map(_raised, tensors), **values, xp=_PURE), ctx.dtypes[0]
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


def _primal(x: Tensor | None) -> Tensor | None:
    return None if x is None else forward_ad.unpack_dual(x).primal


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
