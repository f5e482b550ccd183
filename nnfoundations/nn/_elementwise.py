"""Shared by all activations: building an elementwise operation, checking dtypes, writing in place."""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeAlias

import torch
from torch import Tensor

from nnfoundations.errors import DtypeError
from nnfoundations.formulas import Array, Namespace
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._operation_spec import OperationSpec

__all__ = [
    "Activation",
    "check_floating",
    "check_real",
    "clone_if_inplace",
    "conjugate_jvp",
    "elementwise",
    "elementwise_from_output",
    "write_if_inplace",
]

Activation: TypeAlias = Callable[..., Tensor]
"""A formula as an operation: takes the array, then options by name."""

_Formula: TypeAlias = Callable[..., Array]


def elementwise(forward: _Formula, backward: _Formula, jvp: _Formula | None = None) -> Activation:
    """Build the operation of a formula with one input; the signature of `backward` says what it reads.

    A diagonal Jacobian is its own transpose, so `backward` also computes tangents unless numbers are complex.
    """
    parameters = list(signature(backward).parameters.values())[1:]
    read = tuple(p.name for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD)
    return Operation(OperationSpec(forward, backward, jvp or backward, needs={"x": read}))


def conjugate_jvp(backward: _Formula) -> _Formula:
    """Derive the tangent for complex inputs: `backward` takes the conjugate of the slope, `jvp` the slope."""

    def jvp(tangent: Array, *saved: Array, xp: Namespace, **options: Any) -> Array:
        return xp.conj(backward(xp.conj(tangent), *saved, xp=xp, **options))

    return jvp


def elementwise_from_output(forward: _Formula, backward: _Formula, jvp: _Formula | None = None) -> Activation:
    """Build the operation of a formula whose backward reads the output, which the next layer keeps anyway.

    In half precision the output is rounded, and 1 - y for y near 1 would be mostly rounding error. There the
    input is saved instead, and the backward recomputes the output.
    """

    def recompute_output(formula: _Formula) -> _Formula:
        def from_input(grad_output: Array, x: Array, *, xp: Namespace, **options: Any) -> Array:
            return formula(grad_output, forward(x, xp=xp, **options), xp=xp, **options)

        return from_input

    full = elementwise(forward, backward, jvp)
    half = elementwise(forward, recompute_output(backward), recompute_output(jvp or backward))

    def operation(x: Tensor, **options: Any) -> Tensor:
        return (half if x.is_floating_point() and x.itemsize == 2 else full)(x, **options)

    return operation


def check_floating(name: str, x: Tensor, *, complex_too: bool = False) -> None:
    """Raise DtypeError for integers and booleans, for which torch has no kernel either."""
    if not (x.is_floating_point() or (complex_too and x.is_complex())):
        raise DtypeError(
            f"{name} needs floating-point numbers; got {x.dtype}. Convert x with .to(torch.float32)."
        )


def check_real(name: str, x: Tensor) -> None:
    """Raise DtypeError for booleans and complex numbers; integers are allowed."""
    if x.dtype == torch.bool or x.is_complex():
        raise DtypeError(f"{name} needs real numbers; got {x.dtype}. Convert x with .to(torch.float32).")


def clone_if_inplace(x: Tensor, inplace: bool) -> Tensor:
    """Copy x if it will be overwritten although the backward reads it."""
    return x.clone() if inplace and torch.is_grad_enabled() else x


def write_if_inplace(x: Tensor, y: Tensor, inplace: bool) -> Tensor:
    """Return y, or for `inplace` x with the values of y: the same object, with its version increased."""
    return x.copy_(y) if inplace else y
