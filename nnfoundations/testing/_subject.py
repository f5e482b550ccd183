"""What a law is held against: a layer of one's own, torch's, and what both are called with."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

__all__ = ["Subject", "backpropagated", "both", "called", "moving", "require", "upstream"]


class Subject:
    """Two classes built from the same arguments, and inputs for them.

    A subclass says the fields, and draws the inputs: the same numbers at each call with one seed, rounded
    to the dtype; those that ask for a gradient are differentiated.
    """

    ours: type[Module]
    theirs: type[Module]
    arguments: Mapping[str, Any]
    kind: str  # class of the tolerance table
    training: bool
    looser: int  # a factor on the table's k
    rows: int  # how many numbers more than torch may be saved

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def fresh(self, dtype: torch.dtype = torch.float64) -> tuple[Module, Module]:
        """(ours, theirs) as their constructors leave them under one seed."""
        built = []
        for kind in (self.ours, self.theirs):
            torch.manual_seed(0)
            arguments = {
                name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
                for name, value in self.arguments.items()
            }
            built.append(kind(**arguments).to(dtype).train(self.training))
        return built[0], built[1]

    def build(self, dtype: torch.dtype = torch.float64) -> tuple[Module, Module]:
        """(ours, theirs) with one state, moved away from ones and zeros, which hide factors and terms."""
        ours, theirs = self.fresh(dtype)
        for module in (ours, theirs):
            generator = torch.Generator().manual_seed(1)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(_drawn(torch.randn, parameter, generator), alpha=0.3)
                for buffer in module.buffers():
                    if buffer.is_floating_point():  # a running variance stays positive
                        buffer.add_(_drawn(torch.rand, buffer, generator))
        return ours, theirs


def _drawn(draw: Callable[..., Tensor], like: Tensor, generator: torch.Generator) -> Tensor:
    return draw(like.shape, generator=generator, dtype=torch.float64).to(like.device, like.dtype)


def require(condition: bool, text: str) -> None:
    """`assert` that stays under `python -O` and says what it found."""
    if not condition:
        raise AssertionError(text)


def called(module: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    """The output, under a seed of its own: a random mask is then the same on both sides."""
    torch.manual_seed(2)
    return module(*inputs)


def moving(module: Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """All that asks for a gradient: inputs, then parameters."""
    return [x for x in (*inputs, *module.parameters()) if x.requires_grad]


def upstream(y: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A drawn gradient of y, the same at each call: of ones, a normalization lets only rounding pass."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return drawn.to(dtype or y.dtype).to(y.device, y.dtype)


def backpropagated(
    module: Module, inputs: tuple[Tensor, ...], dtype: torch.dtype | None = None
) -> Iterator[tuple[str, Tensor]]:
    """("forward", y), ("gradient", g) of each input, ("parameter", g) of each parameter that asks for one.

    The gradient of y is drawn, and rounded to `dtype`, by default the first input's.
    """
    y = called(module, inputs)
    grad_output = upstream(y, dtype or inputs[0].dtype)
    yield "forward", y
    parts = ["gradient"] * sum(x.requires_grad for x in inputs)
    wanted = moving(module, inputs)
    parts += ["parameter"] * (len(wanted) - len(parts))
    if y.requires_grad:
        yield from zip(parts, torch.autograd.grad(y, wanted, grad_output), strict=True)


def both(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[Any, Any] | None:
    """Results of ours and of torch's; None where torch raises, which ours then has to do too."""
    try:
        expected = theirs()
    except Exception as error:
        try:
            ours()
        except Exception:
            return None
        raise AssertionError(f"torch raises {type(error).__name__} ({error}), ours does not") from error
    return ours(), expected
