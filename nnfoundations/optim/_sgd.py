"""Stochastic gradient descent, with momentum."""

from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from nnfoundations.optim._optimizer import ListOptimizer, State, Tensors, needs, needs_at_least_0

__all__ = ["SGD"]


class SGD(ListOptimizer):
    r"""g <- g + weight_decay w, v <- momentum v + (1 - dampening) g, w <- w - lr v; the first v is g.

    Nesterov steps from where the velocity leads: w <- w - lr (g + momentum v). Without momentum v is g.

    Args:
        params: parameters, or groups of them with options of their own.
        lr, momentum, dampening, weight_decay: at least 0.
        nesterov: needs a momentum, and no dampening.
        maximize: climb instead.
        foreach: all tensors of a device and dtype together; False takes one after the other.
    Raises: OptionError: an option outside its range.
    Source: Polyak 1964; Sutskever et al. 2013, eq. 3 and 4, with the rate outside of v. As torch.optim.SGD.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool = True,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        names = ["lr", "momentum", "dampening", "weight_decay"]
        needs_at_least_0("SGD", group, names, "lr=0.01, momentum=0.9 is a start.")
        needs(
            "SGD needs a momentum and no dampening for nesterov",
            f"momentum={group['momentum']}, dampening={group['dampening']}",
            not group["nesterov"] or (group["momentum"] > 0 and group["dampening"] == 0),
            "Set momentum=0.9, dampening=0.",
        )

    def update(self, params: Tensors, grads: Tensors, states: list[State], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        if momentum:
            # Velocities first, and the new ones after: g is the first velocity, undampened.
            old = [i for i, state in enumerate(states) if state.get("momentum_buffer") is not None]
            if old:
                velocities = [states[i]["momentum_buffer"] for i in old]
                torch._foreach_mul_(velocities, momentum)
                torch._foreach_add_(velocities, [grads[i] for i in old], alpha=1 - group["dampening"])
            for state, g in zip(states, grads, strict=True):
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = g.clone()
            velocities = [state["momentum_buffer"] for state in states]
            if not group["nesterov"]:
                grads = velocities
            elif group["weight_decay"]:  # their sum is ours to use up
                torch._foreach_add_(grads, velocities, alpha=momentum)
            else:
                grads = list(torch._foreach_add(grads, velocities, alpha=momentum))
        torch._foreach_add_(params, grads, alpha=-lr)
