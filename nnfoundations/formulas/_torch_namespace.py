"""The operations of `Namespace` in torch. Imported by `torch_namespace()` only, because it imports torch.

`PURE` writes into no array, so that autograd can record it. `REUSING` writes in place.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["PURE", "REUSING"]

_INTEGER_OF = {torch.float32: torch.int32, torch.float64: torch.int64}


def _gate(x: Array, gate: Array) -> Array:
    return torch.where(gate != 0, x, 0.0)


def _select(gate: Array, a: Array | float, b: Array) -> Array:
    return torch.where(gate != 0, a, b)


def _integer_type(gate: Array, like: Array) -> torch.dtype | None:
    """Return the integer dtype for bit operations on both, or None if they cannot be used."""
    if like.dtype != gate.dtype or not gate.is_cpu:
        return None
    return _INTEGER_OF.get(gate.dtype)


# The three functions below avoid a boolean mask, which is 15 times slower on CPU. They multiply the bits of x
# by 1 or 0: as integers, unlike as floats, these have no inf or NaN. A float without its sign, read as an
# integer, is positive unless it is zero.


def _gate_by_bits(x: Array, gate: Array) -> Array:
    integer = _integer_type(gate, x)
    if integer is None:
        return _gate(x, gate)
    return gate.abs().view(integer).gt_(0).mul_(x.view(integer)).view(x.dtype)


def _gate_by_bits_in_place(x: Array, gate: Array) -> Array:
    integer = _integer_type(gate, x)
    if integer is None:
        return _gate(x, gate)
    return gate.view(integer).gt_(0).mul_(x.view(integer)).view(x.dtype)


def _select_by_bits(gate: Array, a: Array | float, b: Array) -> Array:
    integer = _integer_type(gate, b)
    if integer is None:
        return _select(gate, a, b)
    a = a if isinstance(a, torch.Tensor) else torch.tensor(a, dtype=b.dtype)
    a_bits, b_bits = a.view(integer), b.view(integer)
    return gate.view(integer).gt_(0).mul_(a_bits ^ b_bits).bitwise_xor_(b_bits).view(b.dtype)


def _as_numbers(compare: Callable[..., Array]) -> Callable[[Array, float], Array]:
    """Compare into an array of floats: a boolean mask that is converted is 10 times slower on CPU."""
    return lambda x, t: compare(x, t, out=torch.empty_like(x))


def _sum(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return torch.sum(x, axis, keepdims)


def _mean(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return torch.mean(x, axis, keepdims)


PURE = Namespace(
    abs=torch.abs,
    sign=torch.sgn,
    square=torch.square,
    sqrt=torch.sqrt,
    rsqrt=torch.rsqrt,
    exp=torch.exp,
    exp_=torch.exp,
    expm1=torch.expm1,
    log=torch.log,
    log1p=torch.log1p,
    xlogy=torch.xlogy,
    tanh=torch.tanh,
    sigmoid=torch.sigmoid,
    erf_=torch.erf,
    conj=torch.conj,
    real=torch.real,
    maximum=torch.maximum,
    minimum=torch.minimum,
    clamp=torch.clamp,
    clamp_=torch.clamp,
    above=lambda x, t: (x > t).to(x.dtype),
    below=lambda x, t: (x < t).to(x.dtype),
    at_most=lambda x, t: (x <= t).to(x.dtype),
    gate=_gate,
    gate_=_gate,
    select=_select,
    where=torch.where,
    type_as=lambda mask, x: mask.to(x.dtype),
    sum=_sum,
    mean=_mean,
    amax=torch.amax,
    matmul=torch.matmul,
    transpose=lambda x: x.mT,
    affine=torch.addmm,
    mul_=torch.mul,
    add_=torch.add,
    take=lambda x, index: x[index],
    gather=torch.gather,
    scatter_add_=torch.scatter_add,
    expand_dims=torch.unsqueeze,
    reshape=torch.reshape,
    squeeze=torch.squeeze,
    halves=lambda x, axis: x.chunk(2, axis),
    concat=lambda a, b, axis: torch.cat((a, b), axis),
    ones_like=torch.ones_like,
    zeros_like=torch.zeros_like,
)

REUSING = replace(
    PURE,
    exp_=torch.Tensor.exp_,
    erf_=torch.Tensor.erf_,
    clamp_=torch.Tensor.clamp_,
    above=_as_numbers(torch.gt),
    below=_as_numbers(torch.lt),
    at_most=_as_numbers(torch.le),
    gate=_gate_by_bits,
    gate_=_gate_by_bits_in_place,
    select=_select_by_bits,
    mul_=torch.Tensor.mul_,
    add_=torch.Tensor.add_,
    scatter_add_=torch.Tensor.scatter_add_,
)
