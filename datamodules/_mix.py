"""Mixup and CutMix with torchvision's v2 transforms.

torchvision is imported only if one of them is used; everything else runs without it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["NAMES", "Mix", "mixing"]

NAMES = ("mixup", "cutmix")

Mix = Callable[[Tensor, Tensor, tuple[int, ...]], tuple[Tensor, Tensor]]


def mixing(names: Sequence[str], num_classes: int) -> Mix:
    """Return a function of x, y and a seed that mixes a batch with a random one of the named methods.

    Shape: x `(N, C, H, W)` float32, y `(N,)` int64 -> x, y `(N, num_classes)` float32, whose rows sum to 1.

    Source: H. Zhang et al. 2018 (mixup, lambda uniform on [0, 1]), S. Yun et al. 2019 (CutMix).
    """
    from torchvision.transforms import v2

    kinds = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
    choices = [kinds[name](num_classes=num_classes) for name in names]

    def mix(x: Tensor, y: Tensor, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        # v2 draws from the global generator of the host, whose state must not change for the model.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            choice = choices[int(torch.randint(len(choices), ()))]
            mixed: tuple[Tensor, Tensor] = choice(x, y)
            return mixed

    return mix
