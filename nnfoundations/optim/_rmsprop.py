"""RMSprop, with optional centering and momentum."""

from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from nnfoundations.optim._optimizer import ListOptimizer, State, Tensors, require, require_non_negative

__all__ = ["RMSprop"]


class RMSprop(ListOptimizer):
    r"""Gradient descent, scaled by a running root mean square of the gradients.

    .. math:: s \leftarrow \alpha s + (1 - \alpha) \, g^2, \qquad
        w \leftarrow w - \eta \, \frac{g}{\sqrt{s} + \epsilon}

    With `centered`, a running mean :math:`m \leftarrow \alpha m + (1 - \alpha) \, g` is kept too, and the
    variance :math:`s - m^2` replaces s. With momentum :math:`\mu`,
    :math:`v \leftarrow \mu v + g / (\sqrt{s} + \epsilon)` and :math:`w \leftarrow w - \eta v`.

    Args:
        params: parameters, or groups of them with their own options.
        lr: learning rate, at least 0.
        alpha: decay rate of s, from 0 to 1.
        eps: added to the root of s, at least 0.
        weight_decay: factor of the weights that is added to the gradient, at least 0.
        momentum: share of the previous velocity, at least 0.
        centered: divide by the standard deviation instead of the root mean square.
        maximize: maximize instead of minimize.
        foreach: True updates all tensors of a device and dtype together, False one after the other.

    Raises:
        OptionError: an option is outside its legal values.

    Source:
        Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, eq. 38 to 40, there with epsilon inside
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

    def _check_options(self, group: dict[str, Any]) -> None:
        names = ["lr", "alpha", "eps", "weight_decay", "momentum"]
        require_non_negative("RMSprop", group, names, "Start with lr=0.001, alpha=0.99, eps=1e-8.")
        alpha = group["alpha"]
        require("RMSprop needs an alpha of at most 1", str(alpha), alpha <= 1, "0.99 is usual.")

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        momentum = ["momentum_buffer"] if group["momentum"] > 0 else []
        return ["step", "square_avg", *momentum, *(["grad_avg"] if group["centered"] else [])]

    def _update(self, params: Tensors, grads: Tensors, states: list[State], group: dict[str, Any]) -> None:
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
