"""Buffers the loss of each step on the device; the next measurement reads it without a synchronization."""

import torch
from torch import Tensor

from nnfoundations.diagnostics._history import Array, History
from nnfoundations.diagnostics._packet import Packet

__all__ = ["LENGTH", "LossTape"]

LENGTH = 256


class LossTape:
    """A buffer on the device for the losses of the last steps, filled by one small copy per step.

    On the CPU a number can be read at once, so it keeps plain numbers and sets `jumped` when the loss jumps.
    The loss of a step with several batches (accumulated gradients) is their mean.
    """

    def __init__(self, device: torch.device) -> None:
        self._reads = device.type == "cpu"
        self._ring = torch.empty(0 if self._reads else LENGTH, device=device)
        self._slots = self._ring.unbind()
        self._steps: list[int] = []
        self._values: list[float] = []
        self._sent: dict[int, list[int]] = {}
        self._level = float("nan")
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
            value = value.detach()
            if len(self._steps) < LENGTH:
                slot = self._slots[len(self._steps)]
                slot.copy_(value.reshape(()))
                if scale is not None:
                    slot.div_(scale)
                self._steps.append(step)
            return None
        number = value.item() if scale is None else value.item() / float(scale)
        self._steps.append(step)
        self._values.append(number)
        self.jumped = number > 3 * self._level
        if number - number == 0:
            self._level = number if self._level != self._level else 0.9 * self._level + 0.1 * number
        return number

    def pack(self, packet: Packet, history: History) -> None:
        """Put the new losses into a packet; on the CPU into the history."""
        self.settle(history)
        if self._steps:
            packet.add("loss", ("loss",), self._ring[: len(self._steps)].clone())
            self._sent[id(packet)] = self._steps
            self._begin()

    def settle(self, history: History) -> None:
        """Put losses that are already read into the history. On a device there are none."""
        if self._reads and self._steps:
            self._record(self._steps, self._values, history)
            self._begin()

    def _begin(self) -> None:
        self._enough = min(max(32, self._steps[-1] // 4), LENGTH // 2)
        self._steps, self._values, self.full = [], [], False

    def unpack(self, packet: Packet, values: Array, history: History) -> None:
        """Put losses that have arrived into the history."""
        self._record(self._sent.pop(id(packet)), values.tolist(), history)

    @staticmethod
    def _record(steps: list[int], values: list[float], history: History) -> None:
        batches: dict[int, list[float]] = {}
        for step, value in zip(steps, values, strict=True):
            batches.setdefault(step, []).append(value)
        for step, group in batches.items():
            history.record("loss", step, ("loss",), [sum(group) / len(group)])
