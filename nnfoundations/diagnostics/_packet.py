"""Copies everything that a step measures to the host at once."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nnfoundations.diagnostics._history import Array

__all__ = ["Packet"]


class Packet:
    """Vectors of one step, packed, copied once without waiting, and read when they have arrived.

    On CUDA the copy goes to pinned memory and an event tells when it is complete. The host waits for the
    device only with ``wait=True``, at the end of a run.

    Args:
        step: the optimizer step.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self._labels: list[tuple[str, tuple[str, ...], int]] = []
        self._parts: list[Tensor] = []
        self._host: Tensor | None = None
        self._event: torch.cuda.Event | None = None

    def add(self, quantity: str, columns: Sequence[str], values: Tensor) -> None:
        """Add a vector.

        Args:
            quantity: name of the quantity.
            columns: names of the columns.
            values: shape ``(len(columns),)``, or ``(n * len(columns),)`` for n consecutive steps.
        """
        self._labels.append((quantity, tuple(columns), values.numel()))
        self._parts.append(values.detach())

    def send(self) -> None:
        """Start the copy to the host."""
        if not self._parts:
            return
        device = self._parts[0].device
        packed = torch.cat([part.to(device, torch.float32).reshape(-1) for part in self._parts])
        self._parts = []
        if device.type == "cuda":
            self._host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
            self._host.copy_(packed, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(device))
        else:
            self._host = packed  # other devices have no pinned copy: the next measurement reads it and waits

    def arrived(self, wait: bool = False) -> bool:
        """Return whether the copy is complete; `wait` for it if asked."""
        if self._event is not None and wait:
            self._event.synchronize()
        return self._event is None or self._event.query()

    def rows(self) -> Iterator[tuple[str, tuple[str, ...], Array]]:
        """Yield quantity, columns and numbers in the order in which they were added."""
        if self._host is None:
            return
        values = self._host.to("cpu", torch.float64).numpy()
        start = 0
        for quantity, columns, n in self._labels:
            yield quantity, columns, values[start : start + n]
            start += n
