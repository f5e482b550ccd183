"""Measures whether outputs depend on tokens that are known to be padding."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nnfoundations.diagnostics.evaluation._call import ROWS, Call, NotEvaluatedError
from nnfoundations.diagnostics.evaluation._mixing import SAME, deviation

__all__ = ["Masking", "measure_masking"]


class Masking(NamedTuple):
    """Padding, and what depends on it.

    `padding`: share of the positions that are padding. `moved`: how far outputs move when only padding
    changes, in standard deviations over the samples (or over the tokens, where each has an output). `given`:
    1 if the network gets a mask of the padding, 0 if an embedding has a `padding_idx`. `where`: its name.
    """

    padding: float
    moved: float
    given: float
    where: str = ""


def measure_masking(call: Call, named: Callable[[nn.Module], str]) -> Masking:
    """Put other tokens in place of the padding. The module is in evaluation mode, without gradients.

    Args:
        call: the call of the network.
        named: returns the name of a module in the model.

    Raises:
        NotEvaluatedError: no padding is known, or the network draws random numbers.
    """
    part = call.part(slice(0, min(call.samples, ROWS)))
    for x in part.inputs:
        for mask in part.inputs:
            padded = None if mask is x else _padding_of(x, mask)
            if padded is not None:
                other = part.replaced(partial(_instead, x, _changed(x, padded)))
                return Masking(float(padded.double().mean()), _moved(part, other, padded), 1.0)
    return _by_embedding(part, named)


def _by_embedding(part: Call, named: Callable[[nn.Module], str]) -> Masking:
    layer = _embedding(part.module)
    ids = next((x for x in part.inputs if x.ndim == 2 and x.dtype in (torch.int64, torch.int32)), None)
    if layer is None or layer.padding_idx is None or ids is None:
        raise NotEvaluatedError("no padding with a known mask was seen")
    at = ids == layer.padding_idx
    if not bool(at.any()) or _full(at):
        raise NotEvaluatedError("no padding with a known mask was seen")

    def change(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return _changed(output, at) if args and args[0].shape == at.shape else None

    with ExitStack() as stack:
        moved = _moved(part, part, at, lambda: stack.enter_context(layer.register_forward_hook(change)))
    return Masking(float(at.double().mean()), moved, 0.0, named(layer))


def _padding_of(x: Tensor, mask: Tensor) -> Tensor | None:
    """Return where a tensor of tokens is padding by a mask, whichever of its two values means that."""
    if x.ndim < 2 or x.dtype is torch.bool or mask.shape != x.shape[:2]:
        return None
    low = mask.amin()
    if not bool(((mask == low) | (mask == mask.amax())).all()):
        return None
    for padded in (mask == low, mask != low):
        if not bool(padded.any()) or _full(padded) or not _at_an_end(padded):
            continue
        values = x[padded]
        if bool((values == values[0]).all()) and not bool(_equal(x[~padded], values[0]).any()):
            return padded
    return None


def _equal(tokens: Tensor, one: Tensor) -> Tensor:
    """Return which tokens, numbers or vectors, equal one."""
    return (tokens == one).reshape(len(tokens), -1).all(1)


def _full(padded: Tensor) -> bool:
    """Return whether a row has nothing but padding."""
    return bool(padded.all(1).any())


def _at_an_end(padded: Tensor) -> bool:
    """Return whether each row has its padding at the end, or each at the beginning."""
    later = padded[:, 1:].int() - padded[:, :-1].int()
    return bool((later >= 0).all()) or bool((later <= 0).all())


def _changed(x: Tensor, padded: Tensor) -> Tensor:
    """Return tokens with real ones in place of the padding."""
    real, x = x[~padded], x.clone()
    x[padded] = real[torch.arange(int(padded.sum()), device=x.device) * 7 % len(real)]
    return x


def _instead(one: Tensor, other: Tensor, x: Tensor) -> Tensor:
    return other if x is one else x


def _moved(part: Call, other: Call, padded: Tensor, prepare: Callable[[], Any] = lambda: None) -> float:
    """Return how far the outputs of samples with padding move, at their real tokens."""
    before, again = part.run(), part.run()
    if bool((deviation(again, before) > SAME).any()):
        raise NotEvaluatedError("the network draws random numbers in evaluation mode")
    prepare()
    after = other.run()
    if len(before) != len(padded) or after.shape != before.shape:
        raise NotEvaluatedError("the network has no output row for each sample")
    rows = padded.any(1)
    if before.ndim > 2 and before.shape[1] == padded.shape[1]:
        real = ~padded[rows]
        before, after = before[rows][real], after[rows][real]
        return float(deviation(after, before).median())
    return float(deviation(after, before)[rows].median())


def _embedding(module: nn.Module) -> nn.Embedding | None:
    """Return the embedding that declares padding, if attention of torch reads it."""
    attends = any(isinstance(m, nn.MultiheadAttention) for m in module.modules())
    found = [m for m in module.modules() if isinstance(m, nn.Embedding) and m.padding_idx is not None]
    return found[0] if attends and len(found) == 1 else None
