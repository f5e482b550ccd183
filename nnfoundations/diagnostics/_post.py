"""Moves measurements from the device into the history."""

from collections.abc import Iterator

from nnfoundations.diagnostics._activations import BY_LAYER
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._packet import Packet
from nnfoundations.diagnostics._parameters import BY_PARAMETER, record_named
from nnfoundations.diagnostics._tape import LossTape

__all__ = ["Post"]


class Post:
    """Holds the packet of the current step and the packets in transfer.

    Args:
        scaled: whether a loss scaler is in use. Then gradients that are not finite belong to a step that it
            skips, and are dropped.
    """

    def __init__(self, scaled: bool) -> None:
        self.scaled = scaled
        self.filling: Packet | None = None
        self.travelling: list[Packet] = []

    def packet(self, step: int) -> Packet:
        """Return the packet of this step."""
        if self.filling is None:
            self.filling = Packet(step)
        return self.filling

    def send(self) -> None:
        """Start the transfer of the packet of this step."""
        if self.filling is not None:
            self.filling.send()
            self.travelling.append(self.filling)
            self.filling = None

    def drop(self) -> None:
        """Forget all packets."""
        self.filling = None
        self.travelling.clear()

    def arrivals(self, history: History, tape: LossTape | None, wait: bool) -> Iterator[int]:
        """Put the packets that have arrived into the history, and yield the step of each."""
        while self.travelling and self.travelling[0].arrived(wait):
            packet = self.travelling.pop(0)
            self._record(packet, history, tape)
            yield packet.step

    def _record(self, packet: Packet, history: History, tape: LossTape | None) -> None:
        named: dict[str, dict[str, float]] = {}
        for quantity, columns, values in packet.rows():
            if quantity == "loss":
                if tape is not None:
                    tape.unpack(packet, values, history)
            elif quantity in BY_LAYER:
                row = dict(zip(columns, values.tolist(), strict=True))
                record_named(history, quantity, packet.step, row, history.layers)
            elif quantity in BY_PARAMETER:  # several optimizers share one row
                named.setdefault(quantity, {}).update(zip(columns, values.tolist(), strict=True))
            else:
                history.record(quantity, packet.step, columns, values)
        if self.scaled and not all(v - v == 0 for v in named.get("gradient_norm", {}).values()):
            return
        for quantity, row in named.items():
            record_named(history, quantity, packet.step, row, history.parameters)
