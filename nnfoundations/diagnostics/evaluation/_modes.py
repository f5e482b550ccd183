"""Compares the loss of one batch in training mode, without randomness, and in evaluation mode."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnfoundations.diagnostics._loss_terms import Term
from nnfoundations.diagnostics.evaluation._call import Call, regular
from nnfoundations.diagnostics.evaluation._mixing import SAME, deviation
from nnfoundations.diagnostics.evaluation._operations import Operations

__all__ = ["Modes", "loss_of", "measure_modes"]


_IGNORED = -100
"""The label that a cross-entropy leaves out."""


@dataclass
class Modes:
    """The loss of one batch and one state of the weights in several modes; NaN if it is not known.

    Args:
        train: in training mode, as it is: with dropout, and with the statistics of this batch.
        plain: in training mode, but dropout, recurrent and normalization layers in evaluation mode.
        evaluation: in evaluation mode.
        gap: how far outputs move between `plain` and `evaluation`, in standard deviations over the samples;
            NaN if `plain` draws random numbers.
        repeated: how far outputs move between two passes in evaluation mode.
        dropout: the modules in which dropout was applied in evaluation mode.
        draws: whether other random numbers were drawn in evaluation mode.
        entropies: the entropy of attention by module, from 0 to 1.
    """

    train: float = math.nan
    plain: float = math.nan
    evaluation: float = math.nan
    gap: float = math.nan
    repeated: float = math.nan
    dropout: tuple[str, ...] = ()
    draws: bool = False
    entropies: dict[str, Tensor] = field(default_factory=dict)


def measure_modes(call: Call, term: Term | None, named: Callable[[nn.Module], str]) -> Modes:
    """Run a call in evaluation mode twice, in training mode, and in training mode without randomness.

    The module is in evaluation mode, without gradients. Its state is restored by the caller.

    Args:
        call: the call of the network.
        term: the term of the loss that the network feeds; None if it is not known.
        named: returns the name of a module in the model.
    """
    found = Modes()
    running: list[str] = [call.name]

    def enter(module: nn.Module, inputs: object) -> None:
        running.append(named(module))

    def leave(module: nn.Module, inputs: object, output: object) -> None:
        running.pop()

    with ExitStack() as stack:
        for module in call.module.modules():
            stack.enter_context(module.register_forward_pre_hook(enter))
            stack.enter_context(module.register_forward_hook(leave))
        with Operations(lambda: running[-1]) as operations:
            output = call.run()
    found.dropout, found.draws = tuple(operations.dropout), operations.draws
    found.entropies = operations.entropies
    found.evaluation = loss_of(term, output)
    found.repeated = float(deviation(call.run(), output).amax())
    if found.repeated > SAME or len(output) < 2:
        return found
    with call.mode(regular):
        plain = call.run()
        if float(deviation(call.run(), plain).amax()) <= SAME and plain.shape == output.shape:
            found.gap, found.plain = float(deviation(output, plain).median()), loss_of(term, plain)
    with call.mode(lambda module: True):
        found.train = loss_of(term, call.run())
    return found


def loss_of(term: Term | None, output: Tensor) -> float:
    """Return the loss of an output for the targets of a term; NaN if the term is not a known function of it.

    Weights and label smoothing are not counted.
    """
    if term is None or term.target is None or not term.clear:
        return math.nan
    logits = _shaped(output, tuple(term.feeding.output.shape))
    if logits is None:
        return math.nan
    if term.kind == "cross-entropy" and term.labelled:
        return _cross_entropy(logits, term.target, term.kept)
    if term.target.numel() != logits.numel():
        return math.nan
    target = term.target.reshape(logits.shape).double()
    if term.kind == "binary-cross-entropy-with-logits":
        return float(F.binary_cross_entropy_with_logits(logits, target))
    return float((logits - target).square().mean()) if term.node.kind == "MseLoss" else math.nan


def _cross_entropy(logits: Tensor, target: Tensor, kept: Tensor | None) -> float:
    places = logits.shape[:1] + logits.shape[2:]
    if target.is_floating_point() or target.numel() != math.prod(places):
        return math.nan
    if kept is not None:
        target = torch.where(kept, target.reshape(-1), _IGNORED)
    return float(F.cross_entropy(logits, target.reshape(places), ignore_index=_IGNORED))


def _shaped(output: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Return an output as the loss takes it: in its order, or with the classes second in place of last."""
    if output.shape == shape:
        return output
    if len(shape) > 2 and output.movedim(-1, 1).shape == shape:
        return output.movedim(-1, 1)
    if output.numel() != math.prod(shape) or (len(shape) == 2 and output.shape[-1] != shape[-1] > 1):
        return None
    return output.reshape(shape)
