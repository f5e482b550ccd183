"""Convolutional networks for small images: a plain one, and one with residual blocks.

Weights and activations are kept with the channels innermost (`torch.channels_last`): convolutions in half
precision on a GPU want that, and on a CPU it takes 0.4 to 0.7 of the time.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from nnfoundations import nn
from nnfoundations._errors import ShapeError

__all__ = ["ResidualCNN", "SmallCNN"]

LOGIT_SCALE = 0.125


class SmallCNN(nn.Module):
    r"""Convolution, normalization, rectifier and pooling to half the side, twice; then two affine maps.

    .. math:: h_l = \mathrm{pool}(\mathrm{ReLU}(\mathrm{BN}(W_l * h_{l-1}))), \quad
        y = W_2\,\mathrm{dropout}(\mathrm{ReLU}(W_1\,\mathrm{flatten}(h_L) + b_1)) + b_2

    Shape: x `(N, *shape)` -> `(N, num_classes)`.
    Args:
        shape: channels, height and width of an image.
        num_classes: logits.
        channels: of each convolution; each halves height and width.
        hidden: features between the two affine maps.
        dropout: probability, before the last map.
    Raises: ShapeError: shape is not of three sizes, or an image is too small to be halved that often.
    Source: LeCun et al. 1998, with the parts of Ioffe and Szegedy 2015 and Srivastava et al. 2014.

    >>> import torch
    >>> SmallCNN()(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
        *,
        channels: Sequence[int] = (32, 64),
        hidden: int = 128,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        height, width = _halved("SmallCNN", shape, len(channels))
        layers: list[nn.Module] = []
        for before, after in pairwise((shape[0], *channels)):
            layers += [*_convolution(before, after), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(channels[-1] * height * width, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        _initialise(self, last=0.1)  # the loss begins at log K, yet every layer learns from the first step

    def forward(self, x: Tensor) -> Tensor:
        """(N, *shape) -> (N, num_classes)."""
        y: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last))
        return y


class ResidualBlock(nn.Module):
    r"""Two 3x3 convolutions beside the identity.

    .. math:: y = x + \mathrm{ReLU}(\mathrm{BN}(W_2 * \mathrm{ReLU}(\mathrm{BN}(W_1 * x))))

    Shape: x `(N, C, H, W)` -> the same.
    Source: He et al. 2016, in the form of D. Page 2018, the rectifier before the sum.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y: Tensor = x + self.layers(x)
        return y


class ResidualCNN(nn.Module):
    r"""A convolution; stages that halve the side and widen, a residual block in each; an affine map.

    .. math:: h_0 = c_0(x), \quad h_l = r_l(\mathrm{pool}(c_l(h_{l-1}))), \quad
        y = (W \max_{\text{places}} h_L + b) / 8

    where c is convolution, normalization and rectifier, and r a residual block. Maxima of residual sums have
    a mean square far above 1: undivided, the loss begins above log K, and curves so steeply in W that rates
    of 0.03 and more diverge.

    Shape: x `(N, C, H, W)` with `shape` (C, H, W) -> `(N, num_classes)`.
    Args:
        shape: channels, height and width of an image.
        num_classes: logits.
        channels: of the first convolution and of each stage.
    Raises: ShapeError: shape is not of three sizes, or an image is too small to be halved that often.
    Source: He et al. 2016; the stages and the division by 8 as in D. Page 2018 (ResNet-9).

    >>> import torch
    >>> ResidualCNN(channels=[4, 8, 8])(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        shape: Sequence[int] = (3, 32, 32),
        num_classes: int = 10,
        *,
        channels: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        _halved("ResidualCNN", shape, len(channels) - 1)
        layers = _convolution(shape[0], channels[0])
        for before, after in pairwise(channels):
            layers += [*_convolution(before, after), nn.MaxPool2d(2), ResidualBlock(after)]
        self.layers = nn.Sequential(
            *layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels[-1], num_classes)
        )
        _initialise(self, last=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, num_classes)."""
        y: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last))
        return y * LOGIT_SCALE


def _convolution(before: int, after: int) -> list[nn.Module]:
    # No bias: the normalization would subtract it.
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


def _halved(name: str, shape: Sequence[int], times: int) -> tuple[int, int]:
    if len(shape) != 3 or min(shape[1:]) < 2**times:
        raise ShapeError(
            f"{name} halves images {times} times and needs a shape (channels, height, width) with sides of "
            f"at least {2**times}; got {tuple(shape)}. Take fewer channels, or larger images."
        )
    return shape[1] // 2**times, shape[2] // 2**times


def _initialise(net: nn.Module, *, last: float) -> None:
    """Channels innermost; variances 2 / fan_in before a rectifier, last^2 / fan_in at the end; no biases."""
    net.to(memory_format=torch.channels_last)
    maps = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in maps:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    nn.init.normal_(maps[-1].weight, std=last / maps[-1].weight.shape[1] ** 0.5)
