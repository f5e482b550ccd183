"""The factory's second half: the operation that functions call."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from nnfoundations.nn._functions import make_functions
from nnfoundations.nn._record import Record

__all__ = ["Operation"]


class Operation:
    """A record as a torch operation.

    Called with the record's inputs by position and its options by name, it brings them to autocast's dtype
    and to the canonical shape, and takes the class that fits what torch is doing.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.options = record.options
        self.eager, self.transformable = make_functions(record)

    def __call__(self, *inputs: Tensor | None, **options: Any) -> Any:
        """The output, or the tuple of outputs."""
        policy = self.record.autocast
        if policy is not None:
            device = _device_type(inputs)
            if torch.is_autocast_enabled(device):
                inputs = tuple(_autocast(x, policy, device) for x in inputs)
                with torch.autocast(device, enabled=False):
                    return self._canonical(inputs, options)
        return self._canonical(inputs, options)

    def _canonical(self, inputs: tuple[Tensor | None, ...], options: dict[str, Any]) -> Any:
        values = [options[name] for name in self.options]
        canonical, x = self.record.canonical, inputs[0]
        if canonical is None or x is None:
            return self._apply(*inputs, *values)
        y = self._apply(canonical.enter(x), *inputs[1:], *values)
        if isinstance(y, tuple):
            return canonical.leave(y[0], x), *y[1:]
        return canonical.leave(y, x)

    def _apply(self, *args: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.eager.apply(*args)
        if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
            return self.transformable.apply(*args)
        return self.eager.apply(*args)


def _device_type(inputs: tuple[Tensor | None, ...]) -> str:
    return next(x.device.type for x in inputs if x is not None)


def _autocast(x: Tensor | None, policy: str, device: str) -> Tensor | None:
    """Cast as torch does: float64 and integers stay."""
    if x is None or not x.is_floating_point() or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(device) if policy == "lower" else torch.float32)
