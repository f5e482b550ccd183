"""Keeps optimizers from applying a gradient that is not finite."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from nnfoundations.diagnostics.nonfinite._check import finite_gradients

__all__ = ["StepGuard"]


class StepGuard:
    """Let optimizers take a step only if all gradients are finite.

    A parameter without a gradient is skipped by an optimizer: it gets no weight decay, no momentum and no
    state. So the guard takes the gradients away for the time of the step, and puts them back afterwards. It
    checks at the last moment, after a closure has computed the gradients and after clipping.

    An optimizer that evaluates its closure several times moves the weights between evaluations. If a later
    one is not finite, the weights from the begin of the step are restored, and LBFGS forgets its history.

    The check reads one number from the device at each step, so it waits for it.

    Args:
        found: called with the optimizer whose gradient is not finite, while the gradient is still there.
    """

    def __init__(self, found: Callable[[Optimizer], None]) -> None:
        self._found = found
        self._taken: list[tuple[Tensor, Tensor]] = []
        self._start: list[Tensor] = []  # the weights after the first evaluation of a closure

    def attach(self, optimizer: Optimizer) -> list[RemovableHandle]:
        """Guard all further steps of an optimizer.

        Args:
            optimizer: the optimizer.

        Returns:
            Handles that end it.
        """
        return [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        self._taken, self._start = [], []
        if callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._guarded(optimizer, kwargs["closure"])}
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._guarded(optimizer, args[1]), *args[2:]), kwargs
        self._check(optimizer)
        return None

    def _guarded(self, optimizer: Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
        first: list[Any] = []

        def guarded() -> Any:
            if self._taken:  # the step is already lost
                return first[0]
            result = closure()
            self._check(optimizer)
            if not first and isinstance(optimizer, LBFGS):
                self._start = [p.detach().clone() for p in _parameters(optimizer)]
            first.append(result)
            return first[0] if self._taken else result  # a line search cannot compare with NaN

        return guarded

    def _check(self, optimizer: Optimizer) -> None:
        if finite_gradients([p.grad for p in _parameters(optimizer) if p.grad is not None]):
            return
        self._return_to_start(optimizer)
        self._found(optimizer)
        for p in _parameters(optimizer):
            if p.grad is not None:
                self._taken.append((p, p.grad))
                p.grad = None

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._taken and self._start:
            self._return_to_start(optimizer)
            optimizer.state.clear()
        for p, gradient in self._taken:
            p.grad = gradient
        self._taken, self._start = [], []

    @torch.no_grad()
    def _return_to_start(self, optimizer: Optimizer) -> None:
        """Undo the moves between the evaluations of a closure."""
        if self._start:
            for p, value in zip(_parameters(optimizer), self._start, strict=True):
                p.copy_(value)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
