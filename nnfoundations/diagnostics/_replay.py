"""Runs a batch again without side effects: random state, buffers, attributes and gradients are restored."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["RandomState", "untouched"]


class RandomState:
    """The state of the random generators of the CPU and of one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cpu = torch.default_generator.get_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def drawn_from(self) -> bool:
        """Return whether random numbers were drawn since then."""
        now = RandomState(self.device)
        same = torch.equal(self._cpu, now._cpu)
        if self._cuda is not None and now._cuda is not None:
            same = same and torch.equal(self._cuda, now._cuda)
        return not same

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw the same numbers again within the block, then restore the generators."""
        now, python, numpy = RandomState(self.device), random.getstate(), np.random.get_state()
        self._set()
        try:
            yield
        finally:
            now._set()
            random.setstate(python)
            np.random.set_state(numpy)

    def _set(self) -> None:
        torch.default_generator.set_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self.device)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restore buffers, plain attributes (also the states of torchmetrics) and gradients after the block."""
    modules = [(module, _Attributes(module)) for module in model.modules()]
    gradients = [(p, p.grad) for p in model.parameters()]
    for p, _ in gradients:
        p.grad = None
    try:
        yield
    finally:
        for module, saved in modules:
            saved.put_back(module)
        for p, grad in gradients:
            p.grad = grad


class _Attributes:
    """The buffers and plain attributes of a module, and their contents."""

    def __init__(self, module: nn.Module) -> None:
        self._buffers = dict(module._buffers)
        self._plain = {name: value for name, value in module.__dict__.items() if not _structural(name)}
        self._contents = {
            name: copy
            for kept in (self._buffers, self._plain)
            for name, value in kept.items()
            if (copy := _contents(value)) is not None
        }

    def put_back(self, module: nn.Module) -> None:
        """Restore them."""
        module._buffers.clear()
        module._buffers.update(self._buffers)
        for name in [n for n in module.__dict__ if not _structural(n) and n not in self._plain]:
            del module.__dict__[name]
        module.__dict__.update(self._plain)
        for name, copy in self._contents.items():
            value: Any = self._buffers[name] if name in self._buffers else self._plain[name]
            if isinstance(value, Tensor):
                value.data.copy_(
                    copy
                )  # by .data, because a graph may have saved the tensor for its backward pass
            elif isinstance(value, list):
                value[:] = copy
            else:
                value.clear()
                value.update(copy)


def _structural(name: str) -> bool:
    return name in ("_parameters", "_buffers", "_modules") or "_hooks" in name


def _contents(value: Any) -> Any:
    if isinstance(value, Tensor):
        return None if isinstance(value, nn.Parameter) or value.is_meta else value.detach().clone()
    return value.copy() if type(value) in (list, dict, set) else None
