"""Gradients cut or scaled before a step, in place."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from nnfoundations._errors import OptionError

__all__ = ["clip_grad_norm_", "clip_grad_value_", "normalize_grad_"]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    r"""g <- g min(1, max_norm / (|g| + 1e-6)), with |g| the norm of all gradients as one vector.

    The direction stays; below max_norm nothing changes. As torch.nn.utils.clip_grad_norm_.

    Returns: |g| before.
    Raises: OptionError: max_norm or norm_type is not positive.
    Source: Pascanu, Mikolov and Bengio 2013, algorithm 1.
    """
    if not max_norm > 0:
        raise OptionError(f"clip_grad_norm_ needs a max_norm above 0; got {max_norm}. 1 is usual.")
    if not norm_type > 0:
        raise OptionError(f"clip_grad_norm_ needs a norm_type above 0; got {norm_type}. 2 or inf is usual.")
    grads = _gradients(parameters)
    total = _norm(grads, norm_type)
    _scale(grads, (max_norm / (total + 1e-6)).clamp(max=1.0))
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Each entry of each gradient to at least -clip_value and at most clip_value; the direction changes.

    Raises: OptionError: clip_value is not positive.
    """
    if not clip_value > 0:
        raise OptionError(f"clip_grad_value_ needs a clip_value above 0; got {clip_value}. 0.5 is usual.")
    if grads := _gradients(parameters):
        torch._foreach_clamp_min_(grads, -clip_value)
        torch._foreach_clamp_max_(grads, clip_value)


def normalize_grad_(parameters: Tensor | Iterable[Tensor]) -> Tensor:
    """g <- g / |g|, with |g| the norm of all gradients as one vector: every step is as long as the rate.

    Gradients that are all zero stay so.

    Returns: |g| before.
    Source: Hazan, Levy and Shalev-Shwartz 2015, algorithm 1.
    """
    grads = _gradients(parameters)
    total = _norm(grads, 2.0)
    _scale(grads, torch.where(total > 0, 1 / total, 1.0))
    return total


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad.detach() for p in parameters if p.grad is not None]


def _norm(grads: list[Tensor], norm_type: float) -> Tensor:
    """The norm of the norms, on the first gradient's device."""
    if not grads:
        return torch.tensor(0.0)
    norms = torch.stack([norm.to(grads[0].device) for norm in torch._foreach_norm(grads, norm_type)])
    return norms.max() if norm_type == math.inf else norms.pow(norm_type).sum().pow(1 / norm_type)


def _scale(grads: list[Tensor], factor: Tensor) -> None:
    for device in {g.device for g in grads}:
        torch._foreach_mul_([g for g in grads if g.device == device], factor.to(device))
