"""Stochastic gradient descent, with momentum."""

from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from nnfoundations.optim._optimizer import ListOptimizer, State, Tensors, require, require_non_negative

__all__ = ["SGD"]


class SGD(ListOptimizer):
    r"""Stochastic gradient descent with momentum, Nesterov momentum and weight decay.

    .. math:: g \leftarrow g + \lambda w, \qquad v \leftarrow \mu v + (1 - d) \, g, \qquad
        w \leftarrow w - \eta v

    with rate :math:`\eta`, momentum :math:`\mu`, dampening d and weight decay :math:`\lambda`. The first v is
    g; without momentum, v is always g. With Nesterov momentum the step is
    :math:`w \leftarrow w - \eta (g + \mu v)`.

    Args:
        params: parameters, or groups of them with their own options.
        lr: learning rate, at least 0.
        momentum: share of the previous velocity, at least 0.
        dampening: reduces the share of the gradient, at least 0.
        weight_decay: factor of the weights that is added to the gradient, at least 0.
        nesterov: use Nesterov momentum; needs a momentum and no dampening.
        maximize: maximize instead of minimize.
        foreach: True updates all tensors of a device and dtype together, False one after the other.

    Raises:
        OptionError: an option is outside its legal values.

    Source:
        Polyak 1964; Sutskever et al. 2013, eq. 3 and 4, with the rate outside of v. As torch.optim.SGD.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([2.0]))
        >>> optimizer = SGD([weight], lr=0.1)
        >>> weight.square().sum().backward()
        >>> optimizer.step()
        >>> weight.item()  # 2 - 0.1 * 4
        1.600000023841858
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

    def _check_options(self, group: dict[str, Any]) -> None:
        names = ["lr", "momentum", "dampening", "weight_decay"]
        require_non_negative("SGD", group, names, "Start with lr=0.01, momentum=0.9.")
        require(
            "SGD needs a momentum and no dampening for nesterov",
            f"momentum={group['momentum']}, dampening={group['dampening']}",
            not group["nesterov"] or (group["momentum"] > 0 and group["dampening"] == 0),
            "Set momentum=0.9, dampening=0.",
        )

    def _update(self, params: Tensors, grads: Tensors, states: list[State], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        if momentum:
            # Existing velocities are updated; a new one starts as g, without dampening.
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
            elif group["weight_decay"]:  # grads is a new list, so it can be overwritten
                torch._foreach_add_(grads, velocities, alpha=momentum)
            else:
                grads = list(torch._foreach_add(grads, velocities, alpha=momentum))
        torch._foreach_add_(params, grads, alpha=-lr)
