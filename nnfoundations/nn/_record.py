"""What the factory needs to know of a formula to make a torch operation of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, Literal

from torch import Tensor

__all__ = ["ROWS", "Canonical", "Record"]


@dataclass(frozen=True)
class Canonical:
    """The shape in which a formula takes its first input, and the way back for its first output."""

    enter: Callable[[Tensor], Tensor]
    leave: Callable[[Tensor, Tensor], Tensor]  # the output, the input as it came


def _to_rows(x: Tensor) -> Tensor:
    if x.ndim == 2:
        return x
    return x.flatten(0, -2) if x.ndim > 2 else x.unsqueeze(0)


def _from_rows(y: Tensor, x: Tensor) -> Tensor:
    if x.ndim == 2:
        return y
    return y.reshape(*x.shape[:-1], y.shape[-1]) if x.ndim > 2 else y.squeeze(0)


ROWS = Canonical(_to_rows, _from_rows)
"""(*, features) as a matrix with a row a sample."""


@dataclass(frozen=True)
class Record:
    """One formula, as data.

    The formula's own signature says the rest: positional parameters of `forward` are the inputs (None
    where one may be absent), keyword-only ones the options; `backward` takes the gradients of the outputs,
    then what is saved, and `jvp` the tangents of the differentiable inputs, then the same.

    Args:
        forward: inputs -> the output, or a tuple of outputs.
        backward: gives the gradient of the one differentiable input, or a tuple of all their gradients;
            in that case it also takes `wanted`, a bool an input, and gives None for those not wanted.
            With several outputs, the gradient of any but the first may be None, which means zero.
        jvp: gives the tangent of the output, or a tuple. With several differentiable inputs, the tangent
            of any may be None, which means zero.
        needs: for each differentiable input, the inputs and outputs that its gradient reads. They are
            saved if that gradient is wanted, and nothing else is.
        outputs: names of the outputs. All but the first are statistics: float32 where inputs are half.
        canonical: shape of the first input and output inside; None for any shape.
        raise_half: compute float16 and bfloat16 inputs in float32 and round the results once.
        autocast: dtype of the inputs under autocast. "lower" is autocast's own, "float32" is at least
            that, "widest" is the widest among them, None is as they come, for formulas without a word that
            autocast would change.
        autocast_on_cpu: whether that holds on CPU too, where torch casts for fewer operations.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    jvp: Callable[..., Any]
    needs: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...] = ("y",)
    canonical: Canonical | None = None
    raise_half: bool = True
    autocast: Literal["lower", "float32", "widest"] | None = None
    autocast_on_cpu: bool = True

    @property
    def name(self) -> str:
        """The formula's name as torch writes it in a graph: cross_entropy becomes CrossEntropy."""
        return "".join(word.capitalize() for word in str(self.forward.__name__).split("_"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays that go in."""
        return _parameters(self.forward, Parameter.POSITIONAL_OR_KEYWORD)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the Python constants that go in."""
        names = _parameters(self.forward, Parameter.KEYWORD_ONLY)
        return tuple(name for name in names if name != "xp")

    @property
    def saved(self) -> tuple[str, ...]:
        """Names of what the backward reads, in its order."""
        return _parameters(self.backward, Parameter.POSITIONAL_OR_KEYWORD)[len(self.outputs) :]

    def __post_init__(self) -> None:
        read = {name for names in self.needs.values() for name in names}
        known = {*self.inputs, *self.outputs}
        if read != set(self.saved) or not read | set(self.needs) <= known:
            raise TypeError(
                f"A record's `needs` must name what its backward reads, and nothing but inputs and outputs; "
                f"{self.forward.__name__} has {sorted(known)}, its backward reads {sorted(self.saved)}, "
                f"`needs` names {sorted(read)}. Make the names agree."
            )


def _parameters(function: Callable[..., Any], kind: Any) -> tuple[str, ...]:
    return tuple(p.name for p in signature(function).parameters.values() if p.kind is kind)
