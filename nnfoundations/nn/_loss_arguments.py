"""Checks and conversions of arguments that all losses share."""

import warnings
from typing import get_args

import torch
from torch import Tensor
from torch.nn import _reduction

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, OptionError, ShapeError

__all__ = ["broadcast", "check_weight_has_no_gradient", "promote_dtypes", "resolve_reduction"]

_REDUCTIONS = get_args(formulas.Reduction)


def resolve_reduction(
    name: str,
    reduction: str,
    size_average: bool | None = None,
    reduce: bool | None = None,
    more: tuple[str, ...] = (),
) -> str:
    """Find the reduction that is meant, including torch's deprecated arguments and names."""
    if size_average is not None or reduce is not None:
        return _reduction.legacy_get_string(size_average, reduce)
    if reduction == "elementwise_mean":
        warnings.warn(
            "reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.", stacklevel=4
        )
        return "mean"
    if reduction not in (*_REDUCTIONS, *more):
        raise OptionError(
            f"{name} needs a reduction of {', '.join(map(repr, (*_REDUCTIONS, *more)))}; got {reduction!r}. "
            "Use 'mean' for training."
        )
    return reduction


def broadcast(name: str, input: Tensor, target: Tensor, *, warn: bool = True) -> tuple[Tensor, Tensor]:
    """Broadcast both to one shape; different shapes are rarely intended, so warn as torch does."""
    if input.shape == target.shape:
        return input, target
    if warn:
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). "
            "This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=4,
        )
    try:
        expanded: tuple[Tensor, Tensor] = torch.broadcast_tensors(input, target)
    except RuntimeError as error:
        raise ShapeError(
            f"{name} needs a target of the prediction's shape; got {tuple(target.shape)} for "
            f"{tuple(input.shape)}. Reshape the target."
        ) from error
    return expanded


def promote_dtypes(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Convert both to the wider dtype of the two, which must be floating-point."""
    dtype = input.dtype
    if target.dtype != dtype:
        dtype = torch.promote_types(dtype, target.dtype)
        input, target = input.to(dtype), target.to(dtype)
    if not dtype.is_floating_point:
        raise DtypeError(
            f"{name} needs a floating-point prediction or target; got {dtype}. Convert the prediction with "
            ".to(torch.float32)."
        )
    return input, target


def check_weight_has_no_gradient(name: str, weight: Tensor | None) -> None:
    """Raise if the weight requires a gradient, instead of silently computing none; so does torch."""
    if weight is not None and weight.requires_grad and torch.is_grad_enabled():
        raise OptionError(
            f"{name} computes no gradient of its weights; got a weight that requires one. Detach the weight."
        )
