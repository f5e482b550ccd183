"""RMSprop."""

from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from nnfoundations.optim._optimizer import ListOptimizer, State, Tensors, needs, needs_at_least_0

__all__ = ["RMSprop"]


class RMSprop(ListOptimizer):
    r"""s <- alpha s + (1 - alpha) g^2, w <- w - lr g / (sqrt(s) + eps).

    Centered, the mean of g is followed too, m <- alpha m + (1 - alpha) g, and s - m^2, a variance, takes the
    place of s. With momentum, v <- momentum v + g / (sqrt(s) + eps) and w <- w - lr v. Weight decay is added
    to g.

    Args:
        params: parameters, or groups of them with options of their own.
        lr, alpha, eps, weight_decay, momentum: at least 0; alpha at most 1.
        centered: divide by the deviation in place of the root mean square.
        maximize, foreach: as in SGD.
    Raises: OptionError: an option outside its range.
    Source: Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, eq. 38 to 40, there with eps in
        the root. As torch.optim.RMSprop.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        foreach: bool = True,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        names = ["lr", "alpha", "eps", "weight_decay", "momentum"]
        needs_at_least_0("RMSprop", group, names, "lr=0.001, alpha=0.99, eps=1e-8 is a start.")
        alpha = group["alpha"]
        needs("RMSprop needs an alpha of at most 1", str(alpha), alpha <= 1, "0.99 is usual.")

    def kept(self, group: dict[str, Any]) -> list[str]:
        momentum = ["momentum_buffer"] if group["momentum"] > 0 else []
        return ["step", "square_avg", *momentum, *(["grad_avg"] if group["centered"] else [])]

    def update(self, params: Tensors, grads: Tensors, states: list[State], group: dict[str, Any]) -> None:
        alpha = group["alpha"]
        torch._foreach_add_([state["step"] for state in states], 1)
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        squares = [state["square_avg"] for state in states]
        torch._foreach_mul_(squares, alpha)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - alpha)
        if group["centered"]:
            means = [state["grad_avg"] for state in states]
            torch._foreach_lerp_(means, grads, 1 - alpha)
            spread = list(torch._foreach_addcmul(squares, means, means, value=-1))
            torch._foreach_sqrt_(spread)
        else:
            spread = list(torch._foreach_sqrt(squares))
        torch._foreach_add_(spread, group["eps"])
        if group["momentum"] > 0:
            velocities = [state["momentum_buffer"] for state in states]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_addcdiv_(velocities, grads, spread)
            torch._foreach_add_(params, velocities, alpha=-group["lr"])
        else:
            torch._foreach_addcdiv_(params, grads, spread, value=-group["lr"])
