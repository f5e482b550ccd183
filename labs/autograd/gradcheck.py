"""Gradients of the engine against torch's autograd, and against differences with every step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from nnfoundations import autograd
from nnfoundations.formulas import Array

__all__ = ["STEPS", "central_errors", "gradient_error", "passes_gradcheck"]

STEPS = tuple(10.0**-k for k in range(1, 13))
TORCH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu, "gelu": torch.nn.functional.gelu, "silu": torch.nn.functional.silu,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid,
}  # fmt: skip


def gradient_error(net: autograd.MLP, activation: str, x: Array, y: Array) -> float:
    """The largest difference from torch's gradients, relative to the largest gradient.

    Args:
        net: in float64.
        activation: its activation.
        x: a batch.
        y: its targets.

    Returns:
        The relative difference.
    """
    weights = {name: torch.tensor(array, requires_grad=True) for name, array in net.parameters.items()}
    h = flat = torch.from_numpy(x).flatten(1)
    layers = sum(name.endswith("bias") for name in weights)
    for i in range(layers):
        h = h @ weights[f"{i}.weight"].T + weights[f"{i}.bias"]
        h = TORCH[activation](h) if i < layers - 1 else h
    if "skip.weight" in weights:
        h = h + flat @ weights["skip.weight"].T
    target = torch.from_numpy(y)
    mse, cross_entropy = torch.nn.functional.mse_loss, torch.nn.functional.cross_entropy
    (mse if target.is_floating_point() else cross_entropy)(h, target).backward()
    _, _, ours = net.differentiate(x, y)
    theirs = {name: weight.grad.numpy() for name, weight in weights.items() if weight.grad is not None}
    largest = max(np.abs(one).max() for one in theirs.values())
    return float(max(np.abs(ours[name] - theirs[name]).max() for name in theirs) / largest)


def central_errors(net: autograd.MLP, x: Array, y: Array, entries: int = 10) -> list[tuple[float, float]]:
    """The error of central differences for each step.

    Args:
        net: in float64; its parameters are restored.
        x: a batch.
        y: its targets.
        entries: how many entries of the parameters are tried.

    Returns:
        Pairs of a step and the largest error, relative to the largest gradient.
    """
    _, _, gradients = net.differentiate(x, y)
    places = [(name, i) for name, array in net.parameters.items() for i in range(array.size)]
    generator = np.random.default_rng(0)
    chosen = [places[i] for i in generator.permutation(len(places))[:entries]]
    largest = max(np.abs(gradients[name]).max() for name in gradients) or 1.0

    def difference(name: str, i: int, step: float) -> float:
        flat = net.parameters[name].reshape(-1)
        kept, ends = flat[i], []
        for sign in (1, -1):
            flat[i] = kept + sign * step
            ends.append(net.loss(net(x), y).item())
        flat[i] = kept
        return (ends[0] - ends[1]) / (2 * step)

    return [
        (step, float(max(abs(difference(n, i, step) - gradients[n].flat[i]) for n, i in chosen) / largest))
        for step in STEPS
    ]


def passes_gradcheck(net: autograd.MLP, x: Array, y: Array) -> bool:
    """Whether the loss and its gradients pass `torch.autograd.gradcheck` in fast mode.

    Args:
        net: in float64.
        x: a batch.
        y: its targets.
    """
    kept = dict(net.parameters)

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *weights: torch.Tensor) -> torch.Tensor:
            arrays = [w.detach().numpy() for w in weights]
            net.bind(dict(zip(kept, arrays, strict=True)))
            loss, _, gradients = net.differentiate(x, y)
            ctx.gradients = [torch.from_numpy(gradients[name].copy()) for name in kept]
            return torch.tensor(loss, dtype=torch.float64)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(grad * one for one in ctx.gradients)

    weights = tuple(torch.tensor(array, requires_grad=True) for array in kept.values())
    try:
        return torch.autograd.gradcheck(Loss.apply, weights, fast_mode=True, raise_exception=False)
    finally:
        net.bind(kept)
