"""The one schedule that torch has in parts only: a warm-up, then a cosine."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from nnfoundations._errors import OptionError

__all__ = ["WarmupCosineLR"]


class WarmupCosineLR(SequentialLR):
    r"""The rate rises in a line over `warmup` steps, then falls along half a cosine to 0 at step `total`.

    .. math:: \eta_t = \eta \, \frac{t + 1}{\text{warmup} + 1} \;(t < \text{warmup}), \quad
        \frac{\eta}{2} \left(1 + \cos \pi \frac{t - \text{warmup}}{\text{total} - \text{warmup}}\right)

    torch's LinearLR and CosineAnnealingLR one after the other, with one name for a config.

    Args: warmup, total: in calls of `step`, which are epochs in our modules; 1 <= warmup < total.
    Raises: OptionError: they are not.
    Source: Loshchilov and Hutter 2017, eq. 5; warm-up: Goyal et al. 2017, section 2.2.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int) -> None:
        if not 1 <= warmup < total:
            raise OptionError(
                f"WarmupCosineLR needs 1 <= warmup < total; got warmup={warmup}, total={total}. "
                "Take total=max_epochs, and a twentieth of it for warmup."
            )
        self.total = total
        parts = [
            LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup),
            CosineAnnealingLR(optimizer, T_max=total - warmup),
        ]
        super().__init__(optimizer, parts, milestones=[warmup])

    def step(self) -> None:  # type: ignore[override]  # as torch's, without the epoch that it deprecates
        """One step on; from `total` on the rate stays 0, where a bare cosine would rise again."""
        if self.last_epoch < self.total:
            super().step()
