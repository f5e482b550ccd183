"""Every module of ours, a line each, with its inputs.

A case is held against the module of torch.nn that has its name. Nothing here is a test.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from nnfoundations import nn
from nnfoundations.testing import HALF, Subject
from nnfoundations.testing import assert_matches as assert_matches
from nnfoundations.testing import backpropagated as backpropagated

DTYPES = (torch.float64, torch.float32, *HALF)

Law = Callable[[Subject], None]
Draw = Callable[[torch.Generator, torch.dtype], Tensor]


def normal(*shape: int, scale: float = 2.0) -> Draw:
    """Numbers for which a gradient is asked."""
    return lambda generator, dtype: (
        (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    )


def labels(*shape: int, classes: int, ignored: int | None = None) -> Draw:
    """Class indices, the first of them `ignored` if that is given."""

    def draw(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        drawn = torch.randint(classes, shape, generator=generator)
        if ignored is not None:
            drawn.view(-1)[0] = ignored
        return drawn

    return draw


def probabilities(*shape: int) -> Draw:
    """Distributions along axis 1, for which a gradient is asked too."""

    def draw(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
        return (drawn / drawn.sum(1, keepdim=True)).to(dtype).requires_grad_()

    return draw


@dataclass(frozen=True)
class Case(Subject):
    """A module of ours, built with `arguments` and called with what `draws` draw."""

    ours: type[torch.nn.Module]
    arguments: dict[str, Any]
    draws: tuple[Draw, ...]
    kind: str  # its line of the tolerance table, nnfoundations.testing.K
    rows: int = field(default=0)  # of the input; what may be saved beyond torch is one number a row
    training: bool = True
    looser: int = 1  # a factor on the table's k, with its reason beside it
    reference: type[torch.nn.Module] | None = None  # where torch has no module of that name
    leave_out: tuple[str, ...] = ()  # laws that it does not promise, with the reason beside it

    @property
    def theirs(self) -> type[torch.nn.Module]:  # type: ignore[override]
        found: type[torch.nn.Module] = self.reference or getattr(torch.nn, self.ours.__name__)
        return found

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        """The same numbers at each call with one seed, rounded to the dtype."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(draw(generator, dtype) for draw in self.draws)

    def __str__(self) -> str:
        given = ",".join(f"{k}={'tensor' if isinstance(v, Tensor) else v}" for k, v in self.arguments.items())
        return f"{self.ours.__name__}({given})" + ("" if self.training else ".eval()")


def _cross_entropy(*draws: Draw, rows: int, **arguments: Any) -> Case:
    return Case(nn.CrossEntropyLoss, arguments, draws, "loss", rows)


_W = torch.tensor([0.5, 2.0, 1.0, 0.25])
CASES = (
    Case(nn.Linear, {"in_features": 5, "out_features": 3}, (normal(6, 5),), "linear", 6),
    Case(nn.Linear, {"in_features": 5, "out_features": 3, "bias": False}, (normal(6, 5),), "linear", 6),
    Case(nn.Linear, {"in_features": 4, "out_features": 3}, (normal(2, 3, 4),), "linear", 6),
    Case(nn.Linear, {"in_features": 4, "out_features": 1}, (normal(4),), "linear", 1),
    Case(nn.ReLU, {}, (normal(4, 5),), "elementwise"),
    Case(nn.ReLU, {}, (normal(),), "elementwise"),
    _cross_entropy(normal(5, 4), labels(5, classes=4), rows=5),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=-100), rows=5, reduction="sum"),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=9), rows=5, reduction="none", ignore_index=9),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=2), rows=5, ignore_index=2, weight=_W),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=-100), rows=5, label_smoothing=0.1),
    _cross_entropy(normal(5, 4), labels(5, classes=4), rows=5, label_smoothing=0.3, weight=_W),
    _cross_entropy(
        normal(5, 4), labels(5, classes=4), rows=5, label_smoothing=1.0, weight=_W, reduction="none"
    ),
    _cross_entropy(normal(2, 4, 3), labels(2, 3, classes=4), rows=6, weight=_W),
    _cross_entropy(normal(2, 4, 2, 2), labels(2, 2, 2, classes=4), rows=8, reduction="none"),
    _cross_entropy(normal(4), labels(classes=4), rows=1),
    _cross_entropy(normal(5, 4), probabilities(5, 4), rows=5),
    _cross_entropy(
        normal(5, 4), probabilities(5, 4), rows=5, label_smoothing=0.2, weight=_W, reduction="sum"
    ),
    _cross_entropy(normal(2, 4, 3), probabilities(2, 4, 3), rows=6, weight=_W, reduction="none"),
)


def held(laws: Iterable[Law], *, once: Iterable[Law] = ()) -> pytest.MarkDecorator:
    """Parametrize a test over (case, law), each module's first case only for laws that are asked `once`."""
    first = {case.ours: case for case in reversed(CASES)}.values()
    return pytest.mark.parametrize(
        ("case", "law"),
        [
            pytest.param(case, law, id=f"{case}-{law.__name__}")
            for law in laws
            for case in (first if law in once else CASES)
            if law.__name__ not in case.leave_out
        ],
    )
