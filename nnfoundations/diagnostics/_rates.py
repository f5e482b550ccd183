"""Records the learning rate of every parameter group whenever one changes."""

from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer

from nnfoundations.diagnostics._history import History

__all__ = ["RateReader"]

JUMP = 3
"""Rise of a learning rate within a step, as a factor, after which the next steps are measured."""


class RateReader:
    """Reads the learning rates of all optimizers. A group without one is NaN.

    Args:
        optimizers: the optimizers.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._optimizers = optimizers
        self._last: dict[int, list[object]] = {}
        self._rates: list[float] = []

    def changed(self, optimizer: Optimizer) -> bool:
        """Return whether the rate may have changed: without a schedule it is the same object."""
        before, groups = self._last.get(id(optimizer)), optimizer.param_groups
        if before is not None and len(before) == len(groups):
            for group, rate in zip(groups, before, strict=True):  # at every step: `any` costs twice as much
                if group.get("lr") is not rate:
                    break
            else:
                return False
        self._last[id(optimizer)] = [group.get("lr") for group in groups]
        return True

    def record(self, history: History, step: int) -> bool:
        """Record the rates if one has changed.

        Args:
            history: receives the rates.
            step: the current step.

        Returns:
            Whether a rate has jumped.
        """
        rates = [group.get("lr", float("nan")) for o in self._optimizers for group in o.param_groups]
        if any(isinstance(rate, Tensor) and rate.device.type != "cpu" for rate in rates):
            history.unavailable["lr"] = (
                "the learning rate is a tensor on the device, and reading it would wait"
            )
            return False
        now = [float(rate) for rate in rates]
        if not now or now == self._rates:
            return False
        before, self._rates = self._rates, now
        history.record("lr", step, tuple(f"group {i}" for i in range(len(now))), now)
        return len(before) == len(now) and any(a > JUMP * b for a, b in zip(now, before, strict=True))
