"""The inputs of a model: tensors in containers of any kind, for a whole batch or one sample."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from nnfoundations.diagnostics import tensors

__all__ = ["Inputs", "mapped"]


@dataclass(frozen=True)
class Inputs:
    """The arguments of `forward`: nested containers of tensors with one row per sample.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_batch(cls, batch: Any) -> "Inputs":
        """Take the first tensor of a batch, for a model whose steps do not call `forward`.

        Args:
            batch: of any type.

        Returns:
            That tensor as the only argument.

        Raises:
            TypeError: the batch has no tensor.
        """
        for tensor in tensors(batch):
            return cls((tensor,))
        raise TypeError(f"no tensor in a batch of type {type(batch).__name__}")

    def map(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        """Apply a function to each tensor."""
        return Inputs(mapped(self.args, function), mapped(self.kwargs, function))

    def for_model(self, model: LightningModule) -> "Inputs":
        """Convert to the device and the precision of the model."""
        like = next(model.parameters(), torch.zeros(()))
        return self.map(lambda x: x.to(like if x.is_floating_point() else like.device))

    def __len__(self) -> int:
        return next(len(x) for x in tensors((self.args, self.kwargs)) if x.ndim)

    def row(self, i: int) -> "Inputs":
        """Take sample `i` as a batch of one."""
        n = len(self)
        return self.map(lambda x: x[i : i + 1] if x.ndim and len(x) == n else x)

    def through(self, model: LightningModule) -> list[Tensor]:
        """Call the model and list all tensors of its output."""
        return list(tensors(model(*self.args, **self.kwargs)))


def mapped(nest: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to each tensor in nested containers; all else stays unchanged."""
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, Mapping):
        twin: Any = copy.copy(nest)  # a subclass may have attributes beside its items
        for key, value in nest.items():
            twin[key] = mapped(value, function)
        return twin
    if isinstance(nest, list | tuple):
        parts = [mapped(value, function) for value in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    if is_dataclass(nest):
        twin = copy.copy(nest)
        for key, value in vars(nest).items():
            object.__setattr__(twin, key, mapped(value, function))  # also if it is frozen
        return twin
    return nest
