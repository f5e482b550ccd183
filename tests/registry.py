"""Every module of ours, a line each, with its inputs; and the tolerances that all tests share.

A case is held against the module of torch.nn that has its name. Nothing here is a test.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nnfoundations import nn

HALF = (torch.bfloat16, torch.float16)
DTYPES = (torch.float64, torch.float32, *HALF)

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
class Case:
    """A module of ours, built with `arguments` and called with what `draws` draw."""

    ours: type[torch.nn.Module]
    arguments: dict[str, Any]
    draws: tuple[Draw, ...]
    kind: str
    rows: int = field(default=0)  # of the input; what may be saved beyond torch is one number a row

    @property
    def theirs(self) -> type[torch.nn.Module]:
        found: type[torch.nn.Module] = getattr(torch.nn, self.ours.__name__)
        return found

    def build(self, dtype: torch.dtype = torch.float64) -> tuple[torch.nn.Module, torch.nn.Module]:
        """(ours, theirs), with the same parameters."""
        built = []
        for kind in (self.ours, self.theirs):
            torch.manual_seed(0)
            arguments = {
                name: value.to(dtype) if isinstance(value, Tensor) else value
                for name, value in self.arguments.items()
            }
            built.append(kind(**arguments).to(dtype))
        return built[0], built[1]

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        """The same numbers at each call with one seed, rounded to the dtype."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(draw(generator, dtype) for draw in self.draws)

    def __str__(self) -> str:
        given = ",".join(f"{k}={'tensor' if isinstance(v, Tensor) else v}" for k, v in self.arguments.items())
        return f"{self.ours.__name__}({given})"


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

# The k of a comparison: rtol = k eps and atol = k eps of the largest reference value. Half precision is
# computed in float32 and rounded once, so that one eps holds for all.
_K = {
    ("elementwise", "forward"): 4,
    ("elementwise", "gradient"): 16,
    ("linear", "forward"): 16,
    ("linear", "gradient"): 16,
    ("loss", "forward"): 8,
    ("loss", "gradient"): 16,
}
_FLOOR = {torch.float16: 6e-8}  # its smallest subnormal


def assert_matches(found: Tensor, reference: Tensor, kind: str, part: str) -> None:
    """Hold a result against a float64 reference computed from the same rounded inputs."""
    assert found.shape == reference.shape
    dtype = found.dtype
    k = 1 if dtype in HALF else _K[kind, part]
    eps = torch.finfo(dtype).eps
    found, reference = found.detach().double(), reference.detach().double()
    scale = max(reference[reference.isfinite()].abs().tolist(), default=0.0)
    torch.testing.assert_close(
        found, reference, rtol=k * eps, atol=k * eps * scale + _FLOOR.get(dtype, 0.0), equal_nan=True
    )


def backpropagated(
    module: torch.nn.Module, inputs: tuple[Tensor, ...], seed: int = 1
) -> Iterator[tuple[str, Tensor]]:
    """("forward", y), then ("gradient", g) of each input and parameter that asks for one."""
    y = module(*inputs)
    wanted = [x for x in (*inputs, *module.parameters()) if x.requires_grad]
    generator = torch.Generator().manual_seed(seed)
    grad_output = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(inputs[0].dtype)
    yield "forward", y
    for gradient in torch.autograd.grad(y, wanted, grad_output.to(y.dtype)):
        yield "gradient", gradient
