"""What a model is called with: any nest of tensors, whole or a row of it."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from nnfoundations.diagnostics._nonfinite import tensors


@dataclass(frozen=True)
class Inputs:
    """What `forward` is called with: any nest of tensors, each with a row a sample."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_batch(cls, batch: Any) -> "Inputs":
        """The first tensor of a batch, for a model whose steps do not call `forward`.

        Raises:
            TypeError: there is none.
        """
        for tensor in tensors(batch):
            return cls((tensor,))
        raise TypeError(f"no tensor in a batch of type {type(batch).__name__}")

    def map(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        return Inputs(mapped(self.args, function), mapped(self.kwargs, function))

    def for_model(self, model: LightningModule) -> "Inputs":
        """On its device, in its precision."""
        like = next(model.parameters(), torch.zeros(()))
        return self.map(lambda x: x.to(like if x.is_floating_point() else like.device))

    def __len__(self) -> int:
        return next(len(x) for x in tensors((self.args, self.kwargs)) if x.ndim)

    def row(self, i: int) -> "Inputs":
        """One sample, as a batch of its own."""
        n = len(self)
        return self.map(lambda x: x[i : i + 1] if x.ndim and len(x) == n else x)

    def through(self, model: LightningModule) -> list[Tensor]:
        """All tensors that the model gives."""
        return list(tensors(model(*self.args, **self.kwargs)))


def mapped(nest: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same nest with each tensor replaced; what holds none is left as it is."""
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, Mapping):
        twin: Any = copy.copy(nest)  # a class of its own may have options beside its items
        for key, value in nest.items():
            twin[key] = mapped(value, function)
        return twin
    if isinstance(nest, list | tuple):
        parts = [mapped(value, function) for value in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    if is_dataclass(nest):
        twin = copy.copy(nest)
        for key, value in vars(nest).items():
            object.__setattr__(twin, key, mapped(value, function))  # a frozen one, too
        return twin
    return nest
