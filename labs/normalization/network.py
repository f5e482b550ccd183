"""Networks of equal hidden layers with a norm in each, and one with a well-known wrong gradient."""

from typing import Literal

from torch import Tensor

from nnfoundations import nn
from nnfoundations.models import MLP

__all__ = ["Mask", "MaskFromBefore", "Norm", "NormalizedMLP"]

Norm = Literal["none", "batch", "layer", "rms", "group"]
Mask = Literal["after", "before"]


class MaskFromBefore(nn.Module):
    """A norm and ReLU whose gradient has the mask of the sums in front of the norm. It is wrong.

    Its output is right. The mask should be where the output of the norm is positive.

    Args:
        norm: in front of ReLU.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Compute the right output with the wrong gradient."""
        y: Tensor = self.norm(x)
        wrong = y * (x > 0)
        return wrong + (nn.functional.relu(y) - wrong).detach()


class NormalizedMLP(MLP):
    """An MLP for 28x28 images with hidden layers of 64 units: linear, norm, ReLU.

    Networks with the same seed have the same initial weights, whatever their norm.

    Args:
        depth: the number of hidden layers.
        norm: see `MLP`; groups have 16 units.
        mask: "before" takes ReLU's mask in the backward pass from before the norm, which is wrong.

    Example:
        >>> [type(layer).__name__ for layer in NormalizedMLP(1, "rms").layers]
        ['Flatten', 'Linear', 'RMSNorm', 'ReLU', 'Linear']
    """

    def __init__(self, depth: int = 2, norm: Norm = "none", mask: Mask = "after") -> None:
        super().__init__([784, *[64] * depth, 10], norm=norm)
        if mask == "before" and norm != "none":
            flatten, *layers = self.layers
            hidden = [(layers[i], MaskFromBefore(layers[i + 1])) for i in range(0, 3 * depth, 3)]
            self.layers = nn.Sequential(flatten, *(layer for pair in hidden for layer in pair), layers[-1])
