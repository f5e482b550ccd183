"""A learning-rate schedule with warm-up and cosine decay."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from nnfoundations.errors import OptionError

__all__ = ["WarmupCosineLR"]


class WarmupCosineLR(SequentialLR):
    r"""Learning-rate schedule: linear warm-up, then half a cosine down to zero.

    .. math:: \eta_t = \eta \, \frac{t + 1}{\text{warmup} + 1} \;(t < \text{warmup}), \quad
        \frac{\eta}{2} \left(1 + \cos \pi \frac{t - \text{warmup}}{\text{total} - \text{warmup}}\right)

    It runs torch's LinearLR and CosineAnnealingLR one after the other, under one name for configs. After
    `total` steps the rate stays 0.

    Args:
        optimizer: the optimizer whose rate is set.
        warmup: length of the warm-up in calls of `step`, which are epochs in our modules; at least 1.
        total: length of the whole schedule in calls of `step`; more than `warmup`.

    Raises:
        OptionError: not 1 <= warmup < total.

    Source:
        Loshchilov and Hutter 2017, eq. 5; warm-up: Goyal et al. 2017, section 2.2.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> schedule = WarmupCosineLR(optimizer, warmup=3, total=10)
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int) -> None:
        if not 1 <= warmup < total:
            raise OptionError(
                f"WarmupCosineLR needs 1 <= warmup < total; got warmup={warmup}, total={total}. "
                "Use total=max_epochs and a twentieth of it for warmup."
            )
        self.total = total
        parts = [
            LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup),
            CosineAnnealingLR(optimizer, T_max=total - warmup),
        ]
        super().__init__(optimizer, parts, milestones=[warmup])

    def step(self) -> None:  # type: ignore[override]  # without torch's deprecated epoch argument
        """Advance by one step; after `total` steps the rate stays 0, where a cosine would rise again."""
        if self.last_epoch < self.total:
            super().step()
