"""Facts about how a network is trained: the parameter groups of its optimizers, and their schedules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

__all__ = ["GroupFacts", "ScheduleFacts", "facts_from", "group_facts", "schedule_facts"]

NAN = float("nan")


@dataclass(frozen=True)
class GroupFacts:
    """Facts about a parameter group of an optimizer, as the run began.

    Args:
        optimizer: position of its optimizer.
        kind: class of the optimizer.
        weight_decay: its weight decay.
        decoupled: whether the decay does not pass through the gradient, as in AdamW.
        momentum: its momentum; 0 for an optimizer without one.
    """

    optimizer: int
    kind: str
    weight_decay: float = 0.0
    decoupled: bool = False
    momentum: float = 0.0

    @property
    def adaptive(self) -> bool:
        """Whether the size of an update does not follow from that of the gradient; unknown counts too."""
        return self.kind not in ("SGD", "ASGD")

    @property
    def shrinkage(self) -> float:
        """The share of a weight that decay removes in a step, over the learning rate; NaN if unknown."""
        if self.decoupled:
            return self.weight_decay
        return NAN if self.adaptive or self.momentum >= 1 else self.weight_decay / (1 - self.momentum)


@dataclass(frozen=True)
class ScheduleFacts:
    """Facts about a learning-rate schedule.

    Args:
        kind: class of the scheduler.
        optimizer: position of its optimizer.
        unit: ``step`` or ``epoch``, after which it is stepped; empty if unknown.
        frequency: it is stepped after this number of units.
        argument: name of the argument that gives its length; empty if none does.
        length: its length in its own steps, or the period of its decay; NaN if unknown.
        base: the largest learning rate that its factors multiply; NaN if unknown.
    """

    kind: str
    optimizer: int = 0
    unit: str = ""
    frequency: int = 1
    argument: str = ""
    length: float = NAN
    base: float = NAN


def group_facts(optimizers: Sequence[Optimizer]) -> list[GroupFacts]:
    """Return facts about all parameter groups, in the order of the columns of the learning rate.

    Args:
        optimizers: all optimizers of the run.
    """
    return [
        GroupFacts(
            optimizer=i,
            kind=type(optimizer).__name__,
            weight_decay=_number(group.get("weight_decay", 0.0)),
            decoupled=bool(group.get("decoupled_weight_decay")) or "AdamW" in type(optimizer).__name__,
            momentum=_number(group.get("momentum", 0.0)),
        )
        for i, optimizer in enumerate(optimizers)
        for group in optimizer.param_groups
    ]


_LENGTHS = {
    "StepLR": "step_size",
    "CosineAnnealingLR": "T_max",
    "OneCycleLR": "total_steps",
    "LinearLR": "total_iters",
    "ConstantLR": "total_iters",
    "PolynomialLR": "total_iters",
}
"""The argument that gives the length of a scheduler, by its class."""


def schedule_facts(scheduler: Any, optimizer: int = 0, unit: str = "", frequency: int = 1) -> ScheduleFacts:
    """Return facts about a learning-rate scheduler of torch, or of one that resembles it.

    Args:
        scheduler: the scheduler.
        optimizer: position of its optimizer.
        unit: ``step`` or ``epoch``, after which it is stepped; empty if unknown.
        frequency: it is stepped after this number of units.

    Returns:
        The facts. A length that the scheduler does not tell is NaN.
    """
    kind = type(scheduler).__name__
    argument, length = _length(scheduler)
    rates = [_number(rate) for rate in getattr(scheduler, "base_lrs", ())]
    return ScheduleFacts(kind, optimizer, unit, frequency, argument, length, max(rates, default=NAN))


def _length(scheduler: Any) -> tuple[str, float]:
    kind = type(scheduler).__name__
    if kind == "MultiStepLR":
        return "milestones", float(max(scheduler.milestones, default=NAN))
    if kind == "SequentialLR":
        _, length = _length(scheduler._schedulers[-1])
        return "milestones", scheduler._milestones[-1] + length
    argument = _LENGTHS.get(kind, "")
    return argument, _number(getattr(scheduler, argument, NAN)) if argument else NAN


def facts_from(cls: type[Any], saved: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Build facts again from plain data, also from a file of an earlier or a later version.

    Args:
        cls: class of the facts.
        saved: what `dataclasses.asdict` made of each.
    """
    names = {field.name for field in fields(cls)}
    return [cls(**{name: value for name, value in each.items() if name in names}) for each in saved]


def _number(value: Any) -> float:
    """Return an option of an optimizer as a number; NaN if it is on a device, where reading it would wait."""
    if isinstance(value, Tensor) and value.device.type != "cpu":
        return NAN
    return float(value)
