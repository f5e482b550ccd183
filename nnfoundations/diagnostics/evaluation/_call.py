"""One call of a network in a training step, which can run again on other inputs or in another mode."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from nnfoundations.diagnostics.nonfinite import tensors

__all__ = ["Call", "NotEvaluatedError", "first_output", "regular"]

ROWS = 16
"""Largest number of samples in an evaluation of a part of the batch."""

FEWEST = 4
"""Smallest number of samples that tell a batch axis from another one."""

_RANDOM = ("Drop", "StochasticDepth", "Noise", "RReLU", "MultiheadAttention")
"""Parts of class names of modules that draw random numbers in training mode."""


class NotEvaluatedError(Exception):
    """An evaluation is not possible, or shows nothing; the message is the reason."""


@dataclass
class Call:
    """A call of the outermost module with trainable parameters.

    Args:
        name: name of the module in the model; empty for the model itself.
        module: the module.
        args: its arguments, detached from the graph.
        kwargs: its keyword arguments.
    """

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @cached_property
    def inputs(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    @cached_property
    def samples(self) -> int:
        """The length of the first input, if every input has as many rows.

        Raises:
            NotEvaluatedError: the rows of the inputs are not known to be samples.
        """
        leaves = tree_leaves((self.args, self.kwargs))
        if not all(isinstance(leaf, Tensor | str | bool | int | float | None) for leaf in leaves):
            raise NotEvaluatedError("the network takes other arguments than tensors")
        shapes = [x.shape for x in self.inputs if x.ndim]
        if not shapes or any(x.layout is not torch.strided or x.is_nested for x in self.inputs):
            raise NotEvaluatedError("the network takes no dense tensor")
        n = shapes[0][0]
        if any(shape[0] != n for shape in shapes):
            raise NotEvaluatedError("the inputs of the network have no common number of rows")
        if n < FEWEST:
            raise NotEvaluatedError(f"a batch has fewer than {FEWEST} samples")
        if any(n == x.shape[1] and self._may_be_square(x) for x in self.inputs if x.ndim > 1):
            raise NotEvaluatedError("an input is square, so its rows may not be samples")
        return n

    def _may_be_square(self, x: Tensor) -> bool:
        """Return whether the second axis may be the samples: steps first, or a matrix of all pairs."""
        return x.ndim == 3 or (x.ndim == 2 and (len(self.inputs) > 1 or not x.is_floating_point()))

    def part(self, rows: Sequence[int] | Tensor | slice) -> "Call":
        """Return a call with some of the samples, in the given order."""
        return self.replaced(lambda x: x[rows] if x.ndim else x)

    def replaced(self, change: Callable[[Tensor], Tensor]) -> "Call":
        """Return a call with other inputs."""
        args, kwargs = tree_map_only(Tensor, change, (self.args, self.kwargs))
        return Call(self.name, self.module, args, kwargs)

    def run(self) -> Tensor:
        """Run the module in its present mode, and return the first output with an axis of samples.

        Raises:
            NotEvaluatedError: the output is not a tensor of numbers, or the module rejects the inputs.
        """
        try:
            output = self.module(*self.args, **self.kwargs)
        except NotEvaluatedError:
            raise
        except Exception as error:
            raise NotEvaluatedError(
                f"the network does not accept changed inputs ({type(error).__name__})"
            ) from error
        y = first_output(output)
        if y is None:
            raise NotEvaluatedError("the network returns no tensor of numbers")
        return y.detach().double() if y.is_floating_point() else y.detach()

    @contextmanager
    def mode(self, training: Callable[[nn.Module], bool]) -> Iterator[None]:
        """Set the mode of all modules within the block, without a call of their `train`, then restore it."""
        before = [(module, module.training) for module in self.module.modules()]
        try:
            for module, _ in before:
                module.training = training(module)
            yield
        finally:
            for module, was in before:
                module.training = was


def first_output(output: Any) -> Tensor | None:
    """Return the first tensor of floating-point numbers with an axis in an output."""
    return next((y for y in tensors(output) if y.is_floating_point() and y.ndim and y.numel()), None)


def regular(module: nn.Module) -> bool:
    """Return whether a module computes the same in both modes unless its author decides otherwise.

    Dropout and its relatives, normalization, and recurrent layers (with dropout inside) are not regular.
    """
    kind = type(module).__name__
    running = "running_mean" in module._buffers or "Norm" in kind
    return not (running or isinstance(module, nn.RNNBase) or any(part in kind for part in _RANDOM))
