"""Is the gradient that of the loss? Against differences of the loss itself, in float64."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from nnfoundations.check._trial import trained

TOLERANCE = 1e-5
MOST = 40
"""Parameters that are looked at; of more, evenly spread ones."""


class GradientCheck(Callback):
    r"""For each parameter w and a random direction d of length 1, relative error of

    .. math:: \nabla_w L \cdot d = \frac{L(w + hd) - L(w - hd)}{2h}

    Random numbers are the same in each evaluation. A kink between the two points gives an error that another
    h does not: the smaller of two errors counts.
    """

    def __init__(self) -> None:
        self.errors: dict[str, float] = {}
        self.written: list[str] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        def loss() -> Tensor:
            torch.manual_seed(0)
            out = pl_module.training_step(batch, batch_idx)
            value = out["loss"] if isinstance(out, Mapping) else out
            assert isinstance(value, Tensor)
            return value

        parameters = list(trained(pl_module))
        before = {name: value.detach().clone() for name, value in parameters}
        loss().backward()
        self.written = [name for name, value in parameters if not torch.equal(value, before[name])]
        gradients = {name: value.grad.clone() for name, value in parameters if value.grad is not None}
        with torch.no_grad():
            for name, value in parameters:
                value.copy_(before[name])
        pl_module.zero_grad()
        generator = torch.Generator().manual_seed(0)
        for name, value in parameters[:: max(1, len(parameters) // MOST)]:
            if name not in gradients:
                continue
            direction = torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
            direction /= direction.norm()
            claimed = float((gradients[name] * direction).sum())
            self.errors[name] = min(self._error(loss, value, direction, claimed, h) for h in (1e-5, 1e-6))

    @staticmethod
    def _error(loss: Any, value: Tensor, direction: Tensor, claimed: float, h: float) -> float:
        with torch.no_grad():
            here = value.clone()
            sides = []
            for sign in (1, -1):
                value.copy_(here + sign * h * direction)
                sides.append(float(loss()))
            value.copy_(here)
        found = (sides[0] - sides[1]) / (2 * h)
        return abs(found - claimed) / max(abs(found), abs(claimed), 1e-6)
