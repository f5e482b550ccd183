"""Finds when and where the first NaN or infinity of a run was made."""

import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from nnfoundations.diagnostics._error import describe
from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics.nonfinite._batch import tensors
from nnfoundations.diagnostics.nonfinite._check import finite, nonfinite_inputs
from nnfoundations.diagnostics.nonfinite._locate import Origin
from nnfoundations.diagnostics.nonfinite._replay import RandomState, run_again

__all__ = ["NonFiniteTracer", "about_nonfinite"]

NO_REPLAY = "a step with manual optimization, dataloader_iter or several processes is not run again"
FORWARD_ONLY = "only the forward pass can run again, and it was finite"

_WORDS = re.compile(
    r"\b(nans?|infs?|infinity|infinite values|non-?finite|not finite|invalid values)\b", re.IGNORECASE
)
_CHECKS = {"isnan", "isinf", "isfinite"}


def about_nonfinite(error: BaseException) -> bool:
    """Return whether an exception is about NaN or infinity, by its message or the function that raised it."""
    if not isinstance(error, Exception):
        return False
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    checked = trace is not None and bool(_CHECKS & set(trace.tb_frame.f_code.co_names))
    return checked or _WORDS.search(str(error)) is not None


_KNOWN = ("input", "before", "weights", "forward", "backward")
"""Places of an origin that name something."""


class NonFiniteTracer:
    """Finds the origin of the first NaN or infinity, once per run.

    Args:
        model: the model.
        replay: runs the batch again and returns its loss; None if that is not possible.
        device: device of the model.
        waits: whether numbers may be read at once: on the CPU, or if the user accepts to wait for the device.
        others: objects outside the model that a training step may change, by name.
    """

    def __init__(
        self,
        model: nn.Module,
        replay: Callable[[], Tensor | None] | None,
        device: torch.device,
        waits: bool,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.replay, self.device, self.waits = model, replay, device, waits
        self.done = self.replaying = False
        self.draws = False
        """Whether a forward pass was seen to draw random numbers. Keeping their state costs as much as the
        rest of a step, so for other networks it is kept only at measurements."""
        self._random: RandomState | None = None
        self._others = others or {}

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
        gradients: Callable[[], list[str]] | None = None,
        earlier: bool = False,
    ) -> Event:
        """Locate the origin after the loss or a gradient of this step was not finite.

        Args:
            seen: "loss" or "gradient".
            step: the optimizer step.
            parameters: all parameters by name.
            batch: the batch.
            index: its number in the epoch.
            loss: the loss, if that was not finite.
            gradients: returns the names of the gradients that are not finite, in forward order.
            earlier: whether an earlier batch of an accumulated step may have made it.

        Returns:
            The event for the history.
        """
        self.done = True
        origin = self._origin(seen, parameters, batch)
        if origin.place not in (*_KNOWN, "loss"):
            bad = () if gradients is None else tuple(reversed(gradients()))
            origin = Origin("first loss" if gradients is None else "gradient", bad, origin.reason)
            index = None if earlier else index
        return _event(step, index, origin, "" if loss is None else str(loss))

    def raised(
        self, error: BaseException, step: int, parameters: Mapping[str, Tensor], batch: Any, index: int | None
    ) -> Event | None:
        """Locate the origin after the training step itself raised an exception because of NaN or infinity.

        Args:
            error: the exception.
            step: the current optimizer step.
            parameters: the parameters by name.
            batch: the current batch.
            index: its number in the epoch, None if unknown.

        Returns:
            The event; None if the exception has another reason, or the origin was not found.
        """
        if self.done or not about_nonfinite(error):
            return None
        origin = self._origin("exception", parameters, batch)
        if origin.place not in _KNOWN:
            return None
        self.done = True
        return _event(step, index, origin, "")

    def _origin(self, seen: str, parameters: Mapping[str, Tensor], batch: Any) -> Origin:
        """Search for the origin. If that fails, the NaN is still reported."""
        try:
            return self._search(seen, parameters, batch)
        except Exception as error:
            return Origin("unknown", reason=f"the search for its origin failed ({describe(error)})")

    def _search(self, seen: str, parameters: Mapping[str, Tensor], batch: Any) -> Origin:
        if bad := nonfinite_inputs(batch):
            return Origin("input", bad)
        if weights := tuple(name for name, p in parameters.items() if not finite(p)):
            return Origin("weights", weights)
        if self.replay is None:
            return Origin("unknown", reason=NO_REPLAY)
        self.replaying = True
        try:
            state = self._random or RandomState(self.device)
            origin = run_again(self.model, self.replay, state, batch, self._others)
        finally:
            self.replaying = False
        if origin.place == "input" and any(True for _ in tensors(batch)):
            return Origin("before", origin.where)  # the batch itself was finite
        if origin.place == "finite":
            return Origin("loss") if seen == "loss" else Origin("unknown", reason=FORWARD_ONLY)
        return origin

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
        if where and (not len(bad) or step < bad[0]):
            return _event(step, None, Origin("gradient", where), "nan")
        return _event(int(bad[0]), None, Origin("first loss"), "nan")


def _event(step: int, index: int | None, origin: Origin, value: str) -> Event:
    detail = {"place": origin.place, "value": value, "batch": index}
    if origin.reason:
        detail["reason"] = origin.reason
    return Event("non-finite", step, origin.where, detail)
