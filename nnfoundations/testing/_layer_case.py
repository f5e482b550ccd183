"""`LayerCase`: one of our layers, the torch layer that it replaces, and inputs for both."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

__all__ = [
    "LayerCase",
    "differentiable",
    "output_gradient",
    "require",
    "run_backward",
    "run_both",
    "run_forward",
]


class LayerCase:
    """Two classes that are built with the same arguments, and inputs for them.

    A subclass sets the fields and implements `inputs`. The inputs that require a gradient are differentiated.

    Attributes:
        ours: the class to check.
        theirs: the torch class that it replaces.
        arguments: the arguments of both constructors.
        kind: row of the tolerance table.
        training: mode in which both are called.
        tolerance_factor: multiplies the tolerances of the table.
        extra_saved: how many numbers more than torch the layer may save for the backward.
    """

    ours: type[Module]
    theirs: type[Module]
    arguments: Mapping[str, Any]
    kind: str
    training: bool
    tolerance_factor: int
    extra_saved: int

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        """Make the inputs; the same seed gives the same numbers, rounded to the dtype.

        Args:
            dtype: dtype of floating-point inputs.
            seed: random seed.

        Returns:
            The arguments of forward.
        """
        raise NotImplementedError

    def build_initial(self, dtype: torch.dtype = torch.float64) -> tuple[Module, Module]:
        """Build both layers with the same random seed and leave the initial state.

        Args:
            dtype: dtype of parameters and floating-point arguments.

        Returns:
            (ours, theirs).
        """
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
        """Build both layers with the same state, away from ones and zeros, which hide factors and terms.

        Args:
            dtype: dtype of parameters and floating-point arguments.

        Returns:
            (ours, theirs).
        """
        ours, theirs = self.build_initial(dtype)
        for module in (ours, theirs):
            generator = torch.Generator().manual_seed(1)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(_draw(torch.randn, parameter, generator), alpha=0.3)
                for buffer in module.buffers():
                    if buffer.is_floating_point():  # a running variance must stay positive
                        buffer.add_(_draw(torch.rand, buffer, generator))
        return ours, theirs


def _draw(draw: Callable[..., Tensor], like: Tensor, generator: torch.Generator) -> Tensor:
    return draw(like.shape, generator=generator, dtype=torch.float64).to(like.device, like.dtype)


def require(condition: bool, text: str) -> None:
    """Raise AssertionError unless the condition holds; unlike `assert`, also under `python -O`."""
    if not condition:
        raise AssertionError(text)


def run_forward(module: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    """Call the module after setting a fixed random seed, so that both layers draw the same mask.

    Args:
        module: a layer or a function.
        inputs: its arguments.

    Returns:
        The output.
    """
    torch.manual_seed(2)
    return module(*inputs)


def differentiable(module: Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """List everything that requires a gradient: inputs, then parameters."""
    return [x for x in (*inputs, *module.parameters()) if x.requires_grad]


def output_gradient(y: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Draw a gradient of y, the same at each call.

    It must not be constant: the gradient of a normalization would then be pure rounding error.
    """
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return drawn.to(dtype or y.dtype).to(y.device, y.dtype)


def run_backward(
    module: Module, inputs: tuple[Tensor, ...], dtype: torch.dtype | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Run forward and backward with a random gradient of the output.

    Args:
        module: the layer.
        inputs: the arguments of its forward.
        dtype: dtype to which the output gradient is rounded; by default that of the first input.

    Yields:
        ("forward", y), then ("gradient", g) for each input and ("parameter", g) for each parameter that
        requires a gradient.
    """
    y = run_forward(module, inputs)
    grad_output = output_gradient(y, dtype or inputs[0].dtype)
    yield "forward", y
    parts = ["gradient"] * sum(x.requires_grad for x in inputs)
    wanted = differentiable(module, inputs)
    parts += ["parameter"] * (len(wanted) - len(parts))
    if y.requires_grad:
        yield from zip(parts, torch.autograd.grad(y, wanted, grad_output), strict=True)


def run_both(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[Any, Any] | None:
    """Return both results, or None if both raise; raise AssertionError if only torch's raises."""
    try:
        expected = theirs()
    except Exception as error:
        try:
            ours()
        except Exception:
            return None
        raise AssertionError(f"torch raises {type(error).__name__} ({error}), ours does not") from error
    return ours(), expected
