"""Max-norm: a limit on the weights that enter a unit, applied after each step of an optimizer."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch.optim import Optimizer

__all__ = ["with_max_norm"]


def with_max_norm(make: OptimizerCallable, max_norm: float) -> OptimizerCallable:
    r"""Let an optimizer scale the weights back after each step.

    .. math:: w_i \leftarrow w_i \min(1, c / \lVert w_i \rVert_2)

    w_i is row i of a parameter of two or more dimensions: the weights that enter unit i of a linear layer or
    of a convolution. Biases and gains are left out, and so are parameters without a gradient.

    The limit is a hook of the optimizer, not of the Trainer: it runs exactly when weights have changed, under
    manual optimization too, and not when a scaler of fp16 gradients skips a step. Diagnostics measure the
    weights after it. A new optimizer gets it again, so nothing of it needs to be saved.

    Args:
        make: called with the parameters.
        max_norm: the largest norm c.

    Returns:
        A function that builds the optimizer with its hook.

    Source: Srebro and Shraibman 2005; for dropout, Srivastava et al. 2014, section 5.1.
    """

    def made(params: Any) -> Optimizer:
        optimizer = make(params)
        optimizer.register_step_post_hook(limit)
        return optimizer

    @torch.no_grad()
    def limit(optimizer: Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.ndim > 1 and weight.grad is not None:
                    weight.renorm_(2, 0, max_norm)

    return made
