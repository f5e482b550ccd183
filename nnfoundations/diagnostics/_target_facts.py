"""Measures the targets of a loss term, and finds them in the batch."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nnfoundations.diagnostics._feeding import Feeding
from nnfoundations.diagnostics._loss_facts import TOLERANCE, TargetFacts
from nnfoundations.diagnostics._loss_terms import Term
from nnfoundations.diagnostics._node import saved_tensor

__all__ = ["LARGEST", "LIMITS", "target_facts"]

LARGEST = 2**24
"""Number of elements above which targets or scores are not measured, because that needs memory."""

LIMITS = {
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "exp": (0.0, math.inf),
    "elu": (-1.0, math.inf),
    "gelu": (-0.17, math.inf),
    "silu": (-0.279, math.inf),
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}
"""Smallest and largest output of activations."""

_MOST_DISTINCT, _SAMPLED, _MOST = 64, 2**16, 2**20
"""Different values that are counted, elements for that count, and elements for a mean."""


def target_facts(term: Term, outputs: Mapping[Any, Tensor], batch: list[Tensor]) -> TargetFacts | None:
    """Measure the targets of a term; None if they are not known, or too large. Waits for the device.

    Args:
        term: the term.
        outputs: outputs of the last modules by the node that made them.
        batch: the tensors of the batch.
    """
    target = _targets_of(term, outputs)
    if target is None or not term.clear or not 0 < target.numel() <= LARGEST:
        return None
    counted = target.reshape(-1)
    if term.kept is not None and term.kept.numel() == counted.numel():
        counted = counted[term.kept]
    if not counted.numel() or counted.is_complex():
        return None
    whole = term.target is not None and not target.is_floating_point()
    numbers = _numbers(counted.float(), term.feeding)
    rows_off, rows_above = _row_sums(target, term)
    single = _collapsed(target, term.feeding)
    entry = _entry(single, target, batch)
    if entry >= 0:
        whole = whole or bool((counted.float() == counted.float().round()).all())
    distinct = int(counted[:_SAMPLED].unique().numel())
    known = batch[entry].dtype if entry >= 0 else target.dtype
    return TargetFacts(
        dtype=str(known).removeprefix("torch.") if entry >= 0 or term.target is not None else "",
        shape=tuple(single.shape),
        distinct=distinct if distinct <= _MOST_DISTINCT else 0,
        whole=whole or numbers.pop("fraction") == 0,
        rows_off=rows_off,
        rows_above=rows_above,
        entry=entry,
        is_input=_is_input(entry, batch),
        **{name: value for name, value in numbers.items() if name != "fraction"},
    )


def _targets_of(term: Term, outputs: Mapping[Any, Tensor]) -> Tensor | None:
    """Return the targets; where the graph keeps only output minus targets, compute them from the output."""
    if term.target is not None or term.residual is None or term.residual.numel() > LARGEST:
        return term.target
    output = _value(term.feeding, outputs)
    if output is None:
        return None
    target = output - term.sign * term.residual
    whole = target.round()  # the difference has rounding errors
    near = (target - whole).abs().amax() <= 1e-4 * target.abs().amax().clamp(min=1)
    return whole if bool(near) else target


def _value(feeding: Feeding, outputs: Mapping[Any, Tensor]) -> Tensor | None:
    """Return the numbers that the model put out, from the hook of a module or from an activation's node."""
    if not feeding.ordered or feeding.maker is None:
        return None
    value = outputs.get(feeding.maker.node)
    if value is None:
        value = saved_tensor(feeding.maker.node, "result")
    for edge in feeding.walked:
        value = outputs.get(edge.node) if value is None else value
    shape = feeding.output.shape
    if value is None or value.numel() != math.prod(shape):
        return None
    return value.detach().reshape(shape)


def _numbers(values: Tensor, feeding: Feeding) -> dict[str, float]:
    low, high = values.amin(), values.amax()
    values = values[:: max(1, values.numel() // _MOST)]
    mean = values.mean()
    variance = (values - mean).square().mean()
    fraction = (values - values.round()).abs().amax()
    limits = None if feeding.flipped else LIMITS.get(feeding.activation)
    beyond = torch.full_like(mean, math.nan)
    if limits is not None:
        beyond = (values - values.clamp(*limits)).square().mean() / variance.clamp(min=1e-12)
    names = ("low", "high", "mean", "spread", "rms", "fraction", "beyond")
    parts = (low, high, mean, variance.sqrt(), values.square().mean().sqrt(), fraction, beyond)
    return dict(zip(names, torch.stack(parts).tolist(), strict=True))


def _row_sums(target: Tensor, term: Term) -> tuple[float, float]:
    """Return the share of rows along the softmax whose sum is not 1, and of those whose sum is above 1."""
    feeding = term.feeding
    axis = feeding.axis if feeding.axis >= 0 or term.kind != "log-likelihood" else target.ndim - 1
    if term.labelled or not 0 <= axis < target.ndim or not target.is_floating_point():
        return math.nan, math.nan
    if target.shape != feeding.output.shape:
        return math.nan, math.nan
    if term.kept is not None and not bool(term.kept.all()):
        return math.nan, math.nan
    sums = target.float().sum(axis)
    off, above = (sums - 1).abs() > 10 * TOLERANCE, sums > 1 + 10 * TOLERANCE
    shares: list[float] = torch.stack([off.float().mean(), above.float().mean()]).tolist()
    return shares[0], shares[1]


def _collapsed(target: Tensor, feeding: Feeding) -> Tensor:
    """Return the targets without the axes along which broadcasting only repeats them."""
    shape, output = target.shape, feeding.output.shape
    padded = (1,) * (len(shape) - len(output)) + output
    for axis, size in enumerate(shape):
        first = target.narrow(axis, 0, 1)
        # Along an axis of its own size the output was not repeated, so there the targets may have been.
        own = padded[axis] == size and (feeding.broadcast or axis == len(shape) - 1 > 0)
        repeated = target.stride(axis) == 0 or (own and torch.allclose(target, first.expand_as(target)))
        target = first if size > 1 and repeated else target
    while target.ndim > 1 and target.shape[0] == 1 and len(output) > 1 and shape[0] > 1:
        target = target[0]
    return target


def _entry(single: Tensor, target: Tensor, batch: list[Tensor]) -> int:
    """Return the position of the tensor of the batch that the targets are, also as one-hot; -1 for none."""
    same = next((i for i, candidate in enumerate(batch) if _is_same(candidate, single)), -1)
    if same >= 0:
        return same
    if target.ndim == 2 and target.is_floating_point() and target.shape[1] > 1:
        labels = target.argmax(1)
        whole = [i for i, candidate in enumerate(batch) if not candidate.is_floating_point()]
        return next((i for i in whole if _is_same(batch[i], labels)), -1)
    return -1


def _is_same(candidate: Tensor, target: Tensor) -> bool:
    """Return whether two tensors hold the same numbers in the same order, in any shape."""
    if candidate.numel() != target.numel() or candidate.device != target.device or candidate.is_complex():
        return False
    return candidate.data_ptr() == target.data_ptr() or _equal(candidate, target)


def _equal(candidate: Tensor, target: Tensor) -> bool:
    one, other = candidate.reshape(-1).float(), target.reshape(-1).float()
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().amax()))


def _is_input(entry: int, batch: list[Tensor]) -> bool:
    """Return whether a tensor of the batch is the input: the first, or the only one with real numbers."""
    real = [i for i, tensor in enumerate(batch) if tensor.is_floating_point()]
    return entry in real[:1] and (entry == 0 or len(real) == 1)
