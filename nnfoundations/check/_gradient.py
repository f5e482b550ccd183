"""Compares the gradient with differences of the loss, in float64."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from nnfoundations.check._trial import trained

__all__ = ["Comparison", "Dependence", "GradientCheck", "compare"]

TOLERANCE = 1e-5
"""Relative error that always passes."""
SAFETY = 10
"""How many times its own estimated error a difference may be off."""
STEPS = tuple(10.0**-k for k in range(1, 10))
MAX_PARAMETERS = 40
"""How many parameters are compared, about; a model with more has evenly spread ones compared."""


@dataclass(frozen=True)
class Comparison:
    """Relative difference between gradient and loss, and the limit that the precision of differences sets."""

    error: float
    limit: float = TOLERANCE

    @property
    def is_measured(self) -> bool:
        """Whether differences are precise enough to find an error of 1 %."""
        return self.limit < 0.01

    @property
    def excess(self) -> float:
        return self.error / self.limit


def compare(loss: Callable[[float], float], claimed: float, scale: float = 0.0) -> Comparison:
    r"""Compare a claimed slope with central differences of the loss.

    .. math:: D(h) = \frac{L(h) - L(-h)}{2h}

    The truncation error decreases with h, and fewer kinks of ReLU lie within h; the rounding error increases
    as 1/h. The h with the smallest estimated error counts.

    Args:
        loss: of the distance from the point along a direction.
        claimed: the slope that backpropagation gives.
        scale: slopes below this count as this large.

    Returns:
        The relative error and its limit.
    """

    def relative(error: float, found: float) -> float:
        return error / max(abs(found), abs(claimed), scale, 1e-300)

    for h in (1e-5, 1e-6, 1e-7):
        found = (loss(h) - loss(-h)) / (2 * h)
        if (error := relative(abs(found - claimed), found)) <= TOLERANCE:
            return Comparison(error)
    uncertainty, found = min(_estimates(loss), default=(math.inf, math.inf))
    error = relative(abs(found - claimed), found) if math.isfinite(found) else math.inf
    limit = relative(SAFETY * uncertainty, found) if math.isfinite(found) else TOLERANCE
    return Comparison(error, max(TOLERANCE, limit))


def _estimates(loss: Callable[[float], float]) -> Iterator[tuple[float, float]]:
    """Differences at several step sizes, each after its estimated error: the smaller of two estimates.

    For a smooth loss, the distance from the difference at 10 h shows the truncation error. A kink within h
    changes D(h) by as much as it changes S(h) = (L(h) + L(-h) - 2 L(0)) / 2h, which is proportional to h if
    there are no kinks, so that 10 S(h) = S(10 h).

    For a loss that is linear within h, S(h) and S(h/10) are 0, and D(h) = D(h/10). Near many kinks this is
    so only for small h: for large h they look like curvature. Therefore an estimate is at least as large as
    the distance from the difference of any smaller step, as far as rounding does not explain it.
    """
    here = loss(0.0)
    points = [(h, loss(h), loss(-h)) for h in STEPS]
    slopes = [(right - left) / (2 * h) for h, right, left in points]
    bends = [(right + left - 2 * here) / (2 * h) for h, right, left in points]
    rounding = _rounding(here, slopes, bends)
    for k in range(1, len(STEPS) - 1):
        smooth = abs(slopes[k] - slopes[k - 1]) + abs(10 * bends[k] - bends[k - 1]) / 9 + rounding / STEPS[k]
        linear = abs(slopes[k] - slopes[k + 1]) + abs(bends[k]) + abs(bends[k + 1]) + rounding / STEPS[k + 1]
        unexplained = max(
            abs(slopes[k] - slopes[j]) - SAFETY * rounding / STEPS[j] for j in range(k + 1, len(STEPS))
        )
        if math.isfinite(estimate := max(min(smooth, linear), unexplained)):
            yield estimate, slopes[k]


def _rounding(here: float, slopes: Sequence[float], bends: Sequence[float]) -> float:
    """The rounding error of the loss, from the two smallest steps, within which kinks are rare."""
    found = max(
        abs(bends[-2]) * STEPS[-2], abs(bends[-1]) * STEPS[-1], abs(slopes[-1] - slopes[-2]) * STEPS[-1]
    )
    return max(found, 4 * torch.finfo(torch.float64).eps * abs(here))


class GradientCheck(Callback):
    """Compares the gradient of each parameter with differences along a random direction.

    If a random direction shows too little of a small gradient, the direction of the gradient itself is used.

    Random numbers are the same in each evaluation. All parameters are moved a little first: biases of 0 on
    black pixels put units exactly at the kink of ReLU, where a difference is the mean of two slopes.
    """

    def __init__(self) -> None:
        self.comparisons: dict[str, Comparison] = {}
        self.written: list[str] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Run the batch before its training step."""
        loss = _loss_of(pl_module, batch, batch_idx)
        generator = torch.Generator().manual_seed(0)
        parameters = dict(trained(pl_module))
        for value in parameters.values():
            _move_off_kinks(value, generator)
        before = {name: value.detach().clone() for name, value in parameters.items()}
        loss().backward()
        self.written = [name for name, value in parameters.items() if not torch.equal(value, before[name])]
        gradients = {
            name: value.grad.detach().to_dense().clone()
            for name, value in parameters.items()
            if value.grad is not None
        }
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(before[name])
        pl_module.zero_grad()
        whole = math.hypot(*(float(grad.norm()) for grad in gradients.values()))
        names = list(parameters)[:: max(1, len(parameters) // MAX_PARAMETERS)]
        for name in names:
            if name in gradients:
                place = parameters[name]
                self.comparisons[name] = _measured(loss, place, gradients[name], 1e-8 * whole, generator)


class Dependence(Callback):
    """Finds the parameters that the loss depends on, by changing each by as much as its own size.

    Args:
        names: of the parameters to ask for.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.found: list[str] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Run the batch before its training step."""
        loss = _loss_of(pl_module, batch, batch_idx)
        generator = torch.Generator().manual_seed(0)
        parameters = dict(trained(pl_module))
        first = float(loss())
        for name in self.names:
            value = parameters[name]
            change = _random_like(value, generator) * (value.detach().square().mean().sqrt() + 0.1)
            if not abs(_along(loss, value, change)(1.0) - first) <= 1e-9 * abs(first):
                self.found.append(name)


def _loss_of(pl_module: LightningModule, batch: Any, batch_idx: int) -> Callable[[], Tensor]:
    """The loss of a batch, with the same random numbers in each call."""

    def loss() -> Tensor:
        torch.manual_seed(0)
        out = pl_module.training_step(batch, batch_idx)
        value = out["loss"] if isinstance(out, Mapping) else out
        assert isinstance(value, Tensor)
        return value

    return loss


def _move_off_kinks(value: Tensor, generator: torch.Generator) -> None:
    with torch.no_grad():
        rms = value.square().mean().sqrt() if value.numel() else 0.0
        value += (0.01 * rms + 1e-3) * _random_like(value, generator)


def _measured(
    loss: Callable[[], Tensor], value: Tensor, gradient: Tensor, scale: float, generator: torch.Generator
) -> Comparison:
    """Compare along the first direction that decides, or the last one.

    A direction decides if differences can measure the gradient there. An error decides only if they are
    exact: near many kinks the estimated limit is rough, and the gradient itself has a much larger slope.
    """
    found = Comparison(0.0)
    for direction in _directions(gradient, generator):
        claimed = float((gradient * direction).sum())
        found = compare(_along(loss, value, direction), claimed, scale)
        if found.is_measured and (found.excess <= 1 or found.limit == TOLERANCE):
            break
    return found


def _directions(gradient: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """A random direction shows errors of every kind; that of the gradient has the largest slope."""
    random = _random_like(gradient, generator)
    yield random / random.norm()
    if norm := float(gradient.norm()):
        yield gradient / norm


def _along(loss: Callable[[], Tensor], value: Tensor, direction: Tensor) -> Callable[[float], float]:
    here = value.detach().clone()

    @torch.no_grad()
    def at(distance: float) -> float:
        value.copy_(here + distance * direction)
        result = float(loss())
        value.copy_(here)
        return result

    return at


def _random_like(value: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
