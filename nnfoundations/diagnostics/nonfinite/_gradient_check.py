"""Checks at every step whether the gradients are finite, from as few of them as possible."""

from collections.abc import Sequence

from torch import Tensor

from nnfoundations.diagnostics._graph import terminal_parameters
from nnfoundations.diagnostics.nonfinite._check import (
    FEW_ENTRIES,
    dense,
    few_and_plain,
    few_finite_gradients,
    finite_gradients,
)

__all__ = ["FEW", "GradientCheck"]

FEW = 12
"""Largest number of terminal gradients."""


class GradientCheck:
    """Tells whether the gradients of one optimizer's parameters are finite. It waits for the device.

    Args:
        parameters: the parameters by name.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self._parameters = parameters
        self._every = list(parameters.values())
        self._one_each = _one_of_each_module(parameters)
        self._small = few_and_plain(self._every)
        self._terminal: list[Tensor] = []
        self._trainable = 0

    def finite(self, every: bool = False) -> bool:
        """Check all gradients, or in a large model one per module.

        Args:
            every: whether to check all gradients of a large model too.
        """
        if self._small:
            return few_finite_gradients([g for p in self._every if (g := p.grad) is not None])
        if self.trainable != self._trainable:
            self._terminal = []  # they belong to another graph
        chosen = self._every if every else self._one_each
        return finite_gradients([g for p in chosen if (g := p.grad) is not None])

    def terminal_finite(self) -> bool:
        """Check only the last gradients that backward computes: almost every NaN propagates to them.

        In a small model, one call checks all gradients at the same cost.
        """
        if self._small:
            return self.finite()
        total = 0.0
        for p in self._terminal:
            if (g := p.grad) is None:
                return self.finite()
            total += g.sum().item()
        if total == 0:  # nothing was checked, or another graph, or a mask stops everything on the way
            return self.finite()
        return total - total == 0 or not self.nonfinite()

    def find_terminal(self, loss: Tensor) -> None:
        """Find the last gradients that the backward pass of this loss computes."""
        last = terminal_parameters(loss, self._parameters)
        few = len(last) <= FEW and sum(p.numel() for p in last) <= FEW_ENTRIES
        self._terminal = last if few and all(p.is_cpu for p in last) else []
        self._trainable = self.trainable

    def nonfinite(self) -> list[str]:
        """Name the parameters whose gradient is not finite."""
        pairs = [(name, p.grad) for name, p in self._parameters.items() if p.grad is not None]
        return [name for name, grad in pairs if not bool(dense(grad).isfinite().all())]

    @property
    def trainable(self) -> int:
        """The number of trainable parameters."""
        return sum(p.requires_grad for p in self._parameters.values())


def _one_of_each_module(parameters: dict[str, Tensor]) -> Sequence[Tensor]:
    """Choose the smallest parameter of each module, the first module's in any case."""
    chosen: dict[str, Tensor] = {}
    for name, p in parameters.items():
        module = name.partition(" = ")[0].rpartition(".")[0]
        floating = p.is_floating_point() or p.is_complex()
        if floating and p.numel() and (module not in chosen or p.numel() < chosen[module].numel()):
            chosen[module] = p
    first = next(iter(chosen.values()), None)
    kept: list[Tensor] = []
    entries = 0
    for p in sorted(chosen.values(), key=lambda p: (p is not first, p.numel())):
        entries += p.numel()
        if kept and entries > FEW_ENTRIES:
            break
        kept.append(p)
    return kept
