"""Clips or normalizes gradients before a step, in place."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from nnfoundations.errors import OptionError

__all__ = ["clip_grad_norm_", "clip_grad_value_", "normalize_grad_"]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Scale all gradients by min(1, max_norm / (|g| + 1e-6)), with |g| the norm of all gradients together.

    The direction does not change; below max_norm nothing changes. As torch.nn.utils.clip_grad_norm_.

    Args:
        parameters: one parameter or several; those without a gradient are skipped.
        max_norm: largest norm, above 0.
        norm_type: order of the norm, above 0; 2 is the Euclidean norm, inf the largest entry.

    Returns:
        The norm |g| before clipping.

    Raises:
        OptionError: max_norm or norm_type is not positive.

    Source:
        Pascanu, Mikolov and Bengio 2013, algorithm 1.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_grad_norm_(weight, max_norm=1.0)
        tensor(5.)
        >>> weight.grad
        tensor([0.6000, 0.8000])
    """
    if not max_norm > 0:
        raise OptionError(f"clip_grad_norm_ needs a max_norm above 0; got {max_norm}. 1 is usual.")
    if not norm_type > 0:
        raise OptionError(f"clip_grad_norm_ needs a norm_type above 0; got {norm_type}. Use 2 or inf.")
    grads = _gradients(parameters)
    total = _norm(grads, norm_type)
    _scale(grads, (max_norm / (total + 1e-6)).clamp(max=1.0))
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clip each entry of each gradient to [-clip_value, clip_value]; the direction may change.

    As torch.nn.utils.clip_grad_value_.

    Args:
        parameters: one parameter or several; those without a gradient are skipped.
        clip_value: largest absolute value, above 0.

    Raises:
        OptionError: clip_value is not positive.
    """
    if not clip_value > 0:
        raise OptionError(f"clip_grad_value_ needs a clip_value above 0; got {clip_value}. 0.5 is usual.")
    if grads := _gradients(parameters):
        torch._foreach_clamp_min_(grads, -clip_value)
        torch._foreach_clamp_max_(grads, clip_value)


def normalize_grad_(parameters: Tensor | Iterable[Tensor]) -> Tensor:
    """Divide all gradients by |g|, their norm together, so that each step of SGD has the length of the rate.

    If all gradients are zero, they stay zero.

    Args:
        parameters: one parameter or several; those without a gradient are skipped.

    Returns:
        The norm |g| before.

    Source:
        Hazan, Levy and Shalev-Shwartz 2015, algorithm 1.
    """
    grads = _gradients(parameters)
    total = _norm(grads, 2.0)
    _scale(grads, torch.where(total > 0, 1 / total, 1.0))
    return total


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad.detach() for p in parameters if p.grad is not None]


def _norm(grads: list[Tensor], norm_type: float) -> Tensor:
    """Norm of all gradients together, on the device of the first one."""
    if not grads:
        return torch.tensor(0.0)
    norms = torch.stack([norm.to(grads[0].device) for norm in torch._foreach_norm(grads, norm_type)])
    return norms.max() if norm_type == math.inf else norms.pow(norm_type).sum().pow(1 / norm_type)


def _scale(grads: list[Tensor], factor: Tensor) -> None:
    for device in {g.device for g in grads}:
        torch._foreach_mul_([g for g in grads if g.device == device], factor.to(device))
