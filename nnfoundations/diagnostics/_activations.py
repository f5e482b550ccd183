"""Measures the activations between layers, by hooks that exist for one step only."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nnfoundations.diagnostics._history import LayerFacts
from nnfoundations.diagnostics._input_moments import InputMoments
from nnfoundations.diagnostics._layer_hooks import LayerHooks
from nnfoundations.diagnostics._search import SearchProbe
from nnfoundations.diagnostics._transfer import Readings
from nnfoundations.diagnostics.nonfinite import tensors

__all__ = ["SAMPLES", "STREAK", "ActivationProbe"]

STREAK, SAMPLES = 5, 128
"""A unit counts as dead after this many measurements and samples without output. A unit that responds to one
sample in forty would be silent on a few batches of two."""

FEATURES, FEATURE_TIMES = 512, 3
"""Largest number of columns of a table whose sizes are measured, and how many measurements do it."""

LAST_OUTPUTS = 4
"""Number of last module outputs that are kept during a step."""

_SATURATES = {"Tanh": 0.97, "Softsign": 0.97, "Hardtanh": 0.999, "Sigmoid": 0.96, "Hardsigmoid": 0.999}
"""Level above which a bounded activation counts as saturated: |y|, for sigmoids |2y - 1|."""

_SHAPELESS = (
    "Dropout",
    "Flatten",
    "Unflatten",
    "Identity",
    "Pool",
    "Pad",
    "Upsample",
    "PixelShuffle",
    "Loss",
)
"""Parts of class names of modules whose output does not show the units of a layer."""


class ActivationProbe:
    """Measures activations by hooks on the innermost modules of a model, for the length of one step.

    Quantities with one number per layer:

    - `activation_std`: standard deviation of the outputs of layers with weights.
    - `dead_share`: share of units that were zero on every sample of the last five measurements.
    - `saturated_share`: share of units that are saturated on 95 % of the samples.
    - `silent_share`: share of units that were zero on every sample of this measurement; NaN if five such
      batches are too small to prove that a unit is dead.
    - `statistics_gap`: distance of the statistics of this batch from the running ones of a batch
      normalization, in running standard deviations: the size of what evaluation mode changes.
    - `recurrent_growth`: log10 of the size of the last over the first hidden state.
    - `recurrent_gradient`: log10 of the gradient at the first over that at the last step of a sequence.

    `input` describes the data, and `feature_rms` its columns.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers: dict[str, LayerFacts] = {}
        self._feature_times = 0
        self.inputs, self.first = InputMoments(), ""  # of all measurements, and the module that they enter
        self._hooks = LayerHooks(model)
        self._streaks: dict[str, Tensor] = {}
        self._readings: Readings | None = None
        self._search = SearchProbe(model)
        self._clear()

    @property
    def unseen(self) -> dict[str, str]:
        """The modules whose activations cannot be seen, each with the reason."""
        return self._hooks.unseen

    def _clear(self) -> None:
        self._std: dict[str, Tensor] = {}
        self._dead: dict[str, Tensor] = {}
        self._silent: dict[str, Tensor] = {}
        self._saturated: dict[str, Tensor] = {}
        self._growth: dict[str, Tensor] = {}
        self._statistics: dict[str, Tensor] = {}
        self._recurrent: dict[str, Tensor] = {}
        self._input: Tensor | None = None
        self._features: Tensor | None = None
        self._spread: Tensor | None = None  # of the batch itself
        self.executed: list[str] = []
        self.used: set[str] = set()  # modules in evaluation mode without a gradient: used but not trained
        self.training = True
        self._owner, self._channel_axis = "", 1
        self._shown: Tensor | None = None
        self.made: dict[Any, str] = {}  # names of modules by the node of the graph that made their output
        self.outputs: dict[Any, Tensor] = {}  # the last outputs by the same nodes

    def attach(
        self, readings: Readings, timed: Callable[..., Any], batch: Any = None, searches: bool = False
    ) -> None:
        """Attach the hooks until `detach`; `timed` wraps each of them. See `SearchProbe` for `searches`."""
        self._clear()
        self._readings = readings
        data = next(tensors(batch), None)
        if data is not None and data.ndim > 1 and data.numel() and not data.is_sparse:
            self._spread = _input_facts(data)[1]
        if searches:
            self._search.attach(timed, data)
        self._hooks.attach(timed, self._before, self._after)

    def detach(self) -> None:
        """Remove the hooks."""
        self._hooks.remove()
        self._search.detach()
        self._clear()

    def collect(self) -> None:
        """Write the measurements into the readings, after the backward pass."""
        readings, self._readings = self._readings, None
        if readings is None:
            return
        for quantity, values in (
            ("activation_std", self._std),
            ("dead_share", self._dead),
            ("silent_share", self._silent),
            ("saturated_share", self._saturated),
            ("statistics_gap", self._statistics),
            ("recurrent_growth", self._growth),
            ("recurrent_gradient", self._recurrent),
        ):
            if values:
                readings.add(quantity, tuple(values), torch.stack([v.float() for v in values.values()]))
        self._search.collect(readings, [n for n, facts in self.layers.items() if facts.role != "other"])
        if self._features is not None:
            self._feature_times += 1
            readings.add("feature_rms", tuple(map(str, range(len(self._features)))), self._features)
        if self._input is not None:
            if (
                self._spread is not None
            ):  # an input made without data, such as a grid, is equal for all samples
                self._input[1] = torch.maximum(self._input[1], self._spread.to(self._input.device))
            readings.add("input", ("rms", "spread", "samples"), self._input)

    def _before(self, name: str) -> Callable[..., Any]:
        @torch.no_grad()
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
            x = next((i for i in inputs if isinstance(i, Tensor)), None)
            if x is None or name in self.executed or not _has_weights(module):
                return None
            learned = x.requires_grad or (x.ndim > 0 and x.stride(0) == 0)  # a learned query, not data
            if (
                not self._owner
                and x.is_floating_point()
                and self._input is None
                and x.ndim > 1
                and not learned
            ):
                self._input = _input_facts(x)
                self.inputs.update(x)
                self._see_features(x)
                self.first = name
            elif x.is_floating_point() and x is not self._shown:
                self._see_functional(x)
            if isinstance(module, nn.RNNBase):
                return self._watch_time(name, module, x, inputs)
            return None

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        @torch.no_grad()
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            y = output[0] if isinstance(output, tuple) and output else output
            self._remember(name, y)
            if name in self.executed:  # of a module that runs several times, the first call counts
                return
            self.executed.append(name)
            self.training = self.training and self.model.training
            if not module.training and isinstance(y, Tensor) and not y.requires_grad:
                self.used.add(name)
            if not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim < 2 or not y.numel():
                return
            role = _role(module)
            if role == "recurrent":
                time = 1 if getattr(module, "batch_first", False) and y.ndim == 3 else 0
                self._growth[name] = _growth(y, time)
            if role in ("weighted", "recurrent"):
                self._owner = name
                self._channel_axis = 1 if "Conv" in type(module).__name__ else -1
                self._std[name] = _spread(y.detach().float())
            self._see_role(name, module, role, inputs, y)
            axis = self._axis(y)
            units = y.shape[axis]
            self.layers[name] = LayerFacts(type(module).__name__, role, self._owner or name, units)
            self._shown = y

        return hook

    def _see_statistics(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Compare the statistics of the batch with the running ones, which evaluation mode uses."""
        x, mean, variance = inputs[0], module.running_mean, module.running_var
        if not module.training or not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
            return
        x = x.detach().float()
        others = [i for i in range(x.ndim) if i != 1]
        centred = x.mean(others)
        deviation = (x - centred.view(1, -1, *[1] * (x.ndim - 2))).square_().mean(others).sqrt()
        running = variance.clamp(min=getattr(module, "eps", 1e-5)).sqrt()
        gap = ((centred - mean) / running).square() + (deviation / running - 1).square()
        self._statistics[name] = gap.mean().sqrt()

    def _see_features(self, x: Tensor) -> None:
        """Measure the size of each column of a table."""
        if x.ndim == 2 and 1 < x.shape[1] <= FEATURES and self._feature_times < FEATURE_TIMES:
            self._features = x.detach().float().square().mean(0).sqrt()

    def _see_role(self, name: str, module: nn.Module, role: str, inputs: tuple[Any, ...], y: Tensor) -> None:
        """Measure what only activations, or only normalizations, have."""
        if role == "activation":
            self._see_units(name, type(module).__name__, y)
        elif role == "normalization" and getattr(module, "running_var", None) is not None:
            self._see_statistics(name, module, inputs)

    def _remember(self, name: str, y: Any) -> None:
        """Keep the node of an output, and the last outputs, because losses do not always save them."""
        if not isinstance(y, Tensor) or y.grad_fn is None:
            return
        self.made[y.grad_fn] = name
        self.outputs[y.grad_fn] = y
        if len(self.outputs) > LAST_OUTPUTS:
            del self.outputs[next(iter(self.outputs))]

    def _axis(self, x: Tensor) -> int:
        """Return the axis of units: channels of images and after a convolution, otherwise features."""
        return 1 if x.ndim >= 4 or (x.ndim == 3 and self._channel_axis == 1) else -1

    def _see_functional(self, x: Tensor) -> None:
        """Measure a functional activation: its output is the input of the next layer."""
        owner = self.layers.get(self._owner)
        if owner is not None and x.shape[self._axis(x)] == owner.units and owner.role == "weighted":
            name = f"{self._owner} (activation)"
            self.layers[name] = LayerFacts("functional", "activation", self._owner, owner.units)
            self._see_units(name, "functional", x)

    def _see_units(self, name: str, kind: str, y: Tensor) -> None:
        axis = self._axis(y) % y.ndim
        others = [i for i in range(y.ndim) if i != axis]
        limit = _SATURATES.get(kind)
        y = y.detach()
        silent = y.abs().amax(others) == 0
        streak = self._streaks.get(name)
        if streak is None or streak.shape != silent.shape:
            streak = torch.zeros_like(silent, dtype=torch.int32)
        self._streaks[name] = streak = (streak + 1) * silent
        needed = max(STREAK, -(-SAMPLES * y.shape[axis] // y.numel()))  # small batches need more
        self._dead[name] = (streak >= needed).float().mean()
        share = silent.float().mean()
        self._silent[name] = share if needed == STREAK else torch.full_like(share, float("nan"))
        if limit is not None:
            size = (2 * y - 1 if "igmoid" in kind else y).abs()
            often = (size > limit).float().mean(others) > 0.95
            self._saturated[name] = often.float().mean()

    def _watch_time(self, name: str, module: nn.RNNBase, x: Tensor, inputs: tuple[Any, ...]) -> Any:
        """Register for the gradient at each step of the input, without changing any number."""
        if (
            not isinstance(x, Tensor)
            or x.ndim != 3
            or not module.training
            or "packed" in str(type(inputs[0]))
        ):
            return None
        time = 1 if module.batch_first else 0
        if x.shape[time] < 4:
            return None
        watched = x if x.requires_grad else x.detach().requires_grad_()

        def read(grad: Tensor) -> None:
            other = [i for i in range(3) if i != time]
            size = grad.detach().float().abs().amax(other)  # squares would underflow
            tiny = torch.finfo(torch.float32).tiny
            # Two steps at each end, because a single one may receive nothing.
            first, last = size[:2].amax(), size[-2:].amax()
            self._recurrent[name] = (first + tiny).log10() - (last + tiny).log10()

        watched.register_hook(read)
        return None if watched is x else (watched, *inputs[1:])


def _input_facts(x: Tensor) -> Tensor:
    """Return the RMS, the largest standard deviation of a feature relative to it, and the batch size."""
    flat = x.detach().float().flatten(1)
    rms = flat.square().mean().sqrt()
    spread = _spread(flat, 0).amax() / rms.clamp(min=1e-30)
    return torch.stack([rms, spread, torch.full_like(rms, float(len(flat)))])


def _spread(x: Tensor, *axes: int) -> Tensor:
    """Compute the standard deviation in two passes: `torch.std` takes up to 13 times as long."""
    return (x - x.mean(axes, keepdim=True)).square_().mean(axes).sqrt()


def _growth(y: Tensor, time: int) -> Tensor:
    other = [i for i in range(y.ndim) if i != time]
    size = y.detach().float().abs().amax(other)  # squares would overflow
    return (size[-1] + 1e-30).log10() - (size[0] + 1e-30).log10()


def _has_weights(module: nn.Module) -> bool:
    return _role(module) in ("weighted", "recurrent")


def _role(module: nn.Module) -> str:
    kind = type(module).__name__
    if isinstance(module, nn.RNNBase):
        return "recurrent"
    own = list(module.parameters(recurse=False))
    if any(p.ndim > 1 for p in own):
        return "embedding" if "Embedding" in kind else "weighted"
    if "Norm" in kind:
        return "normalization"
    if any(part in kind for part in _SHAPELESS):
        return "other"
    return "activation"
