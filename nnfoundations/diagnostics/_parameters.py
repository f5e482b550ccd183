"""Measures gradients, weights and updates of all parameters of an optimizer in a few fused calls."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnfoundations.diagnostics._history import ParameterFacts
from nnfoundations.diagnostics._transfer import Readings
from nnfoundations.diagnostics.nonfinite import dense

__all__ = [
    "FROM_ZERO",
    "SAMPLE",
    "ParameterProbe",
    "norms",
    "parameter_facts",
]

SAMPLE = 4096
"""Entries of a parameter, evenly spread, on which updates are measured. All entries would need a copy of the
model."""

FROM_ZERO = 20
"""Measurements for which a weight that starts at zero, as in LoRA, has no size to compare an update with."""


def parameter_facts(
    model: nn.Module, optimizers: Sequence[Optimizer]
) -> tuple[dict[str, ParameterFacts], dict[str, Tensor]]:
    """Return facts and tensors of every parameter, each parameter once.

    Args:
        model: the model.
        optimizers: all optimizers that update its parameters.

    Returns:
        The facts and the tensors, both by the first name of the parameter.
    """
    groups = [(i, group["params"]) for i, o in enumerate(optimizers) for group in o.param_groups]
    owner = {id(p): (i, j) for j, (i, members) in enumerate(groups) for p in members}
    names: dict[int, list[str]] = {}
    tensors: dict[int, nn.Parameter] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        tensors[id(parameter)] = parameter
    facts: dict[str, ParameterFacts] = {}
    parameters: dict[str, Tensor] = {}
    for key, parameter in tensors.items():
        owners = [name.rpartition(".")[0] for name in names[key]]
        # An embedding shared with the output layer counts as output layer, where its scale matters.
        used = [o for o in owners if "Embedding" not in type(model.get_submodule(o)).__name__]
        place = used[-1] if len(owners) > 1 and used else owners[0]
        module = model.get_submodule(place)
        name = " = ".join(names[key])
        facts[name] = ParameterFacts(
            module=place,
            module_class=type(module).__name__,
            kind=_kind(module, parameter),
            shape=tuple(parameter.shape),
            trainable=parameter.requires_grad,
            optimizer=owner.get(key, (None, None))[0],
            group=owner.get(key, (None, None))[1],
        )
        parameters[name] = parameter
    return facts, parameters


def _kind(module: nn.Module, parameter: Tensor) -> str:
    if "Embedding" in type(module).__name__:
        return "embedding"
    return "matrix" if parameter.ndim > 1 else "vector"


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of each tensor. Half precision would overflow at 65504.

    Args:
        tensors: n tensors of any shape and type.

    Returns:
        Shape ``(n,)``, in float64 if one tensor has it, else in float32.
    """
    real = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
    wide = torch.float64 if any(t.dtype is torch.float64 for t in real) else torch.float32
    return torch.stack(list(torch._foreach_norm(real, 2, wide)))


class ParameterProbe:
    """Measures what one optimizer does to its parameters.

    `before_step` and `after_step` enclose the step of the optimizer. Both add to the readings of the step.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self.names, self.parameters = tuple(parameters), list(parameters.values())
        self._before: Tensor | None = None
        self._from_zero: Tensor | None = None
        self._measured = 0
        self._sizes: list[int] = []
        self._stepped: list[int] = []

    def stale(self, readings: Readings) -> None:
        """Measure the gradients that are still present when a backward pass begins."""
        if not self.parameters:
            return
        grads = [dense(p.grad) for p in self.parameters if p.grad is not None]
        total = norms(grads).sum() if grads else torch.zeros((), device=self.parameters[0].device)
        readings.add("stale_gradient", ("norm",), total.reshape(1))

    def missing(self) -> list[str]:
        """Name the trainable parameters without a gradient after the backward pass."""
        pairs = zip(self.names, self.parameters, strict=True)
        return [name for name, p in pairs if p.requires_grad and p.grad is None]

    @property
    def trainable(self) -> int:
        """The number of trainable parameters."""
        return sum(p.requires_grad for p in self.parameters)

    def before_step(self, readings: Readings, scale: Tensor | None = None) -> None:
        """Measure gradients and weights, and keep a sample of the weights for `after_step`.

        Args:
            readings: receives the measurements.
            scale: the factor that is still in the gradients if the optimizer unscales them itself.
        """
        stepped = [i for i, p in enumerate(self.parameters) if p.grad is not None and p.numel()]
        self._stepped = stepped
        if not stepped:
            return
        grads = [dense(g) for i in stepped if (g := self.parameters[i].grad) is not None]
        weights = [self.parameters[i].detach() for i in stepped]
        names = tuple(self.names[i] for i in stepped)
        gradient_norms = norms(grads)
        readings.add("gradient_norm", names, gradient_norms if scale is None else gradient_norms / scale)
        weight_norms = norms(weights)
        readings.add("weight_norm", names, weight_norms)
        half = [(name, g) for name, g in zip(names, grads, strict=True) if g.dtype is torch.float16]
        if half:
            zeros = torch.stack([(_sample(g) == 0).float().mean() for _, g in half])
            readings.add("zero_gradient", tuple(name for name, _ in half), zeros)
        if self._from_zero is None:
            self._from_zero = torch.zeros(len(self.parameters), dtype=torch.bool, device=weight_norms.device)
        if not self._measured:
            self._from_zero[stepped] = weight_norms == 0

        sampled = [i for i in stepped if not self.parameters[i].grad.is_sparse]  # type: ignore[union-attr]
        if not sampled:
            return
        self._stepped = sampled
        pieces = [_sample(self.parameters[i]) for i in sampled]
        self._sizes = [piece.numel() for piece in pieces]
        self._before = torch.cat(pieces)

    def after_step(self, readings: Readings, overflow: Tensor | None = None) -> None:
        """Measure how far the step changed the weights, relative to their size; NaN after an `overflow`."""
        if self._before is None:
            return
        after = torch.cat([_sample(self.parameters[i]) for i in self._stepped])
        moved = self._norms_of(after - self._before)
        if self._from_zero is not None and self._measured < FROM_ZERO:
            moved = torch.where(self._from_zero[self._stepped], float("nan"), moved)
        self._measured += 1
        if overflow is not None:
            moved = torch.where(overflow.to(moved.device) > 0, float("nan"), moved)
        readings.add(
            "update_ratio",
            tuple(self.names[i] for i in self._stepped),
            moved / self._norms_of(self._before),
        )
        self._before = None

    def forget(self) -> None:
        """Drop what was kept of the last step."""
        self._before = None

    def _norms_of(self, packed: Tensor) -> Tensor:
        return norms(packed.split(self._sizes))


def _sample(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
    sample = flat[:: max(1, flat.numel() // SAMPLE)]
    return sample if sample.dtype is torch.float64 else sample.float()
