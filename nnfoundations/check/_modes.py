"""Checks of the forward pass: samples stay apart, evaluation draws nothing, training differs for a reason."""

import copy
import math
from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from nnfoundations.check._inputs import Inputs
from nnfoundations.check._trained_copy import Judgement, TrainedCopy
from nnfoundations.check._trial import hushed
from nnfoundations.check._verdict import State

__all__ = ["evaluation", "evaluation_fault", "independence", "mixing"]


def independence(copy: TrainedCopy) -> Judgement:
    """Compare the output of a sample alone with its output in the batch."""
    difference = mixing(copy.model, copy.inputs)
    if not difference < 1e-4:
        return (
            State.FAIL,
            f"the output of a sample alone differs from that in its batch by {difference:.1e}",
            "Look for a reshape, mean, softmax or recurrence over the batch axis.",
        )
    return State.PASS, f"a sample alone gives what it gives in its batch, within {difference:.0e}", ""


def evaluation(copy: TrainedCopy) -> Judgement:
    """Compare evaluation mode with itself and with training mode."""
    if fault := evaluation_fault(copy.model, copy.inputs):
        return State.FAIL, fault, "Let self.training decide; compare your layer with torch's in both modes."
    return State.PASS, "evaluation is deterministic, and training differs from it only as it should", ""


def mixing(model: LightningModule, inputs: Inputs, rows: int = 4) -> float:
    """Measure how far outputs of single samples are from those in the batch, in evaluation mode.

    Args:
        model: is copied.
        inputs: of a batch.
        rows: how many samples are compared.

    Returns:
        The largest difference, relative to the largest output.

    Raises:
        TypeError: no output has a row for each sample.
    """
    twin = copy.deepcopy(model).eval()
    alone = []
    with hushed(), torch.no_grad():
        torch.manual_seed(0)
        whole = inputs.through(twin)
        for i in range(min(rows, len(inputs))):
            torch.manual_seed(0)
            alone.append(inputs.row(i).through(twin))
    found = [
        _difference(torch.cat(parts), together[: len(alone)], together)
        for together, *parts in zip(whole, *alone, strict=True)
        if together.ndim and len(together) == len(inputs) and together.is_floating_point()
    ]
    if not found:
        raise TypeError("no output has a row for each sample")
    return max(found)


def evaluation_fault(model: LightningModule, inputs: Inputs) -> str:
    """Describe what is wrong with evaluation, or with the statistics and the scale that it needs.

    Args:
        model: is copied.
        inputs: of a batch.

    Returns:
        An empty string if nothing is wrong.
    """
    twin = copy.deepcopy(model).eval()
    with hushed(), torch.no_grad():
        layers = _LayerInputs(twin)
        first = inputs.through(twin)
        layers.remove()
        if _differ(first, inputs.through(twin)):
            return "two passes in evaluation mode differ: something random is still active"
        twin.train()
        faults = (
            _unexplained(twin, inputs, first),
            *(_not_rescaled(twin.get_submodule(name), name, x) for name, x in layers.seen.items()),
            *(_biased_variance(model.get_submodule(name), name, x) for name, x in layers.seen.items()),
        )
    return next(filter(None, faults), "")


class _LayerInputs:
    """The first input of each layer without children, in one forward pass."""

    def __init__(self, model: nn.Module) -> None:
        self.seen: dict[str, Tensor] = {}
        self._handles = [
            module.register_forward_pre_hook(lambda _, args, name=name: self._keep(name, args))
            for name, module in model.named_modules()
            if name and not list(module.children())
        ]

    def _keep(self, name: str, args: tuple[object, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            self.seen.setdefault(name, args[0].clone())

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def _unexplained(model: LightningModule, inputs: Inputs, evaluated: list[Tensor]) -> str:
    """A difference between the modes that is neither random nor from batch statistics."""
    if any(hasattr(module, "running_var") for module in model.modules()):
        return ""
    outputs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        outputs.append(inputs.through(model))
    if _differ(*outputs) or not _differ(outputs[0], evaluated):  # random: dropout of some kind
        return ""
    return "training and evaluation differ, although nothing is random and there is no batch normalization"


def _not_rescaled(module: nn.Module, name: str, x: Tensor) -> str:
    """Describe a user's random layer whose mean in training differs from that in evaluation."""
    if _is_of_torch(module) or not _is_random(module, x):
        return ""
    ones = torch.ones_like(x)
    expected = float(copy.deepcopy(module).eval()(ones).mean())
    if not expected:
        return ""
    ratios = [float(module(ones).mean()) / expected for _ in range(100)]
    away, chance = abs(mean(ratios) - 1), stdev(ratios) / math.sqrt(len(ratios))
    if away > 0.1 and away > 4 * chance:
        return f"{name} has {mean(ratios):.2f} of its evaluation's mean in training: it does not rescale"
    return ""


def _is_random(module: nn.Module, x: Tensor) -> bool:
    if list(module.parameters()):
        return False
    try:
        one, two = module(x), module(x)
    except (TypeError, RuntimeError, ValueError):
        return False
    return isinstance(one, Tensor) and not torch.equal(one, two)


def _biased_variance(module: nn.Module, name: str, x: Tensor) -> str:
    """A running variance after one batch that differs from Bessel's formula by over 0.1 %."""
    momentum, variance = getattr(module, "momentum", None), getattr(module, "running_var", None)
    if _is_of_torch(module) or not isinstance(momentum, float) or not isinstance(variance, Tensor):
        return ""
    if x.ndim < 2:
        return ""
    twin = copy.deepcopy(module).train()
    twin.running_var = torch.zeros_like(variance)
    twin(x)
    updated: Any = twin.running_var
    expected = momentum * x.var(dim=[axis for axis in range(x.ndim) if axis != 1], correction=1)
    ratios = (updated / expected)[expected > 1e-6]
    ratio = float(ratios.median()) if len(ratios) else 1.0
    return f"{name} keeps {ratio:.3f} of the unbiased running variance" if abs(ratio - 1) > 1e-3 else ""


def _is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith(("torch.", "torchvision."))


def _differ(one: list[Tensor], two: list[Tensor]) -> bool:
    """Whether outputs differ by more than rounding, which fused kernels of evaluation change."""
    return len(one) != len(two) or any(_pairs_that_differ(one, two))


def _pairs_that_differ(one: list[Tensor], two: list[Tensor]) -> Iterator[bool]:
    for a, b in zip(one, two, strict=True):
        yield a.shape != b.shape or (not torch.equal(a, b) and not _difference(a, b, b) < 1e-4)


def _difference(one: Tensor, two: Tensor, scale: Tensor) -> float:
    return float((one - two).abs().max() / scale.abs().max().clamp(min=1e-12))
