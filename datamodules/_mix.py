"""Mixup and CutMix: pairs of samples and their labels, by torchvision's v2 transforms.

Imported only where they are asked for: all else runs without torchvision.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

NAMES = ("mixup", "cutmix")

Mix = Callable[[Tensor, Tensor, tuple[int, ...]], tuple[Tensor, Tensor]]


def mixing(names: Sequence[str], num_classes: int) -> Mix:
    """A function of x, y and a seed that mixes the batch by one of the names, drawn evenly.

    Shape: x `(N, C, H, W)` float32, y `(N,)` int64 -> the same x, y `(N, num_classes)` float32, rows sum to 1.
    Source: H. Zhang et al. 2018 (mixup, lambda even over [0, 1]), S. Yun et al. 2019 (CutMix).
    """
    from torchvision.transforms import v2

    kinds = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
    choices = [kinds[name](num_classes=num_classes) for name in names]

    def mix(x: Tensor, y: Tensor, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        # v2 draws from torch's own generator on the host: what the model draws there must not change.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            choice = choices[int(torch.randint(len(choices), ()))]
            mixed: tuple[Tensor, Tensor] = choice(x, y)
            return mixed

    return mix
