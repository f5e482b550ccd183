"""Finds when and where the first NaN or infinity of a run was made."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._nonfinite import Origin, finite, locate, nonfinite_inputs
from nnfoundations.diagnostics._parameters import ParameterProbe
from nnfoundations.diagnostics._replay import RandomState

__all__ = ["Sentinel"]


class Sentinel:
    """Finds the origin of the first NaN or infinity, once per run.

    Args:
        model: the model.
        replay: runs the batch again and returns its loss; None if that is not possible.
        device: device of the model.
        waits: whether numbers may be read at once: on the CPU, or if the user accepts to wait for the device.
    """

    def __init__(
        self, model: nn.Module, replay: Callable[[], Tensor | None] | None, device: torch.device, waits: bool
    ) -> None:
        self.model, self.replay, self.device, self.waits = model, replay, device, waits
        self.done = self.replaying = False
        self.draws = False
        """Whether a forward pass was seen to draw random numbers. Keeping their state costs as much as the
        rest of a step, so for other networks it is kept only at measurements."""
        self._random: RandomState | None = None

    def begin(self) -> None:
        """Keep the state of the random generators, so that this batch can run again."""
        if self.waits and not self.done and self.replay is not None:
            self._random = RandomState(self.device)

    def observe(self) -> None:
        """Note whether the forward pass drew random numbers."""
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
        """Locate the origin after the loss or a gradient of this step was not finite."""
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
            except Exception:  # the step cannot run twice: report what was seen
                origin = Origin("unknown", ())
            finally:
                self.replaying = False
            if origin.place == "finite" and seen == "loss":
                return Origin("loss", ())
            if origin.place not in ("finite", "unknown"):
                return origin
        return Origin("gradient", tuple(reversed(probe.nonfinite()))) if probe else Origin("first loss", ())

    def late(self, history: History, step: int) -> Event | None:
        """Find NaN in measurements that have just arrived, on a device that is not waited for."""
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
