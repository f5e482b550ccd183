"""The factory's second half: the operation that functions call."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from nnfoundations.nn._functions import make_functions
from nnfoundations.nn._record import Record

__all__ = ["Operation", "autocasting", "values_are_hidden"]

_PROXY = torch._C._TorchDispatchModeKey.PROXY


class Operation:
    """A record as a torch operation.

    Called with the record's inputs by position and its options by name, it brings them to autocast's dtype
    and to the canonical shape, and takes the class that fits what torch is doing.
    """

    def __init__(self, record: Record) -> None:
        self.options, self.canonical, self.autocast = record.options, record.canonical, record.autocast
        self.autocast_on_cpu = record.autocast_on_cpu
        self.eager, self.transformable = make_functions(record)

    def __call__(self, x: Tensor, *others: Tensor | None, **options: Any) -> Any:
        """The output, or the tuple of outputs."""
        if self.autocast is not None and (self.autocast_on_cpu or not x.is_cpu) and autocasting(x):
            device = x.device.type
            x, *rest = _cast((x, *others), self.autocast, device)
            with torch.autocast(device, enabled=False):
                return self._reshaped(x, *rest, *[options[name] for name in self.options])
        return self._reshaped(x, *others, *[options[name] for name in self.options])

    def _reshaped(self, x: Tensor, *args: Any) -> Any:
        if self.canonical is None:
            return self._apply(x, *args)
        y = self._apply(self.canonical.enter(x), *args)
        if isinstance(y, tuple):
            return self.canonical.leave(y[0], x), *y[1:]
        return self.canonical.leave(y, x)

    def _apply(self, *args: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.eager.apply(*args)
        if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
            return self.transformable.apply(*[_Axes(x) if type(x) is tuple else x for x in args])
        return self.eager.apply(*args)


class _Axes(tuple[int, ...]):
    """Axes as one argument: functorch takes plain tuples apart, and loses count where transforms nest."""


def autocasting(x: Tensor) -> bool:
    """Whether autocast is on for x's device; torch's own question raises for devices that have none."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def values_are_hidden() -> bool:
    """Whether torch is tracing or transforming, so that no number can be read off a tensor."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_dispatch_mode(_PROXY) is not None
    )


def _cast(tensors: Sequence[Tensor | None], policy: str, device: str) -> list[Any]:
    """Cast as torch does: float64 and integers stay."""
    casts = [x is not None and x.is_floating_point() and x.dtype != torch.float64 for x in tensors]
    if policy == "lower":
        dtype = torch.get_autocast_dtype(device)
    elif policy == "float32":
        dtype = torch.float32
    else:
        dtype = reduce(torch.promote_types, [x.dtype for x in tensors if x is not None])
    return [x.to(dtype) if x is not None and cast else x for x, cast in zip(tensors, casts, strict=True)]
