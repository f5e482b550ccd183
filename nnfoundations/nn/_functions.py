"""Builds two `autograd.Function` classes from one `OperationSpec`.

The eager class has a ctx-first forward: it is fast to call, and Dynamo can trace it. The transformable class
has `setup_context`, a vmap rule and `jvp`, which functorch and forward mode need and Dynamo rejects.
Dtypes, the autograd graph and memory reuse are handled here, so that formulas contain mathematics only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from nnfoundations.formulas import Namespace, torch_namespace
from nnfoundations.nn._operation_spec import OperationSpec

__all__ = ["make_functions"]

_HALF = (torch.float16, torch.bfloat16)
_PURE = torch_namespace()
_REUSING = torch_namespace(reuse=True)

_Values: TypeAlias = Sequence[Any]
_Gradients: TypeAlias = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class _Positions:
    """Where a spec's arrays are in `(*inputs, *outputs)`. Read while building, never while computing."""

    differentiable: list[int]
    saved: list[int]
    readers: list[list[int]]  # for each saved array, the inputs whose gradient reads it
    all_wanted: tuple[bool, ...]  # `ctx.needs_input_grad` if every possible gradient is wanted


def make_functions(spec: OperationSpec) -> tuple[type[Function], type[Function]]:
    """Build the eager and the transformable class of a spec.

    Args:
        spec: the formula.

    Returns:
        (eager, transformable). Both are applied to the spec's inputs, followed by the values of its options.
    """
    positions = _positions(spec)
    compute, remember = _make_compute(spec), _make_remember(spec, positions)
    backward = staticmethod(_make_backward(spec, positions))
    eager: dict[str, Any] = {
        "forward": staticmethod(_make_eager_forward(spec, positions, compute, remember)),
        "backward": backward,
    }
    transformable: dict[str, Any] = {
        "forward": staticmethod(lambda *args: compute(_PURE, args)),
        "setup_context": staticmethod(_make_setup_context(spec, positions, remember)),
        "backward": backward,
        "jvp": staticmethod(_make_jvp(spec, positions)),
        "generate_vmap_rule": True,
    }
    return type(spec.name, (Function,), eager), type(spec.name, (Function,), transformable)


def _positions(spec: OperationSpec) -> _Positions:
    places = {name: place for place, name in enumerate((*spec.inputs, *spec.outputs))}
    return _Positions(
        differentiable=[places[name] for name in spec.inputs if name in spec.needs],
        saved=[places[name] for name in spec.saved],
        readers=[[places[name] for name in spec.needs if saved in spec.needs[name]] for saved in spec.saved],
        all_wanted=tuple(name in spec.needs for name in spec.inputs) + (False,) * len(spec.options),
    )


# Each function below returns a closure: what it reads from the spec is looked up once, not at each call.


def _make_compute(spec: OperationSpec) -> Callable[[Namespace, _Values], Any]:
    """The forward formula: raises half precision to float32 and rounds the first output once."""
    formula, options, raise_half = spec.forward, spec.options, spec.raise_half
    count, single = len(spec.inputs), len(spec.outputs) == 1

    def compute(xp: Namespace, args: _Values) -> Any:
        values = dict(zip(options, args[count:], strict=True))
        dtype = args[0].dtype
        if not raise_half or dtype not in _HALF:
            return formula(*args[:count], **values, xp=xp)
        y = formula(*map(_raise_half, args[:count]), **values, xp=xp)
        return y.to(dtype) if single else (y[0].to(dtype), *y[1:])

    return compute


def _make_remember(spec: OperationSpec, positions: _Positions) -> Callable[[Any, _Values, Any], None]:
    """Stores on ctx what the backward needs beyond tensors."""
    raise_half, differentiable = spec.raise_half, positions.differentiable
    count, single = len(spec.inputs), len(spec.outputs) == 1

    def remember(ctx: Any, args: _Values, y: Any) -> None:
        ctx.values = args[count:]
        ctx.dtypes = None
        if raise_half and args[0].dtype in _HALF:
            ctx.dtypes = [None if args[place] is None else args[place].dtype for place in differentiable]
        if not single:
            ctx.like = y[0].shape, y[0].dtype, y[0].device

    return remember


