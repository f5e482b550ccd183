"""The first number that is not finite: when, and where it was made."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._nonfinite import Origin, finite, locate, nonfinite_inputs
from nnfoundations.diagnostics._parameters import ParameterProbe
from nnfoundations.diagnostics._replay import RandomState


class Sentinel:
    """Finds out once a run where the first number came from that is not finite.

    Args:
        replay: runs the batch again and returns its loss; None where there is no way to.
        device: where the model is.
        waits: numbers may be read at once: on the CPU, or where the user pays for waiting for the device.
    """

    def __init__(
        self, model: nn.Module, replay: Callable[[], Tensor | None] | None, device: torch.device, waits: bool
    ) -> None:
        self.model, self.replay, self.device, self.waits = model, replay, device, waits
        self.done = self.replaying = False
        self.draws = False
        """Was a forward pass seen to draw random numbers? To keep their state costs as much as all else that
        is done at a step: where none was, as in most networks, that is left to the looks."""
        self._random: RandomState | None = None

    def begin(self) -> None:
        """A batch comes: keep the state of the random generators, by which it can be run again."""
        if self.waits and not self.done and self.replay is not None:
            self._random = RandomState(self.device)

    def observe(self) -> None:
        """The forward pass of a look is over."""
        if self._random is not None:
            self.draws = self.draws or self._random.drawn_from()

    def found(
        self,
        seen: str,
        step: int,
        parameters: Mapping[str, Tensor],
        batch: Any,
        index: int | None,
        *,
        loss: float | None = None,
        probe: ParameterProbe | None = None,
    ) -> Event:
        """The loss, or a gradient of this step is not finite: say where that began."""
        self.done = True
        origin = self._origin(seen, parameters, batch, probe)
        value = "" if loss is None else str(loss)
        return Event(
            "non-finite", step, origin.where, {"place": origin.place, "value": value, "batch": index}
        )

    def _origin(
        self, seen: str, parameters: Mapping[str, Tensor], batch: Any, probe: ParameterProbe | None
    ) -> Origin:
        if bad := nonfinite_inputs(batch):
            return Origin("input", bad)
        if weights := tuple(name for name, p in parameters.items() if not finite(p)):
            return Origin("weights", weights)
        if self.replay is not None:
            self.replaying = True
            try:
                origin = locate(self.model, self.replay, self._random or RandomState(self.device))
            except Exception:  # a step of the user's that cannot run twice: what was seen is still true
                origin = Origin("unknown", ())
            finally:
                self.replaying = False
            if origin.place == "finite" and seen == "loss":
                return Origin("loss", ())
            if origin.place not in ("finite", "unknown"):
                return origin
        return Origin("gradient", tuple(reversed(probe.nonfinite()))) if probe else Origin("first loss", ())

    def late(self, history: History, step: int) -> Event | None:
        """On a device that is not waited for: what the numbers of a look that just came in tell."""
        if self.waits or self.done:
            return None
        losses = history["loss"].last(128)
        bad = losses.steps[losses.rows[:, 0] - losses.rows[:, 0] != 0] if len(losses) else losses.steps
        norms = history["gradient_norm"]
        where: tuple[str, ...] = ()
        if len(norms) and norms.steps[-1] == step:
            row = norms.rows[-1]
            where = tuple(n for n, v in zip(norms.columns, row, strict=True) if v - v != 0)
        if not len(bad) and not where:
            return None
        self.done = True
        detail = {"value": "nan", "batch": None}
        if where and (not len(bad) or step < bad[0]):
            return Event("non-finite", step, where, detail | {"place": "gradient"})
        return Event("non-finite", int(bad[0]), (), detail | {"place": "first loss"})
