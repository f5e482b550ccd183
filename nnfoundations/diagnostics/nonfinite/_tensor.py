"""Saves the numbers, the storage and the flags of one tensor, and restores them in place."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["TensorState"]


class TensorState:
    """The state of a tensor at one moment. Tensors of a device are copied to the host.

    Args:
        tensor: any tensor, also a parameter.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self._data = tensor, tensor.data
        self._written = _without_repeats(self._data)
        self._copy = None if tensor.is_meta else self._written.to("cpu", copy=True)
        self._version = None if tensor.is_inference() else tensor._version
        self._requires_grad = tensor.requires_grad

    @property
    def changed(self) -> bool:
        """Whether the numbers or the storage are other ones than at that moment."""
        return self._moved() or (self._copy is not None and not _same(self._written.cpu(), self._copy))

    def restore(self) -> None:
        """Restore numbers, storage, flag and version.

        The numbers are written past autograd, because a graph may have saved the tensor for backward.
        """
        if self._moved():
            self.tensor.data = self._data
        if self._copy is not None and not _same(self._written.cpu(), self._copy):
            self._written.copy_(self._copy)
        if self.tensor.is_leaf and self.tensor.requires_grad != self._requires_grad:
            self.tensor.requires_grad_(self._requires_grad)
        if self._version is not None and self.tensor._version != self._version:
            torch._C._autograd._unsafe_set_version_counter((self.tensor,), (self._version,))

    def _moved(self) -> bool:
        now = self.tensor.data
        return now.shape != self._data.shape or _pointer(now) != _pointer(self._data)


def _pointer(data: Tensor) -> Any:
    return data.data_ptr() if data.layout is torch.strided and not data.is_meta else None


def _without_repeats(data: Tensor) -> Tensor:
    """Return a view that contains each number in memory once: an expanded tensor cannot be written to."""
    if data.layout is not torch.strided or data.is_nested:
        return data
    return data[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in data.stride())]


def _same(a: Tensor, b: Tensor) -> bool:
    if a.layout is not torch.strided or a.is_nested:
        return False
    return a.shape == b.shape and (torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all()))
