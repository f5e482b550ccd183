"""What all activations share: the operation of an elementwise formula, checks, and writing in place."""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeAlias

import torch
from torch import Tensor

from nnfoundations._errors import DtypeError
from nnfoundations.formulas import Array, Namespace
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._record import Record

__all__ = [
    "Activation",
    "check_floating",
    "check_real",
    "conjugate",
    "elementwise",
    "from_output",
    "kept",
    "written",
]

Activation: TypeAlias = Callable[..., Tensor]
"""A record as an operation: the array, then options by name."""

_Formula: TypeAlias = Callable[..., Array]


def elementwise(forward: _Formula, backward: _Formula, jvp: _Formula | None = None) -> Activation:
    """The operation of a formula with one array, whose backward reads what its own signature names.

    A diagonal Jacobian is its own transpose, so that `backward` carries tangents too, where it is all real.
    """
    parameters = list(signature(backward).parameters.values())[1:]
    read = tuple(p.name for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD)
    return Operation(Record(forward, backward, jvp or backward, needs={"x": read}))


def conjugate(backward: _Formula) -> _Formula:
    """The tangent where complex numbers may enter: the backward has the conjugate slope, this the slope."""

    def jvp(tangent: Array, *saved: Array, xp: Namespace, **options: Any) -> Array:
        return xp.conj(backward(xp.conj(tangent), *saved, xp=xp, **options))

    return jvp


def from_output(forward: _Formula, backward: _Formula, jvp: _Formula | None = None) -> Activation:
    """The same where the backward reads y: the output lives anyway, as the next layer's input.

    In half precision y is rounded, and what is left of 1 - y near 1 is mostly that rounding. There x is kept
    in its place, and y found again.
    """

    def again(formula: _Formula) -> _Formula:
        def from_input(grad_output: Array, x: Array, *, xp: Namespace, **options: Any) -> Array:
            return formula(grad_output, forward(x, xp=xp, **options), xp=xp, **options)

        return from_input

    exact = elementwise(forward, backward, jvp)
    half = elementwise(forward, again(backward), again(jvp or backward))

    def operation(x: Tensor, **options: Any) -> Tensor:
        return (half if x.is_floating_point() and x.itemsize == 2 else exact)(x, **options)

    return operation


def check_floating(name: str, x: Tensor, *, complex_too: bool = False) -> None:
    """Where torch has no kernel for integers."""
    if not (x.is_floating_point() or (complex_too and x.is_complex())):
        raise DtypeError(
            f"{name} needs floating-point numbers; got {x.dtype}. Convert x with .to(torch.float32)."
        )


def check_real(name: str, x: Tensor) -> None:
    """Where integers stay integers."""
    if x.dtype == torch.bool or x.is_complex():
        raise DtypeError(f"{name} needs real numbers; got {x.dtype}. Convert x with .to(torch.float32).")


def kept(x: Tensor, inplace: bool) -> Tensor:
    """x to compute from: the backward reads it, so that what is written over x must not reach it."""
    return x.clone() if inplace and torch.is_grad_enabled() else x


def written(x: Tensor, y: Tensor, inplace: bool) -> Tensor:
    """y, or x holding y: the same object, its version counted up, as after an operation in place."""
    return x.copy_(y) if inplace else y
