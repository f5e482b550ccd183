"""Measures gradients, weights and updates of all parameters of an optimizer in a few fused calls."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnfoundations.diagnostics._graph import ends
from nnfoundations.diagnostics._history import History, ParameterFacts
from nnfoundations.diagnostics._packet import Packet

__all__ = [
    "BY_PARAMETER",
    "FEW",
    "NEWBORN",
    "SAMPLE",
    "SENTINEL",
    "ParameterProbe",
    "norms",
    "parameter_facts",
    "record_named",
]

SAMPLE = 4096
"""Entries of a parameter, evenly spread, on which updates and cosines are measured. All entries would need a
copy of the model."""

BY_PARAMETER = ("gradient_norm", "gradient_cosine", "weight_norm", "update_ratio")
"""Quantities with one column per parameter."""

NEWBORN = 20
"""Measurements for which a weight that starts at zero, as in LoRA, has no size to compare an update with."""

FEW = 12
"""Number of gradients up to which one sum each costs less than packing them first, which takes 30 us."""

SENTINEL = 2**16
"""Largest number of gradient entries that are checked at every step."""


def parameter_facts(
    model: nn.Module, optimizers: Sequence[Optimizer]
) -> tuple[dict[str, ParameterFacts], dict[str, Tensor]]:
    """Return facts and tensors of every parameter, each parameter once."""
    owner = {id(p): i for i, o in enumerate(optimizers) for group in o.param_groups for p in group["params"]}
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
            optimizer=owner.get(key),
        )
        parameters[name] = parameter
    return facts, parameters


def _kind(module: nn.Module, parameter: Tensor) -> str:
    if "Embedding" in type(module).__name__:
        return "embedding"
    return "matrix" if parameter.ndim > 1 else "vector"


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of each tensor, in float32 because half precision overflows at 65504."""
    return torch.stack(list(torch._foreach_norm(list(tensors), 2, torch.float32)))


