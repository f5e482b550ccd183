"""Defines `Operation`, which the functions call: it chooses how torch runs a formula."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from nnfoundations.nn._functions import make_functions
from nnfoundations.nn._operation_spec import OperationSpec

__all__ = ["Operation", "autocast_enabled", "is_tracing_or_transforming"]

_PROXY = torch._C._TorchDispatchModeKey.PROXY


class Operation:
    """A formula as a torch operation.

    Call it with the spec's inputs by position and its options by name. It casts the inputs as autocast asks,
    brings the first one to the canonical shape, and applies the `autograd.Function` class that fits the
    active transform.

    Args:
        spec: the formula.

    Example:
        >>> import torch
        >>> from nnfoundations import formulas
        >>> needs = {"x": ("weight",), "weight": ("x",), "bias": ()}
        >>> spec = OperationSpec(formulas.linear, formulas.linear_backward, formulas.linear_jvp, needs=needs)
        >>> Operation(spec)(torch.ones(1, 2), torch.ones(3, 2), None)
        tensor([[2., 2., 2.]])
    """

    def __init__(self, spec: OperationSpec) -> None:
        self.options, self.canonical, self.autocast = spec.options, spec.canonical, spec.autocast
        self.autocast_on_cpu = spec.autocast_on_cpu
        self.eager, self.transformable = make_functions(spec)

    def __call__(self, x: Tensor, *others: Tensor | None, **options: Any) -> Any:
        """Compute the formula.

        Args:
            x: the first input.
            *others: the other inputs.
            **options: every option of the spec.

        Returns:
            The output, or the tuple of outputs.
        """
        if self.autocast is not None and (self.autocast_on_cpu or not x.is_cpu) and autocast_enabled(x):
            device = x.device.type
            x, *rest = _cast((x, *others), self.autocast, device)
            with torch.autocast(device, enabled=False):
                return self._apply_in_canonical_shape(x, *rest, *[options[name] for name in self.options])
        return self._apply_in_canonical_shape(x, *others, *[options[name] for name in self.options])

    def _apply_in_canonical_shape(self, x: Tensor, *args: Any) -> Any:
        if self.canonical is None:
            return self._apply(x, *args)
        y = self._apply(self.canonical.to_canonical(x), *args)
        if isinstance(y, tuple):
            return self.canonical.from_canonical(y[0], x), *y[1:]
        return self.canonical.from_canonical(y, x)

    def _apply(self, *args: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.eager.apply(*args)
        if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
            return self.transformable.apply(*[_Axes(x) if type(x) is tuple else x for x in args])
        return self.eager.apply(*args)


class _Axes(tuple[int, ...]):
    """Axes as one argument: functorch flattens plain tuples and miscounts them in nested transforms."""


def autocast_enabled(x: Tensor) -> bool:
    """Whether autocast is on for x's device; torch's own function raises for devices without autocast."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def is_tracing_or_transforming() -> bool:
    """Whether torch is tracing or transforming, so that no value can be read from a tensor."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_dispatch_mode(_PROXY) is not None
    )


def _cast(tensors: Sequence[Tensor | None], policy: str, device: str) -> list[Any]:
    """Cast as torch's autocast does: float64 and integers keep their dtype."""
    casts = [x is not None and x.is_floating_point() and x.dtype != torch.float64 for x in tensors]
    if policy == "lower":
        dtype = torch.get_autocast_dtype(device)
    elif policy == "float32":
        dtype = torch.float32
    else:
        dtype = reduce(torch.promote_types, [x.dtype for x in tensors if x is not None])
    return [x.to(dtype) if x is not None and cast else x for x, cast in zip(tensors, casts, strict=True)]
