"""Input gradients of a norm: right ones against differences, and wrong ones against right ones."""

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor

from nnfoundations import nn
from nnfoundations.labs.normalization.network import Norm, NormalizedMLP

__all__ = ["check_gradients", "normalize"]

Statistic = Literal["mean", "variance"]


def normalize(x: Tensor, norm: Norm, constant: Collection[Statistic] = (), eps: float = 1e-5) -> Tensor:
    """Normalize, without weight and bias, perhaps with a wrong gradient.

    Args:
        x: `(N, C)`.
        norm: not "none".
        constant: statistics whose gradient is left out, as if they did not depend on x.
        eps: added to the variance.

    Returns:
        Tensor of the shape of x.
    """
    groups = {"batch": x.T, "group": x.reshape(-1, 16)}.get(norm, x)  # a row for each mean
    mean = groups.new_zeros(()) if norm == "rms" else groups.mean(-1, keepdim=True)
    variance = (groups - mean).square().mean(-1, keepdim=True)
    mean = mean.detach() if "mean" in constant else mean
    variance = variance.detach() if "variance" in constant else variance
    y = (groups - mean) / (variance + eps).sqrt()
    return y.T if norm == "batch" else y.reshape(x.shape)


def check_gradients(net: NormalizedMLP, norm: Norm, x: Tensor, target: Tensor) -> dict[str, float]:
    """Check the gradients of the first hidden layer on a batch, in float64.

    Args:
        net: in training mode; it is changed to float64.
        norm: of its layers; not "none".
        x: images.
        target: their classes.

    Returns:
        `gradient_error`: of the gradient of the input of the norm, relative, against central differences
        along five random directions: the largest. `cosine_NAME`: of the right gradient of the first weight
        and a wrong one: with ReLU's mask from before the norm, without the term of the mean, and without that
        of the variance. RMSNorm subtracts no mean, so it has no `cosine_mean`.
    """
    flatten, linear, layer, activation, *rest = net.double().layers
    images, loss_of = flatten(x.double()), nn.CrossEntropyLoss()

    def loss_after(output: Tensor) -> Tensor:
        for module in rest:
            output = module(output)
        loss: Tensor = loss_of(output, target)
        return loss

    z = linear(images).detach().requires_grad_()
    y = layer(z)
    output = activation(y)
    above, right = torch.autograd.grad(loss_after(output), (output, z), retain_graph=True)

    errors = []
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(5):
            step = 1e-6 * torch.randn(z.shape, generator=generator, dtype=z.dtype)
            ends = [loss_after(activation(layer(z + sign * step))) for sign in (1, -1)]
            rise, slope = (ends[0] - ends[1]) / 2, (right * step).sum()
            errors.append(float(abs(rise - slope) / abs(rise)))
    found = {"gradient_error": max(errors)}

    def cosine(wrong: Tensor) -> float:
        return float(torch.cosine_similarity((right.T @ images).flatten(), (wrong.T @ images).flatten(), 0))

    (wrong,) = torch.autograd.grad(y, z, above * (z > 0))
    found["cosine_mask"] = cosine(wrong)
    for name in ("mean", "variance"):
        if (norm, name) != ("rms", "mean"):
            n = normalize(z, norm, (name,))
            (wrong,) = torch.autograd.grad(n, z, above * (y > 0) * layer.weight)
            found[f"cosine_{name}"] = cosine(wrong)
    return found
