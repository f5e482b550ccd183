"""What a forward pass must not do: mix samples, draw at evaluation, change where nothing says so."""

import copy
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from nnfoundations.check._inputs import Inputs
from nnfoundations.check._trial import hushed

Captured = dict[str, Tensor]


def mixing(model: LightningModule, inputs: Inputs, rows: int = 4) -> float:
    """How far the output of a row alone is from that of the row in its batch, at evaluation, relative."""
    twin = copy.deepcopy(model).eval()
    alone = []
    with hushed(), torch.no_grad():
        torch.manual_seed(0)
        whole = inputs.through(twin)
        for i in range(min(rows, len(inputs))):
            torch.manual_seed(0)
            alone.append(inputs.row(i).through(twin))
    found = [
        float((torch.cat(parts) - together[: len(alone)]).abs().max() / together.abs().max().clamp(min=1e-12))
        for together, *parts in zip(whole, *alone, strict=True)
        if together.ndim and len(together) == len(inputs) and together.is_floating_point()
    ]
    if not found:
        raise TypeError("no output has a row a sample")
    return max(found)


def evaluation_fault(model: LightningModule, inputs: Inputs) -> str:
    """What is wrong with evaluation or with what it rests on; empty where nothing is."""
    twin = copy.deepcopy(model).eval()
    with hushed(), torch.no_grad():
        seen: Captured = {}

        def see(name: str, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                seen.setdefault(name, args[0].clone())

        handles = [
            module.register_forward_pre_hook(lambda _, args, name=name: see(name, args))
            for name, module in twin.named_modules()
            if name and not list(module.children())
        ]
        first = inputs.through(twin)
        for handle in handles:
            handle.remove()
        if not _equal(first, inputs.through(twin)):
            return "two passes in evaluation mode differ: something is drawn there"
        twin.train()
        torch.manual_seed(0)
        training = inputs.through(twin)
        modules = dict(model.named_modules())
        known = any(isinstance(module, _DropoutNd | _NormBase) for module in modules.values())
        own_leaf = [name for name in seen if _is_random(twin.get_submodule(name), seen[name])]
        statistics = [name for name, module in modules.items() if hasattr(module, "running_var")]
        if not _equal(first, training) and not known and not own_leaf and not statistics:
            return (
                "training and evaluation differ, and no dropout or batch normalization is there to explain it"
            )
        for name in own_leaf:
            if (ratio := _kept_mean(twin.get_submodule(name), seen[name])) is not None and abs(
                ratio - 1
            ) > 0.1:
                return f"{name} has {ratio:.2f} of its evaluation's mean in training: it does not rescale"
        for name in statistics:
            if name in seen and (ratio := _variance_ratio(modules[name], seen[name])) is not None:
                return f"{name} keeps {ratio:.3f} of the unbiased running variance"
    return ""


def _equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(map(torch.equal, one, two))


def _is_random(module: torch.nn.Module, x: Tensor) -> bool:
    if list(module.parameters()):
        return False
    try:
        one, two = module(x), module(x)
    except (TypeError, RuntimeError, ValueError):
        return False
    return isinstance(one, Tensor) and not torch.equal(one, two)


def _kept_mean(module: torch.nn.Module, x: Tensor, draws: int = 100) -> float | None:
    """The mean of a layer in training over that in evaluation, on ones; None where it does not say."""
    ones = torch.ones_like(x)
    expected = float(copy.deepcopy(module).eval()(ones).mean())
    return sum(float(module(ones).mean()) for _ in range(draws)) / draws / expected if expected else None


def _variance_ratio(module: torch.nn.Module, x: Tensor) -> float | None:
    """The running variance after one batch over that of Bessel's formula, where they differ by over 0.1 %."""
    momentum = getattr(module, "momentum", None)
    if not isinstance(momentum, float) or x.ndim < 2 or not isinstance(module.running_var, Tensor):
        return None
    twin = copy.deepcopy(module).train()
    twin.running_var.fill_(1.0)  # type: ignore[operator]  # a buffer, by the test above
    twin(x)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    expected = (1 - momentum) + momentum * x.var(dim=axes, correction=1)
    ratio = (twin.running_var - (1 - momentum)) / (expected - (1 - momentum))  # type: ignore[operator]  # a buffer
    ratio = ratio[expected > 1 - momentum + 1e-6]
    median = float(ratio.median()) if len(ratio) else 1.0
    return median if abs(median - 1) > 1e-3 else None
