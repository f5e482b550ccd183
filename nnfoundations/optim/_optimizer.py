"""What the optimizers share: which parameters step, as lists, and what is refused."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from nnfoundations._errors import DtypeError, OptionError

__all__ = ["ListOptimizer", "State", "Tensors", "needs"]

Tensors: TypeAlias = list[Tensor]
State: TypeAlias = dict[str, Any]


class ListOptimizer(Optimizer):
    """An update rule written once, over lists of tensors.

    A list has one device and one dtype, so that each `torch._foreach_*` is few kernels for all of it. With
    `foreach=False` the same rule runs over lists of one tensor: slower, and with temporaries of one tensor
    in place of all.

    State and groups are named as in torch, so that state dicts load both ways.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.check(defaults)
        super().__init__(params, defaults)
        for group in self.param_groups:
            self.check(group)

    @abstractmethod
    def check(self, group: dict[str, Any]) -> None:
        """Raises: OptionError: an option outside its range."""

    @abstractmethod
    def begin(self, p: Tensor, group: dict[str, Any]) -> State:
        """The state of a parameter before its first step."""

    @abstractmethod
    def update(self, params: Tensors, grads: Tensors, states: list[State], group: dict[str, Any]) -> None:
        """Move the parameters, in place; the gradients stay as they are."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args: closure: computes the loss and its gradients anew; its value is returned.
        Raises: DtypeError: a parameter in float16. OptionError: a gradient that is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lists: dict[Any, Tensors] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    self._admit(p)
                    lists[p.device, p.dtype].append(p)
            for params in lists.values():
                for part in [params] if group["foreach"] is not False else [[p] for p in params]:
                    self._step(part, group)
        return loss

    def _step(self, params: Tensors, group: dict[str, Any]) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        if group["maximize"]:
            grads = list(torch._foreach_neg(grads))
        for p in params:
            if not self.state[p]:
                self.state[p] = self.begin(p, group)
        self.update(params, grads, [self.state[p] for p in params], group)

    def _admit(self, p: Tensor) -> None:
        name = type(self).__name__
        if p.dtype == torch.float16 or p.is_complex():
            raise DtypeError(
                f"{name} needs parameters in float32, float64 or bfloat16; got {p.dtype}. In float16 an eps "
                "of 1e-8 is 0 and small steps are lost: keep them in float32 (precision='16-mixed')."
            )
        if p.grad is not None and p.grad.is_sparse:
            raise OptionError(
                f"{name} needs dense gradients; got a sparse one of shape {tuple(p.shape)}. "
                "Build the embedding with sparse=False, or take torch.optim.SparseAdam for it."
            )


def needs(rule: str, came: str, holds: bool, fix: str) -> None:
    """Raises: OptionError: the rule does not hold."""
    if not holds:
        raise OptionError(f"{rule}; got {came}. {fix}")
