"""Describes a formula so that a torch operation can be built from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, Literal

from torch import Tensor

__all__ = ["ROWS", "Canonical", "OperationSpec"]


@dataclass(frozen=True)
class Canonical:
    """The shape in which a formula takes its first input, with the conversions to it and back.

    Args:
        to_canonical: reshapes the input.
        from_canonical: reshapes the first output; it takes the output and the original input.
    """

    to_canonical: Callable[[Tensor], Tensor]
    from_canonical: Callable[[Tensor, Tensor], Tensor]


def _to_rows(x: Tensor) -> Tensor:
    if x.ndim == 2:
        return x
    return x.flatten(0, -2) if x.ndim > 2 else x.unsqueeze(0)


def _from_rows(y: Tensor, x: Tensor) -> Tensor:
    if x.ndim == 2:
        return y
    return y.reshape(*x.shape[:-1], y.shape[-1]) if x.ndim > 2 else y.squeeze(0)


ROWS = Canonical(_to_rows, _from_rows)
"""(*, features) as a matrix with one row per sample."""


@dataclass(frozen=True)
class OperationSpec:
    """One formula, described as data.

    The signatures of the functions complete the description. Positional parameters of `forward` are the
    inputs (None is allowed if one is optional), keyword-only parameters are the options. `backward` takes
    the gradients of the outputs, then the saved arrays. `jvp` takes the tangents of the differentiable
    inputs, then the saved arrays.

    Args:
        forward: computes the output, or a tuple of outputs, from the inputs.
        backward: returns the gradient of the only differentiable input, or a tuple with the gradients of
            all of them. In the second case it also takes `wanted`, one bool per differentiable input, and
            returns None for the gradients that are not wanted. With several outputs, the gradient of every
            output but the first may be None, which means zero.
        jvp: returns the tangent of the output, or a tuple of tangents. With several differentiable inputs,
            each tangent may be None, which means zero.
        needs: for each differentiable input, the inputs and outputs that its gradient reads. They are saved
            only if that gradient is wanted; nothing else is saved.
        outputs: names of the outputs. All but the first are statistics; they are float32 if the inputs are
            in half precision.
        canonical: shape of the first input and output inside the formula; None for any shape.
        raise_half: compute float16 and bfloat16 inputs in float32 and round the results once.
        autocast: dtype of the inputs under autocast. "lower" is autocast's own dtype, "float32" is at least
            float32, "widest" is the widest dtype among the inputs. None leaves them as they are, for
            formulas whose operations autocast does not change.
        autocast_on_cpu: whether `autocast` also applies on CPU, where torch casts fewer operations.

    Raises:
        TypeError: `needs` and the signatures contradict each other.
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
        """Name of the formula as torch writes it in a graph: cross_entropy becomes CrossEntropy.

        Returns:
            The name in CamelCase.
        """
        return "".join(word.capitalize() for word in str(self.forward.__name__).split("_"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input arrays.

        Returns:
            The names, in the order of `forward`.
        """
        return _parameters(self.forward, Parameter.POSITIONAL_OR_KEYWORD)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options, which are Python constants.

        Returns:
            The names, in the order of `forward`.
        """
        names = _parameters(self.forward, Parameter.KEYWORD_ONLY)
        return tuple(name for name in names if name != "xp")

    @property
    def saved(self) -> tuple[str, ...]:
        """Names of the arrays that `backward` reads.

        Returns:
            The names, in the order of `backward`.
        """
        return _parameters(self.backward, Parameter.POSITIONAL_OR_KEYWORD)[len(self.outputs) :]

    def __post_init__(self) -> None:
        read = {name for names in self.needs.values() for name in names}
        known = {*self.inputs, *self.outputs}
        if read != set(self.saved) or not read | set(self.needs) <= known:
            raise TypeError(
                f"`needs` must name exactly the inputs and outputs that the backward reads; "
                f"{self.forward.__name__} has {sorted(known)}, its backward reads {sorted(self.saved)}, "
                f"`needs` names {sorted(read)}. Make the names agree."
            )


def _parameters(function: Callable[..., Any], kind: Any) -> tuple[str, ...]:
    return tuple(p.name for p in signature(function).parameters.values() if p.kind is kind)
