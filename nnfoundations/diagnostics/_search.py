"""Measures why a run does not learn: where samples become equal, and where the gradient ends.

The hooks exist for one step, and only in a run whose loss does not fall or whose gradients are all 0.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nnfoundations.diagnostics._layer_hooks import LayerHooks
from nnfoundations.diagnostics._transfer import Readings

__all__ = ["SearchProbe"]


class SearchProbe:
    """Measures the innermost modules of a model in the first call of each.

    - `sample_spread`: standard deviation of an output over the samples, relative to its size.
    - `output_gradient`, `input_gradient`: largest gradient at the output and at the input of a module.
    """

    def __init__(self, model: nn.Module) -> None:
        self._hooks = LayerHooks(model)
        self._clear()

    def _clear(self) -> None:
        self._spread: dict[str, Tensor] = {}
        self._outgoing: dict[str, Tensor] = {}
        self._incoming: dict[str, Tensor] = {}
        self._samples = 0

    def attach(self, timed: Callable[..., Any], batch: Tensor | None) -> None:
        """Attach the hooks until `detach`; `timed` wraps each of them."""
        self._clear()
        self._timed = timed
        self._samples = len(batch) if batch is not None and batch.ndim else 0
        self._hooks.attach(timed, self._before, self._after)

    def detach(self) -> None:
        """Remove the hooks."""
        self._hooks.remove()
        self._clear()

    def collect(self, readings: Readings, layers: list[str]) -> None:
        """Write the measurements of these layers into the readings, after the backward pass."""
        for quantity, found in (
            ("sample_spread", self._spread),
            ("output_gradient", self._outgoing),
            ("input_gradient", self._incoming),
        ):
            values = {name: found[name].float() for name in layers if name in found}
            if values:
                readings.add(quantity, tuple(values), torch.stack(list(values.values())))

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = next((i for i in inputs if isinstance(i, Tensor)), None)
            if x is not None and x.requires_grad and name not in self._spread:
                self._watch(x, name, self._incoming)

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            y = output[0] if isinstance(output, tuple) and output else output
            if name in self._spread or not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim < 2:
                return
            self._spread[name] = _sample_spread(y.detach().float(), self._samples)
            if y.requires_grad:
                self._watch(y, name, self._outgoing)

        return hook

    def _watch(self, x: Tensor, name: str, found: dict[str, Tensor]) -> None:
        """Register for the gradient of a tensor. If the backward pass never reaches it, it is 0."""
        found[name] = torch.zeros((), device=x.device)

        def read(grad: Tensor) -> None:
            found[name] = grad.detach().abs().amax().float()

        self._hooks.add(x.register_hook(self._timed(read)))  # of a parameter it would stay


@torch.no_grad()
def _sample_spread(y: Tensor, samples: int) -> Tensor:
    """Return the standard deviation over the samples, relative to the size; NaN for a single sample."""
    axis = 1 if y.shape[0] != samples == y.shape[1] else 0
    if y.shape[axis] < 2 or not y.numel():
        return y.new_full((), float("nan"))
    size = y.square().mean().sqrt()
    return (y - y.mean(axis, keepdim=True)).square().mean().sqrt() / size.clamp(min=1e-30)
