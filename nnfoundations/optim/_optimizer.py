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

__all__ = ["ListOptimizer", "State", "Tensors", "needs", "needs_at_least_0"]

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

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's, through which the groups given at first go, too; options are checked before.

        Raises: OptionError: an option outside its range.
        """
        self.check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @abstractmethod
    def check(self, group: dict[str, Any]) -> None:
        """Raises: OptionError: an option outside its range."""

    def kept(self, group: dict[str, Any]) -> list[str]:
        """What the rule reads of a parameter's state and has to be there, at zero, before it does."""
        return []

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
        states = [self.state[p] for p in params]
        for name in self.kept(group):  # an option set later, as momentum, finds its array missing
            for p, state in zip(params, states, strict=True):
                if name not in state:
                    state[name] = torch.tensor(0.0) if name == "step" else torch.zeros_like(p)
        self.update(params, grads, states, group)

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


def needs_at_least_0(optimizer: str, group: dict[str, Any], names: list[str], fix: str) -> None:
    """Raises: OptionError: one of these options is negative, or no number."""
    needs(
        f"{optimizer} needs {', '.join(names[:-1])} and {names[-1]} of at least 0",
        ", ".join(f"{name}={group[name]}" for name in names),
        all(group[name] >= 0 for name in names),
        fix,
    )
