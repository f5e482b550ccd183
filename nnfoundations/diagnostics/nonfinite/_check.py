"""Checks whether all numbers of a tensor or a nested structure are finite."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nnfoundations.diagnostics.nonfinite._batch import tensor_paths, tensors

__all__ = [
    "FEW_ENTRIES",
    "dense",
    "few_and_plain",
    "few_finite_gradients",
    "finite",
    "finite_gradients",
    "nonfinite_inputs",
]

FEW_ENTRIES = 2**16
"""Number of gradient entries up to which one fused call is the cheapest check. It also writes each number, so
for more entries a sum per gradient is cheaper."""

_FUSED = (torch.float32, torch.float64)
_ONE = torch.ones(1)


def nonfinite_inputs(batch: Any) -> tuple[str, ...]:
    """Locate the first NaN or infinity of each tensor in a batch, as ``batch[0][3, 10]``.

    It waits for the device.
    """
    return tuple(f"batch{path}{_first(x)}" for path, x in tensor_paths(batch) if not finite(x))


def _first(x: Tensor) -> str:
    if x.layout is not torch.strided or x.is_nested or not x.ndim:
        return ""
    place = (~x.isfinite()).nonzero()[0].tolist()
    return f"[{', '.join(map(str, place))}]"


def finite(tree: Any) -> bool:
    """Return whether all floating-point and complex numbers are finite, except in attention masks.

    It waits for the device.
    """
    return all(_finite(dense(x.detach())) for x in tensors(tree))


def finite_gradients(gradients: Sequence[Tensor]) -> bool:
    """Return whether all numbers of all gradients are finite. It waits for the device."""
    if few_and_plain(gradients):
        return few_finite_gradients(gradients)
    numbers = [dense(gradient) for gradient in gradients]
    on_cpu = all(gradient.is_cpu for gradient in numbers)
    total = sum(abs(g.sum().item()) for g in numbers) if on_cpu else total_norm(numbers)
    # A total may overflow although all its terms are finite.
    return total - total == 0 or all(bool(gradient.isfinite().all()) for gradient in numbers)


def total_norm(gradients: Sequence[Tensor]) -> float:
    """Return the sum of all norms. It waits once for each device and type, not for each gradient."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for gradient in gradients:
        groups.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    return sum(float(torch.stack(torch._foreach_norm(group)).sum()) for group in groups.values())


def few_finite_gradients(gradients: Sequence[Tensor]) -> bool:
    """Return the same as `finite_gradients` for gradients of few and plain parameters, in one fused call."""
    if any(gradient.requires_grad or gradient.layout is not torch.strided for gradient in gradients):
        return all(bool(dense(gradient).isfinite().all()) for gradient in gradients)
    found = torch.zeros(1)
    # Mixed-precision training checks gradients with this call. The factor 1 leaves them as they are.
    torch._amp_foreach_non_finite_check_and_unscale_(list(gradients), found, _ONE)
    return not found.item()


def few_and_plain(tensors: Sequence[Tensor]) -> bool:
    """Return whether one fused call can check all tensors, and is the cheapest check."""
    return all(x.dtype in _FUSED and x.is_cpu and x.layout is torch.strided for x in tensors) and (
        sum(x.numel() for x in tensors) <= FEW_ENTRIES
    )


def dense(x: Tensor) -> Tensor:
    """Return the numbers that a sparse or nested tensor stores."""
    if x.is_sparse:
        return x.coalesce().values()
    return x.values() if x.is_nested or x.layout is not torch.strided else x


def _finite(x: Tensor) -> bool:
    if x.is_meta or not (x.is_floating_point() or x.is_complex()):
        return True
    return bool(x.isfinite().all()) or _is_mask(x)


def _is_mask(x: Tensor) -> bool:
    """Return whether a tensor is an attention mask, which contains 0 and minus infinity on purpose."""
    if x.is_complex():
        return False
    return bool((x.isneginf() | (x == 0)).all()) and bool((x == 0).any())
