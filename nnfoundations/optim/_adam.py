"""Adam, and AdamW with decoupled weight decay."""

import math
from typing import Any, ClassVar

import torch
from torch.optim.optimizer import ParamsT

from nnfoundations.optim._optimizer import ListOptimizer, State, Tensors, require, require_non_negative

__all__ = ["Adam", "AdamW"]


class Adam(ListOptimizer):
    r"""Gradient descent with momentum, scaled by a running mean of squared gradients.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) \, g, \qquad
        s \leftarrow \beta_2 s + (1 - \beta_2) \, g^2, \qquad
        w \leftarrow w - \eta \, \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon}

    The divisors correct for the start at zero. They are folded into the rate and into epsilon, as section 2
    of the paper advises, so that no array is divided twice. With amsgrad, the largest s so far replaces s.

    Args:
        params: parameters, or groups of them with their own options.
        lr: learning rate, at least 0.
        betas: decay rates of m and s, at least 0 and less than 1.
        eps: added to the root of s, at least 0.
        weight_decay: factor of the weights that is added to the gradient, at least 0.
        amsgrad: let the effective rate only decrease.
        maximize: maximize instead of minimize.
        foreach: True updates all tensors of a device and dtype together, False one after the other.

    Raises:
        OptionError: an option is outside its legal values.

    Source:
        Kingma and Ba 2015, algorithm 1; Reddi, Kale and Kumar 2018, algorithm 2. As torch.optim.Adam.
    """

    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool = True,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
            },
        )

    def _check_options(self, group: dict[str, Any]) -> None:
        name, (b1, b2) = type(self).__name__, group["betas"]
        require_non_negative(name, group, ["lr", "eps", "weight_decay"], "Start with lr=0.001, eps=1e-8.")
        require(
            f"{name} needs betas of at least 0 and less than 1",
            str((b1, b2)),
            0 <= b1 < 1 and 0 <= b2 < 1,
            "(0.9, 0.999) is usual.",
        )

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        return ["step", "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]

    def _update(self, params: Tensors, grads: Tensors, states: list[State], group: dict[str, Any]) -> None:
        (b1, b2), lr, decay = group["betas"], float(group["lr"]), group["weight_decay"]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        if decay and self.decoupled:
            torch._foreach_mul_(params, 1 - lr * decay)
        elif decay:
            grads = list(torch._foreach_add(grads, params, alpha=decay))
        means = [state["exp_avg"] for state in states]
        squares = [state["exp_avg_sq"] for state in states]
        torch._foreach_lerp_(means, grads, 1 - b1)
        torch._foreach_mul_(squares, b2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - b2)
        if group["amsgrad"]:
            largest = [state["max_exp_avg_sq"] for state in states]
            torch._foreach_maximum_(largest, squares)
            squares = largest
        taken = [int(step) for step in steps]
        roots = [math.sqrt(1 - b2**t) for t in taken]
        spread = torch._foreach_sqrt(squares)
        torch._foreach_add_(spread, [group["eps"] * root for root in roots])
        rates = [-lr * root / (1 - b1**t) for t, root in zip(taken, roots, strict=True)]
        torch._foreach_addcdiv_(params, means, spread, rates)


class AdamW(Adam):
    r"""Adam with decoupled weight decay.

    .. math:: w \leftarrow (1 - \eta \lambda) \, w

    before each step of Adam, instead of adding the decay to the gradient. The decay is then not divided by
    the root of s, and all weights shrink by the same factor.

    Args:
        params: parameters, or groups of them with their own options.
        lr: learning rate, at least 0.
        betas: decay rates of m and s, at least 0 and less than 1.
        eps: added to the root of s, at least 0.
        weight_decay: :math:`\lambda`, at least 0.
        amsgrad: let the effective rate only decrease.
        maximize: maximize instead of minimize.
        foreach: True updates all tensors of a device and dtype together, False one after the other.

    Raises:
        OptionError: an option is outside its legal values.

    Source:
        Loshchilov and Hutter 2019, algorithm 2. As torch.optim.AdamW.
    """

    decoupled = True

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool = True,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, foreach=foreach)