class ParameterProbe:
    """Measures what one optimizer does to its parameters.

    `before_step` and `after_step` enclose the step of the optimizer. Both write into the packet of the step.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self._named = parameters
        self.names, self.parameters = tuple(parameters), list(parameters.values())
        self._sentinel = _sentinel(parameters)
        self._ends: list[Tensor] = []
        self._trainable = 0
        self._before: Tensor | None = None
        self._newborn: Tensor | None = None
        self._looks = 0
        self._sizes: list[int] = []
        self._places = torch.empty(0, dtype=torch.int64)
        self._stepped: list[int] = []
        self._previous: tuple[int, list[int], Tensor] | None = None

    def finite(self) -> bool:
        """Return whether one gradient per module is finite. It waits for the device: for the CPU only.

        The sum decides, at a fifth of the cost of norms. It may overflow, so a sum that is not finite is
        checked tensor by tensor.
        """
        if self.trainable != self._trainable:
            self._ends = []  # they belong to another graph
        grads = [_values(g) for p in self._sentinel if (g := p.grad) is not None]
        if len(grads) > FEW or not all(g.is_cpu for g in grads):
            grads = [torch.cat([g.reshape(-1) for g in grads])]
        total = sum(g.sum().item() for g in grads)
        return total - total == 0 or not self.nonfinite()

    def finite_at_the_ends(self) -> bool:
        """Check only the last gradients that backward computes: almost every NaN propagates to them."""
        total = 0.0
        for p in self._ends:
            if (g := p.grad) is None:
                return self.finite()
            total += g.sum().item()
        if total == 0:  # nothing was checked, or another graph, or a mask stops everything on the way
            return self.finite()
        return total - total == 0 or not self.nonfinite()

    def guard(self, loss: Tensor) -> None:
        """Find the last gradients that backward computes for this loss, for `finite_at_the_ends`."""
        last = ends(loss, self._named)
        few = len(last) <= FEW and sum(p.numel() for p in last) <= SENTINEL
        self._ends = last if few and all(p.is_cpu for p in last) else []
        self._trainable = self.trainable

    def nonfinite(self) -> list[str]:
        """Name the parameters whose gradient is not finite. Waits for the device."""
        pairs = [(n, p.grad) for n, p in zip(self.names, self.parameters, strict=True) if p.grad is not None]
        return [name for name, grad in pairs if not bool(_values(grad).isfinite().all())]

    def stale(self, packet: Packet) -> None:
        """Measure the gradients that are still present when a backward pass begins."""
        if not self.parameters:
            return
        grads = [_values(p.grad) for p in self.parameters if p.grad is not None]
        total = norms(grads).sum() if grads else torch.zeros((), device=self.parameters[0].device)
        packet.add("stale_gradient", ("norm",), total.reshape(1))

    def missing(self) -> list[str]:
        """Name the trainable parameters without a gradient after the backward pass."""
        pairs = zip(self.names, self.parameters, strict=True)
        return [name for name, p in pairs if p.requires_grad and p.grad is None]

    @property
    def trainable(self) -> int:
        """The number of trainable parameters."""
        return sum(p.requires_grad for p in self.parameters)

    def before_step(self, packet: Packet, step: int, scale: Tensor | None = None) -> None:
        """Measure gradients and weights, and keep a sample of the weights for `after_step`.

        Args:
            packet: receives the measurements.
            step: the optimizer step.
            scale: the factor that is still in the gradients if the optimizer unscales them itself.
        """
        stepped = [i for i, p in enumerate(self.parameters) if p.grad is not None and p.numel()]
        self._stepped = stepped
        if not stepped:
            return
        grads = [_values(self.parameters[i].grad) for i in stepped]
        weights = [self.parameters[i].detach() for i in stepped]
        names = tuple(self.names[i] for i in stepped)
        gradient_norms = norms(grads)
        packet.add("gradient_norm", names, gradient_norms if scale is None else gradient_norms / scale)
        weight_norms = norms(weights)
        packet.add("weight_norm", names, weight_norms)
        if self._newborn is None:
            self._newborn = torch.zeros(len(self.parameters), dtype=torch.bool, device=weight_norms.device)
        if not self._looks:
            self._newborn[stepped] = weight_norms == 0

        sampled = [i for i in stepped if not self.parameters[i].grad.is_sparse]  # type: ignore[union-attr]
        if not sampled:
            return
        self._stepped = sampled
        pieces = [_sample(self.parameters[i].grad) for i in sampled]
        self._measure([piece.numel() for piece in pieces])
        grad = torch.cat(pieces)
        unit = grad / self._spread(self._norms_of(grad))
        if (
            self._previous
            and self._previous[:2] == (step - 1, sampled)
            and (then := self._previous[2]).shape == unit.shape
        ):
            # From the length of a/|a| + b/|b|, because the product of small gradients would underflow.
            cosine = self._norms_of(unit + then).square() / 2 - 1
            packet.add("gradient_cosine", tuple(self.names[i] for i in sampled), cosine)
        self._previous = (step, sampled, unit)
        self._before = torch.cat([_sample(self.parameters[i]) for i in sampled])

    def after_step(self, packet: Packet, overflow: Tensor | None = None) -> None:
        """Measure how far the step changed the weights, relative to their size; NaN after an `overflow`."""
        if self._before is None:
            return
        after = torch.cat([_sample(self.parameters[i]) for i in self._stepped])
        moved = self._norms_of(after - self._before)
        if self._newborn is not None and self._looks < NEWBORN:
            moved = torch.where(self._newborn[self._stepped], float("nan"), moved)
        self._looks += 1
        if overflow is not None:
            moved = torch.where(overflow.to(moved.device) > 0, float("nan"), moved)
        packet.add(
            "update_ratio",
            tuple(self.names[i] for i in self._stepped),
            moved / self._norms_of(self._before),
        )
        self._before = None

    def forget(self) -> None:
        """Drop what was kept of the last step."""
        self._before = self._previous = None

    def _norms_of(self, packed: Tensor) -> Tensor:
        return norms(packed.split(self._sizes))

    def _measure(self, sizes: list[int]) -> None:
        """Compute the positions of each tensor in packed samples. Kept, because this waits for the device."""
        if sizes != self._sizes:
            self._sizes = sizes
            self._places = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))

    def _spread(self, values: Tensor) -> Tensor:
        self._places = self._places.to(values.device)
        return values.clamp(min=1e-30).index_select(0, self._places)


def _sentinel(parameters: dict[str, Tensor]) -> list[Tensor]:
    """Choose the parameters whose gradients show a NaN in any layer: it reaches all biases below.

    Of a module without a bias the smallest tensor is taken. The first module is always included.
    """
    chosen: dict[str, Tensor] = {}
    for name, p in parameters.items():
        module = name.partition(" = ")[0].rpartition(".")[0]
        if p.is_floating_point() and (module not in chosen or p.numel() < chosen[module].numel()):
            chosen[module] = p
    first = next(iter(chosen.values()), None)
    kept: list[Tensor] = []
    entries = 0
    for p in sorted(chosen.values(), key=lambda p: (p is not first, p.numel())):
        entries += p.numel()
        if kept and entries > SENTINEL:
            break
        kept.append(p)
    return kept


def record_named(
    history: History, quantity: str, step: int, row: dict[str, float], order: Iterable[str]
) -> None:
    """Append a row whose columns may differ from those before. Missing numbers are NaN.

    Parameters and layers may be absent: optimizers take turns, and layers are skipped at random. New columns
    are placed in the given order.
    """
    series = history.series.get(quantity)
    columns = series.columns if series is not None else tuple(row)
    if row.keys() - set(columns):
        columns = tuple(name for name in order if name in row or name in columns)
        history.widen(quantity, columns)
    history.record(quantity, step, columns, [row.get(name, float("nan")) for name in columns])


def _values(grad: Tensor | None) -> Tensor:
    assert grad is not None
    return grad.coalesce().values() if grad.is_sparse else grad


def _sample(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)].float()
