"""Brings measurements from the device to the host without waiting, and puts them into the history."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from nnfoundations.diagnostics._history import Array, History
from nnfoundations.diagnostics._quantities import QUANTITIES

__all__ = ["LENGTH", "DeviceTransfer", "LossBuffer", "Readings", "record_named"]

LENGTH = 256
"""Number of losses that a buffer on the device holds."""


class Readings:
    """The measurements of one step, packed into one vector and copied once.

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


class LossBuffer:
    """Holds the losses of the last steps until the next measurement reads them.

    On a device it is a small tensor, filled by one copy per step. On the CPU a number can be read at once, so
    it keeps plain numbers and sets `jumped` when two losses in a row are far above those before: of a trained
    network, a single batch often is. The loss of a step with several batches (accumulated gradients) is their
    mean.

    Args:
        device: device of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self._reads = device.type == "cpu"
        self._ring = torch.empty(0 if self._reads else LENGTH, device=device)
        self._slots = self._ring.unbind()
        self._steps: list[int] = []
        self._values: list[float] = []
        self._sent: dict[int, list[int]] = {}
        self._level = float("nan")
        self.high = False  # whether the last loss is far above those before it
        self._enough = 32
        self.jumped = False
        self.full = False
        """Whether it must be read without a measurement: after 32 steps at first, later more rarely."""

    @property
    def pending(self) -> int:
        """The number of losses that were not read yet."""
        return len(self._steps)

    def write(self, step: int, loss: Tensor, scale: Tensor | float | None) -> float | None:
        """Keep the loss of a batch. Return it if it can be read without waiting."""
        value = loss if loss.numel() == 1 else loss.detach().mean()
        self.full = len(self._steps) + 1 >= self._enough
        if not self._reads:
            self._copy(step, value.detach(), scale)
            return None
        number = value.item() if scale is None else value.item() / float(scale)
        self._steps.append(step)
        self._values.append(number)
        high = number > self._level + 2 * abs(self._level)
        self.jumped, self.high = high and self.high, high
        if number - number == 0:
            self._level = number if self._level != self._level else 0.9 * self._level + 0.1 * number
        return number

    def _copy(self, step: int, value: Tensor, scale: Tensor | float | None) -> None:
        if len(self._steps) == LENGTH:
            return
        slot = self._slots[len(self._steps)]
        slot.copy_(value.reshape(()))
        if scale is not None:
            slot.div_(scale)
        self._steps.append(step)

    def pack(self, readings: Readings, history: History) -> None:
        """Add the new losses to the readings; on the CPU to the history."""
        self.settle(history)
        if self._steps:
            readings.add("loss", ("loss",), self._ring[: len(self._steps)].clone())
            self._sent[id(readings)] = self._steps
            self._begin()

    def settle(self, history: History) -> None:
        """Put losses that are already read into the history. On a device there are none."""
        if self._reads and self._steps:
            _record_means(self._steps, self._values, history)
            self._begin()

    def unpack(self, readings: Readings, values: Array, history: History) -> None:
        """Put losses that have arrived into the history."""
        _record_means(self._sent.pop(id(readings)), values, history)

    def _begin(self) -> None:
        self._enough = min(max(32, self._steps[-1] // 4), LENGTH // 2)
        self._steps, self._values, self.full = [], [], False


def _record_means(steps: list[int], values: Sequence[float] | Array, history: History) -> None:
    each, first, batches = np.unique(steps, return_index=True, return_counts=True)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        means = np.add.reduceat(np.asarray(values, dtype=np.float64), first) / batches
    history.extend("loss", each, ("loss",), means[:, None])


class DeviceTransfer:
    """The readings of the current step, and those on their way to the host.

    Args:
        scaled: whether a loss scaler is in use. Then gradients that are not finite belong to a step that it
            skips, and are dropped.
    """

    def __init__(self, scaled: bool) -> None:
        self.scaled = scaled
        self.current: Readings | None = None
        self.under_way: list[Readings] = []

    def readings(self, step: int) -> Readings:
        """Return the readings of this step."""
        if self.current is None:
            self.current = Readings(step)
        return self.current

    def send(self) -> None:
        """Start the transfer of the readings of this step."""
        if self.current is not None:
            self.current.send()
            self.under_way.append(self.current)
            self.current = None

    def drop(self) -> None:
        """Forget all readings."""
        self.current = None
        self.under_way.clear()

    def arrivals(self, history: History, losses: LossBuffer, wait: bool) -> Iterator[int]:
        """Put the readings that have arrived into the history, and yield the step of each."""
        while self.under_way and self.under_way[0].arrived(wait):
            readings = self.under_way.pop(0)
            self._record(readings, history, losses)
            yield readings.step

    def _record(self, readings: Readings, history: History, losses: LossBuffer) -> None:
        by_parameter: dict[str, dict[str, float]] = {}
        for quantity, columns, values in readings.rows():
            kind = QUANTITIES[quantity].columns
            if quantity == "loss":
                losses.unpack(readings, values, history)
            elif kind == "layer":
                row = dict(zip(columns, values.tolist(), strict=True))
                record_named(history, quantity, readings.step, row, history.layers)
            elif kind == "parameter":  # several optimizers share one row
                by_parameter.setdefault(quantity, {}).update(zip(columns, values.tolist(), strict=True))
            else:
                history.record(quantity, readings.step, columns, values)
        if self.scaled and not all(v - v == 0 for v in by_parameter.get("gradient_norm", {}).values()):
            return
        for quantity, row in by_parameter.items():
            record_named(history, quantity, readings.step, row, history.parameters)


def record_named(
    history: History, quantity: str, step: int, row: dict[str, float], order: Iterable[str]
) -> None:
    """Append a row whose columns may differ from those before. Missing numbers are NaN.

    Parameters and layers may be absent: optimizers take turns, and layers are skipped at random. New columns
    are placed in the given order.
    """
    series = history.series.get(quantity)
    columns = series.columns if series is not None else tuple(row)
    if row.keys() - set(columns):
        columns = tuple(name for name in order if name in row or name in columns)
        history.widen(quantity, columns)
    history.record(quantity, step, columns, [row.get(name, float("nan")) for name in columns])
