"""Measures whether the output for a sample depends on the other samples of its batch."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nnfoundations.diagnostics.evaluation._call import ROWS, Call, NotEvaluatedError, first_output

__all__ = ["SAME", "Mixing", "deviation", "measure_mixing", "rows_are_samples"]

SAME = 1e-4
"""Deviation up to which two numbers count as equal: sums in another order differ by 1e-6."""

_RELATED = (
    "attention", "transformer", "rnn", "lstm", "gru", "cell", "graph", "gcn", "gat", "sage", "message", "ssm",
    "conv",
)  # fmt: skip
"""Parts of class names of layers that relate the rows of a table to each other."""


class Mixing(NamedTuple):
    """How far outputs move, in standard deviations over the samples.

    `reversed`: the median over the samples if the batch is reversed. `alone`: the larger move of the first
    and the last sample if it is alone. `where`: the first module whose output for a sample changes when it
    is alone. `axis`: 1 if this module has ``batch_first=False``, otherwise -1.
    """

    reversed: float
    alone: float
    where: str = ""
    axis: int = -1


def measure_mixing(call: Call, named: Callable[[nn.Module], str]) -> Mixing:
    """Reverse the batch, and run single samples. The module is in evaluation mode, without gradients.

    Args:
        call: the call of the network.
        named: returns the name of a module in the model.

    Raises:
        NotEvaluatedError: the rows of this batch are not known to be samples, or the network draws random
            numbers.
    """
    n = min(call.samples, ROWS)
    if any(_uses_batch(module) for module in call.module.modules()):
        raise NotEvaluatedError("a batch normalization without running statistics uses the whole batch")
    rows = torch.arange(n)
    with _watching(call.module, named) as together:
        whole = call.part(rows).run()
    if whole.ndim < 2 or len(whole) != n:
        raise NotEvaluatedError("the network has no output row for each sample")
    if call.inputs[0].ndim == 2:
        _check_sequences(call.module, named, together)
    if deviation(call.part(rows).run(), whole).amax() > SAME:
        raise NotEvaluatedError("the network draws random numbers in evaluation mode")
    backwards = deviation(call.part(rows.flip(0)).run().flip(0), whole).median()
    alone, where = 0.0, ""
    for row in (0, n - 1):
        with _watching(call.module, named) as single:
            moved = _moved_alone(call, whole, row)
        if moved > alone:
            alone, where = moved, _first_moved(together, single, row)
    inner = next((m for m in call.module.modules() if where and named(m) == where), None)
    axis = 1 if getattr(inner, "batch_first", True) is False else -1
    return Mixing(float(backwards), alone, where, axis)


def _moved_alone(call: Call, whole: Tensor, row: int) -> float:
    """Return how far the output for a sample moves if it is alone; infinite if it is NaN then."""
    output, expected = call.part(torch.tensor([row])).run(), whole[row : row + 1]
    if output.shape != expected.shape:
        raise NotEvaluatedError("the network has no output row for each sample")
    moved = float((output - expected).square().mean().sqrt() / _spread(whole))
    return math.inf if math.isnan(moved) and bool(whole.isfinite().all()) else moved


def _check_sequences(
    network: nn.Module, named: Callable[[nn.Module], str], outputs: dict[str, Tensor]
) -> None:
    """Raise if a layer takes the rows of a table for one sequence without a batch axis."""
    layers = {named(module) for module in network.modules() if _relates(module)}
    if any(y.ndim == 2 for name, y in outputs.items() if name in layers):
        raise NotEvaluatedError("a layer takes the rows of the inputs for one sequence")


def rows_are_samples(call: Call, targets: Tensor | None) -> bool:
    """Return whether the rows of the inputs are surely samples, not steps of sequences or nodes of a graph.

    There is one target for each row, and the first input has further axes; or it is a batch of images, or of
    sequences whose targets are the next tokens along the second axis. The rows of a table may be a graph, or
    one sequence without a batch axis, if a layer that is not of torch relates them.
    """
    x = call.inputs[0]
    if x.ndim == 4:
        return True
    if targets is None or x.ndim < 2 or x.shape[1] < 2:
        return False
    tokens = x.ndim == 2 and not x.is_floating_point()
    if targets.numel() != len(x):
        return tokens and targets.shape.numel() == x.numel() and _next_tokens(x, targets.reshape(x.shape))
    if x.ndim == 3 or tokens:
        return True
    return not any(_relates(module) and not _of_torch(module) for module in call.module.modules())


def _relates(module: nn.Module) -> bool:
    """Return whether a layer is for sequences or graphs, by its name."""
    kind = type(module).__name__.lower()
    return any(part in kind for part in _RELATED)


def _of_torch(module: nn.Module) -> bool:
    """Return whether a layer is one of torch, or derived from one: with a batch it has a further axis."""
    return any(c is not nn.Module and c.__module__.startswith("torch.nn") for c in type(module).__mro__)


def _next_tokens(tokens: Tensor, targets: Tensor) -> bool:
    along, across = tokens[:, 1:] == targets[:, :-1], tokens[1:] == targets[:-1]
    return float(along.double().mean()) > 0.9 > float(across.double().mean())


def deviation(found: Tensor, expected: Tensor) -> Tensor:
    """Return for each row how far it is away, in standard deviations over the rows."""
    if found.shape != expected.shape:
        raise NotEvaluatedError("the outputs of two evaluations have different shapes")
    return (found - expected).flatten(1).square().mean(1).sqrt() / _spread(expected)


def _spread(y: Tensor) -> Tensor:
    """Return the standard deviation over the rows; at least a thousandth of the size."""
    spread = (y - y.mean(0)).square().mean().sqrt()
    return torch.maximum(spread, 1e-3 * y.square().mean().sqrt()).clamp(min=1e-30)


def _uses_batch(module: nn.Module) -> bool:
    if "BatchNorm" not in type(module).__name__:
        return False
    return getattr(module, "running_mean", None) is None


@contextmanager
def _watching(network: nn.Module, named: Callable[[nn.Module], str]) -> Iterator[dict[str, Tensor]]:
    """Keep the first output of each layer within the block, by the name of the layer."""
    outputs: dict[str, Tensor] = {}

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        if (y := first_output(output)) is not None:
            outputs.setdefault(named(module), y.detach())

    layers = [m for m in network.modules() if next(m.children(), None) is None or hasattr(m, "batch_first")]
    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _first_moved(together: dict[str, Tensor], alone: dict[str, Tensor], row: int) -> str:
    """Return the first module whose output for a sample depends on whether it is alone; empty if unknown."""
    for name, single in alone.items():
        whole = together.get(name)
        if whole is None or whole.shape[1:] != single.shape[1:] or len(whole) <= row or len(single) != 1:
            continue
        size = whole.square().mean().sqrt().clamp(min=1e-30)
        if not float((whole[row] - single[0]).abs().max() / size) <= SAME:
            return name
    return ""
