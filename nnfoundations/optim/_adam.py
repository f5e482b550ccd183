"""Adam, and AdamW, which decays the weights apart from the gradient."""

import math
from typing import Any, ClassVar

import torch
from torch.optim.optimizer import ParamsT

from nnfoundations.optim._optimizer import ListOptimizer, State, Tensors, needs, needs_at_least_0

__all__ = ["Adam", "AdamW"]


class Adam(ListOptimizer):
    r"""m <- b1 m + (1 - b1) g, s <- b2 s + (1 - b2) g^2, w <- w - lr m' / (sqrt(s') + eps).

    m' = m / (1 - b1^t) and s' = s / (1 - b2^t) make up for the start at zero. Computed with both corrections
    in two numbers, as section 2 of the paper advises: lr sqrt(1 - b2^t) / (1 - b1^t) for lr, and
    eps sqrt(1 - b2^t) for eps; so no array is divided twice. amsgrad: the largest s so far takes the place
    of s. Weight decay is added to g.

    Args:
        params: parameters, or groups of them with options of their own.
        lr, eps, weight_decay: at least 0.
        betas: b1 and b2, at least 0 and less than 1.
        amsgrad: steps that can only shrink.
        maximize, foreach: as in SGD.
    Raises: OptionError: an option outside its range.
    Source: Kingma and Ba 2015, algorithm 1; Reddi, Kale and Kumar 2018, algorithm 2. As torch.optim.Adam.
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

    def check(self, group: dict[str, Any]) -> None:
        name, (b1, b2) = type(self).__name__, group["betas"]
        needs_at_least_0(name, group, ["lr", "eps", "weight_decay"], "lr=0.001, eps=1e-8 is a start.")
        needs(
            f"{name} needs betas of at least 0 and less than 1",
            str((b1, b2)),
            0 <= b1 < 1 and 0 <= b2 < 1,
            "(0.9, 0.999) is usual.",
        )

    def kept(self, group: dict[str, Any]) -> list[str]:
        return ["step", "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]

    def update(self, params: Tensors, grads: Tensors, states: list[State], group: dict[str, Any]) -> None:
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
    r"""Adam, but w <- (1 - lr weight_decay) w before the step, in place of a decay added to the gradient.

    So the decay is not divided by sqrt(s), and all weights shrink alike. Arguments as in Adam.

    Source: Loshchilov and Hutter 2019, algorithm 2. As torch.optim.AdamW.
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
