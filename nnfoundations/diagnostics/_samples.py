"""Recognizes samples again: a number for each sample of a batch, equal for equal samples only."""

from typing import Any

import torch
from torch import Tensor

from nnfoundations.diagnostics.nonfinite import tensors

__all__ = ["SeenSamples", "fingerprints"]

NUMBERS, FEWEST = 512, 4
"""Numbers of each tensor that are read, and of a whole sample that are needed: two coordinates, or a user and
an item, occur again and again."""

MOST = 8192
"""Number of training samples that are remembered."""

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprints(batch: Any) -> Tensor | None:
    """Compute one integer for each sample from the bits of its inputs and targets, without waiting.

    Args:
        batch: the batch.

    Returns:
        Shape ``(samples,)``; None if the tensors of the batch do not all have one row for each sample, or the
        rows are too short to tell samples apart.
    """
    found = list(tensors(batch))
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in found}
    plain = all(t.layout is torch.strided and not t.is_meta and not t.is_nested for t in found)
    if len(lengths) != 1 or 0 in lengths or not plain or any(t.is_complex() for t in found):
        return None
    if sum(tensor[0].numel() for tensor in found) < FEWEST:
        return None
    parts = [_mixed(tensor.detach().reshape(len(tensor), -1), i) for i, tensor in enumerate(found)]
    return torch.stack([part.to(parts[0].device) for part in parts]).sum(0)


def _mixed(rows: Tensor, position: int) -> Tensor:
    """Return a sum of the bits of some numbers of each row with fixed odd weights; it may overflow."""
    n = rows.shape[1]
    chosen = torch.linspace(0, n - 1, min(n, NUMBERS), device=rows.device).long()
    rows = rows[:, chosen].contiguous()
    bits = rows.view(_BITS[rows.element_size()]) if rows.is_floating_point() else rows
    weights = torch.arange(1, 2 * len(chosen), 2, device=rows.device, dtype=torch.int64)
    weights = weights * (2654435761 + 2 * position) ^ (weights << 20)
    return (bits.long() * weights).sum(1)


class SeenSamples:
    """The fingerprints of training samples."""

    def __init__(self) -> None:
        self._batches: list[Tensor] = []
        self._count = 0

    def add(self, batch: Any) -> None:
        """Remember the samples of a training batch."""
        if self._count >= MOST or (rows := fingerprints(batch)) is None:
            return
        self._batches.append(rows)
        self._count += len(rows)

    def numbers(self, samples: list[Tensor]) -> dict[str, float] | None:
        """Look validation samples up among the training samples. Waits for the device.

        Returns:
            ``seen``: validation samples that are training samples. ``samples``: different validation
            samples. ``training``: different training samples that are remembered. ``repeated``: share of
            training samples that occur in the same batch again, or in the one that was remembered before it.
            None if fewer than two training batches are known.
        """
        if len(self._batches) < 2 or not samples:
            return None
        rows = torch.cat([batch.cpu() for batch in samples])
        different, known = rows.unique(), torch.cat([batch.cpu() for batch in self._batches]).unique()
        return {
            "seen": float(torch.isin(different, known).sum()),
            "samples": float(len(different)),
            "training": float(len(known)),
            "repeated": self._repeated(),
        }

    def _repeated(self) -> float:
        again = total = 0
        before, *batches = [batch.cpu() for batch in self._batches]
        for batch in batches:
            different = batch.unique()
            again += len(batch) - len(different) + int(torch.isin(different, before).sum())
            total, before = total + len(batch), batch
        return again / total
