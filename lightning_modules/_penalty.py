"""L1 and L2 penalties on weights, as a term of the loss."""

import torch
from torch import Tensor

__all__ = ["weight_penalty"]


def weight_penalty(net: torch.nn.Module, l1: float, l2: float) -> Tensor:
    r"""Return l1 * sum |w| + l2 / 2 * sum w^2 over the parameters of two or more dimensions.

    Biases and gains are left out: they set a level, not a slope, and shrinking them only shifts the fit.

    Args:
        net: whose parameters are penalized; frozen ones are left out.
        l1: weight of the sum of absolute values.
        l2: weight of half the sum of squares.

    Returns:
        A scalar with a gradient.

    Source: Goodfellow, Bengio, Courville 2016, section 7.1.
    """
    penalty = torch.zeros((), device=next(net.parameters()).device)
    for weight in net.parameters():
        if weight.ndim > 1 and weight.requires_grad:
            if l1:
                penalty = penalty + l1 * weight.abs().sum()
            if l2:
                penalty = penalty + l2 / 2 * weight.square().sum()
    return penalty
