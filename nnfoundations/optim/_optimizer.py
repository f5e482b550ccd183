"""Base class of the optimizers: groups parameters into lists and checks options."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from nnfoundations.errors import DtypeError, OptionError

__all__ = ["ListOptimizer", "State", "Tensors", "require", "require_non_negative"]

Tensors: TypeAlias = list[Tensor]
State: TypeAlias = dict[str, Any]


class ListOptimizer(Optimizer):
    """An update rule over lists of tensors.

    All tensors of a list have the same device and dtype, so that each `torch._foreach_*` function runs few
    kernels for all of them. With `foreach=False` the same rule runs over lists of one tensor, which is slower
    but needs temporaries for one tensor only.

    State and groups have torch's names, so state dicts load in both directions.

    Args:
        params: parameters, or groups of them with their own options.
        defaults: options of groups that do not set them.

    Raises:
        OptionError: an option is outside its legal values.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._check_options(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Check the options of a group, then add it; torch also calls this for the first groups.

        Args:
            param_group: the parameters under "params", and their options.

        Raises:
            OptionError: an option is outside its legal values.
        """
        self._check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @abstractmethod
    def _check_options(self, group: dict[str, Any]) -> None:
        """Raise OptionError if an option is outside its legal values."""

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        """Names of the state that must exist, initially zero, before `_update` reads it."""
        return []

    @abstractmethod
    def _update(self, params: Tensors, grads: Tensors, states: list[State], group: dict[str, Any]) -> None:
        """Change the parameters in place; leave the gradients unchanged."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: computes the loss and its gradients again.

        Returns:
            The value of the closure, or None without one.

        Raises:
            DtypeError: a parameter is float16 or complex.
            OptionError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for params in self._lists(group):
                self._step(params, group)
        return loss

    def _lists(self, group: dict[str, Any]) -> list[Tensors]:
        """Parameters that have a gradient: one list per device and dtype, or one per parameter."""
        lists: dict[Any, Tensors] = defaultdict(list)
        for p in group["params"]:
            if p.grad is not None:
                self._check_parameter(p)
                lists[p.device, p.dtype].append(p)
        if group["foreach"] is False:
            return [[p] for params in lists.values() for p in params]
        return list(lists.values())

    def _step(self, params: Tensors, group: dict[str, Any]) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        if group["maximize"]:
            grads = list(torch._foreach_neg(grads))
        states = [self.state[p] for p in params]
        for name in self._state_names(group):  # also after an option such as momentum was switched on
            for p, state in zip(params, states, strict=True):
                if name not in state:
                    state[name] = torch.tensor(0.0) if name == "step" else torch.zeros_like(p)
        self._update(params, grads, states, group)

    def _check_parameter(self, p: Tensor) -> None:
        name = type(self).__name__
        if p.dtype == torch.float16 or p.is_complex():
            raise DtypeError(
                f"{name} needs parameters in float32, float64 or bfloat16; got {p.dtype}. In float16 an eps "
                "of 1e-8 is 0 and small steps are lost: keep them in float32 (precision='16-mixed')."
            )
        if p.grad is not None and p.grad.is_sparse:
            raise OptionError(
                f"{name} needs dense gradients; got a sparse one of shape {tuple(p.shape)}. "
                "Build the embedding with sparse=False, or use torch.optim.SparseAdam for it."
            )


def require(rule: str, found: str, holds: bool, fix: str) -> None:
    """Raise OptionError with the rule, what was found and the fix, unless the rule holds."""
    if not holds:
        raise OptionError(f"{rule}; got {found}. {fix}")


def require_non_negative(optimizer: str, group: dict[str, Any], names: list[str], fix: str) -> None:
    """Raise OptionError if one of these options is negative or NaN."""
    require(
        f"{optimizer} needs {', '.join(names[:-1])} and {names[-1]} of at least 0",
        ", ".join(f"{name}={group[name]}" for name in names),
        all(group[name] >= 0 for name in names),
        fix,
    )