def _make_eager_forward(
    spec: OperationSpec,
    positions: _Positions,
    compute: Callable[[Namespace, _Values], Any],
    remember: Callable[[Any, _Values, Any], None],
) -> Callable[..., Any]:
    count, single = len(spec.inputs), len(spec.outputs) == 1
    places, readers, all_wanted = positions.saved, positions.readers, positions.all_wanted

    def forward(ctx: Any, *args: Any) -> Any:
        y = compute(_REUSING, args)
        known = (*args[:count], y) if single else (*args[:count], *y)
        wanted = ctx.needs_input_grad
        saved = [known[place] for place in places]
        if wanted != all_wanted:  # an array that no wanted gradient reads must not be kept alive
            saved = [x if any(wanted[i] for i in by) else None for x, by in zip(saved, readers, strict=True)]
        ctx.save_for_backward(*saved)
        remember(ctx, args, y)
        if not torch.compiler.is_compiling():  # Dynamo rejects the call, and fuses the zeros away
            ctx.set_materialize_grads(False)
        return y

    return forward


def _make_setup_context(
    spec: OperationSpec, positions: _Positions, remember: Callable[[Any, _Values, Any], None]
) -> Callable[[Any, _Values, Any], None]:
    count, single, places = len(spec.inputs), len(spec.outputs) == 1, positions.saved

    def setup_context(ctx: Any, args: _Values, y: Any) -> None:
        known = (*args[:count], y) if single else (*args[:count], *y)
        saved = [known[place] for place in places]
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)
        remember(ctx, args, y)
        ctx.set_materialize_grads(False)

    return setup_context


def _make_backward(spec: OperationSpec, positions: _Positions) -> Callable[..., _Gradients]:
    options, differentiable = spec.options, positions.differentiable
    gradients = _make_gradients(spec, differentiable)
    no_gradients = (None,) * len(positions.all_wanted)

    def backward(ctx: Any, *grads: Any) -> _Gradients:
        if all(grad is None for grad in grads):
            return no_gradients
        if grads[0] is None:
            shape, dtype, device = ctx.like
            grads = (torch.zeros(shape, dtype=dtype, device=device), *grads[1:])
        values = dict(zip(options, ctx.values, strict=True))
        found = gradients(ctx, grads, values)
        result: list[Tensor | None] = list(no_gradients)
        for place, grad in zip(differentiable, found, strict=True):
            result[place] = grad
        return tuple(result)

    return backward


def _make_gradients(
    spec: OperationSpec, differentiable: list[int]
) -> Callable[[Any, _Values, dict[str, Any]], Sequence[Tensor | None]]:
    """The backward formula: raises half precision to float32 and rounds each gradient once."""
    formula, single = spec.backward, len(differentiable) == 1

    def gradients(ctx: Any, grads: _Values, values: dict[str, Any]) -> Sequence[Tensor | None]:
        xp = _namespace_for(grads)
        tensors = (*grads, *ctx.saved_tensors)
        if ctx.dtypes is not None:
            tensors = tuple(map(_raise_half, tensors))
        found: Sequence[Tensor | None]
        if single:
            found = (formula(*tensors, **values, xp=xp),)
        else:
            needed = ctx.needs_input_grad
            wanted = tuple([needed[place] for place in differentiable])
            found = formula(*tensors, **values, wanted=wanted, xp=xp)
        return found if ctx.dtypes is None else list(map(_round_to, found, ctx.dtypes))

    return gradients


def _make_jvp(spec: OperationSpec, positions: _Positions) -> Callable[..., Any]:
    formula, options, differentiable = spec.jvp, spec.options, positions.differentiable
    single = len(spec.outputs) == 1

    def jvp(ctx: Any, *tangents: Any) -> Any:
        tensors = [tangents[place] for place in differentiable] + list(map(_primal, ctx.saved_tensors))
        values = dict(zip(options, ctx.values, strict=True))
        # Torch switches forward mode off here, which would silently lose a tangent of the tangent. With it
        # on again, only the tangents of this level must stay out: `_primal` removes them.
        with forward_ad._set_fwd_grad_enabled(True):
            if ctx.dtypes is None:
                return formula(*tensors, **values, xp=_PURE)
            y, dtype = formula(*map(_raise_half, tensors), **values, xp=_PURE), ctx.dtypes[0]
            return y.to(dtype) if single else (y[0].to(dtype), *y[1:])

    return jvp


def _raise_half(x: Any) -> Any:
    return x.float() if x is not None and x.dtype in _HALF else x


def _primal(x: Tensor | None) -> Tensor | None:
    return None if x is None else forward_ad.unpack_dual(x).primal


def _round_to(grad: Tensor | None, dtype: torch.dtype | None) -> Tensor | None:
    return grad if grad is None or dtype is None else grad.to(dtype)


def _namespace_for(grads: _Values) -> Namespace:
    """The namespace that reuses temporaries, unless this backward itself is recorded, traced or batched."""
    if (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    ):
        return _PURE
    if any(grad is not None and torch._C._functorch.is_legacy_batchedtensor(grad) for grad in grads):
        return _PURE
    return _REUSING
