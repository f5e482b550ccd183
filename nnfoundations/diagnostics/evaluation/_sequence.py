"""Measures how the outputs for a sequence depend on its tokens, and what its targets are."""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from nnfoundations.diagnostics.evaluation._call import ROWS, Call, NotEvaluatedError
from nnfoundations.diagnostics.evaluation._mixing import SAME

__all__ = ["Sequence", "measure_sequence"]

SHORTEST = 4
"""Smallest number of tokens of a sequence."""


class Sequence(NamedTuple):
    """What is measured of a network whose output has a row for each token.

    `shifted`: share of the targets that are the input one step ahead. `equal`: share that are the input of
    the same step. `ahead`: how far outputs move when only later tokens change, relative to the outputs of
    those tokens. `own`: the same for the output of the first changed token, relative to the later ones.
    `padding`: share of the counted targets that are padding at the end of a row. `value`: that target.
    """

    shifted: float
    equal: float
    ahead: float = math.nan
    own: float = math.nan
    padding: float = 0.0
    value: float = math.nan


def measure_sequence(call: Call, targets: Tensor, counted: Tensor | None = None) -> Sequence:
    """Compare targets with inputs, and change the second half of each sequence.

    The module is in evaluation mode, without gradients.

    Args:
        call: the call of the network.
        targets: the targets of the loss.
        counted: which of the targets count, as a flat mask; None for all.

    Raises:
        NotEvaluatedError: the network is not one of sequences.
    """
    at, tokens, aligned = _tokens(call, targets)
    steps = tokens.shape[1]
    kept = torch.ones_like(aligned, dtype=torch.bool) if counted is None else counted.reshape(aligned.shape)
    if not bool(kept.any()):
        raise NotEvaluatedError("the loss leaves out all targets")
    ahead = tokens[:, 1 : 1 + aligned.shape[1]]
    compared = kept[:, : ahead.shape[1]]
    shifted = float((ahead == aligned[:, : ahead.shape[1]])[compared].double().mean())
    same = tokens[:, : aligned.shape[1]] == aligned
    equal = float(same[kept].double().mean())
    padding, value = _padding(tokens[:, : aligned.shape[1]], aligned, kept)
    if max(shifted, equal) < 0.9:
        return Sequence(shifted, equal, padding=padding, value=value)
    moved = _moves(call, at, steps // 2)
    first = steps // 2
    later = moved[:, first:].mean()
    if not later > 0:
        return Sequence(shifted, equal, padding=padding, value=value)
    judged = kept[: len(moved), :first]
    before = moved[:, : judged.shape[1]][judged] / later
    own = float(moved[:, first].mean() / moved[:, first + 1 :].mean().clamp(min=1e-30))
    return Sequence(shifted, equal, float(before.amax()) if before.numel() else math.nan, own, padding, value)


def _tokens(call: Call, targets: Tensor) -> tuple[int, Tensor, Tensor]:
    """Find the input with the tokens of the targets; return its position, and both as rows.

    Where the loss takes its targets from the second input on, each row has one target less.
    """
    if targets.is_floating_point() or targets.is_complex():
        raise NotEvaluatedError("the targets are not classes")
    for at, x in enumerate(call.inputs):
        if x.ndim != 2 or x.is_floating_point() or x.shape[1] < SHORTEST or x.dtype is torch.bool:
            continue
        n, steps = x.shape
        for length in (steps, steps - 1):
            if targets.numel() == n * length:
                return at, x, targets.reshape(n, length)
    raise NotEvaluatedError("no input has a token for each target")


def _moves(call: Call, at: int, first: int) -> Tensor:
    """Return how far the output of each step moves when the tokens from `first` on change."""
    n = min(len(call.inputs[at]), ROWS)
    part = call.part(slice(0, n)) if all(len(x) >= n for x in call.inputs if x.ndim) else call
    tokens = part.inputs[at]
    changed = tokens.clone()
    tail = tokens[:, first:]
    changed[:, first:] = torch.where((tail.roll(1, 0) == tail), tail.flip(1), tail.roll(1, 0))
    before, again, after = (
        _rows(part.replaced(partial(_swapped, tokens, now)).run(), tokens)
        for now in (tokens, tokens, changed)
    )
    if bool(((again - before).abs() > SAME * before.abs().amax()).any()):
        raise NotEvaluatedError("the network draws random numbers in evaluation mode")
    return (after - before).square().mean(-1).sqrt()


def _swapped(one: Tensor, other: Tensor, x: Tensor) -> Tensor:
    return other if x is one else x


def _rows(y: Tensor, tokens: Tensor) -> Tensor:
    """Return an output with samples first, steps second and classes last."""
    n, steps = tokens.shape
    if y.ndim == 2 and len(y) == n * steps:
        return y.reshape(n, steps, -1)
    if y.ndim == 3 and len(y) == n and y.shape[1] == steps:
        return y
    if y.ndim == 3 and len(y) == n and y.shape[2] == steps:
        return y.transpose(1, 2)
    raise NotEvaluatedError("the network has no output for each token")


def _padding(tokens: Tensor, targets: Tensor, kept: Tensor) -> tuple[float, float]:
    """Return the share of the counted targets that are padding, and the value of such a target."""
    last, target = tokens[:, -1].mode(0).values, targets[:, -1].mode(0).values
    pad = (tokens == last) & (targets == target)
    run = pad.flip(1).cumprod(1).flip(1).bool()  # from a position to the end of its row
    lengths = run.sum(1)
    if int((lengths > 0).sum()) * 2 < len(run) or bool((lengths == lengths[0]).all()):
        return 0.0, math.nan  # rows of one length end in the same way for another reason
    return float((run & kept).sum() / kept.sum()), float(target)
