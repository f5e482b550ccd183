"""Measures the first batches of a validation: the inputs, the samples, and what goes into the loss."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._input_moments import InputMoments
from nnfoundations.diagnostics._loss_facts import MEASURES
from nnfoundations.diagnostics._probe_guard import ProbeGuard
from nnfoundations.diagnostics._samples import SeenSamples, fingerprints
from nnfoundations.diagnostics._watched_model import WatchedModel

__all__ = ["ValidationProbe"]

VALIDATIONS, BATCHES, SAMPLES = 3, 8, 512
"""Validations that are measured, the largest number of their first batches, and enough samples."""

_SIGMOIDS, _LOGIT_LOSSES = ("sigmoid", "sigmoid_"), ("cross_entropy", "binary_cross_entropy_with_logits")


class ValidationProbe:
    """Measures the first batches of the first validations.

    Quantities:

    - `validation_input`: how the inputs of the network differ from those of training.
    - `validation_samples`: how many validation samples are training samples.

    Args:
        watched: the model, with the inputs of training.
        seen: the samples of training.
        guard: keeps exceptions away from the validation.
    """

    def __init__(self, watched: WatchedModel, seen: SeenSamples, guard: ProbeGuard) -> None:
        self.model, self.training, self.seen, self.guard = watched.model, watched.activations, seen, guard
        self._handle: RemovableHandle | None = None
        self._listening = ExitStack()
        self._validations = 0
        self._start()

    def _start(self) -> None:
        self._inputs, self._samples = InputMoments(), list[Tensor]()
        self._batches, self._loaders = 0, 1
        self._doubled: list[tuple[str, int, Tensor]] = []
        self._heard: set[str] = set()

    def begin(self, batch: Any, loader: int) -> None:
        """Begin a batch of a validation.

        Args:
            batch: the batch.
            loader: the position of its data loader.
        """
        self.end()
        self._loaders = max(self._loaders, loader + 1)
        enough = self._batches >= BATCHES or sum(map(len, self._samples)) >= SAMPLES
        if loader or enough or self._validations >= VALIDATIONS:
            return
        self._batches += 1
        if (rows := fingerprints(batch)) is not None:
            self._samples.append(rows)
        if self.training is None:
            return  # neither hooks nor modes may enter a compiled model
        if name := self.training.first:
            self._handle = self.model.get_submodule(name).register_forward_pre_hook(self._see)
        self._listening.enter_context(_LossListener(self._doubled, self._heard, self.guard))

    def _see(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        with self.guard:
            x = next((i for i in inputs if isinstance(i, Tensor)), None)
            if x is not None and x.is_floating_point() and x.ndim > 1 and x.numel():
                self._inputs.update(x)

    def end(self) -> None:
        """End a batch, also after an exception."""
        if self._handle is not None:
            self._handle.remove()
        self._listening.close()
        self._handle = None

    def finish(self, history: History, step: int) -> None:
        """Write what a validation showed into the history. Waits for the device."""
        self.end()
        if not self._batches:
            self._start()
            return
        self._validations += 1
        if self._inputs.samples and self.training is not None and self.training.inputs.samples:
            numbers = self._inputs.compare(self.training.inputs)
            history.record("validation_input", step, tuple(numbers), list(numbers.values()))
        if self._loaders == 1 and (found := self.seen.numbers(self._samples)) is not None:
            history.record("validation_samples", step, tuple(found), list(found.values()))
        if self._doubled and all(bool(certain) for _, _, certain in self._doubled):
            name, classes, _ = self._doubled[0]
            history.note(Event("softmax-in-validation", step, (), {"loss": name, "classes": classes}))
        if self._heard:
            history.note(Event("losses-in-validation", step, tuple(sorted(self._heard))))
        self._start()


class _LossListener(TorchFunctionMode):
    """Hears which loss functions run, and whether they get probabilities where they need logits.

    Args:
        found: receives each loss of logits, the number of classes, and whether it gets probabilities.
        heard: receives the name of each loss.
        guard: keeps exceptions away from the validation.
    """

    def __init__(self, found: list[tuple[str, int, Tensor]], heard: set[str], guard: ProbeGuard) -> None:
        super().__init__()
        self._found, self._heard, self._guard = found, heard, guard
        self._sigmoid: Any = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        result = func(*args, **(kwargs or {}))
        if name in MEASURES:
            self._heard.add(name)
        if name in _SIGMOIDS:
            self._sigmoid = result
        elif name in _LOGIT_LOSSES:
            x = args[0] if args else (kwargs or {}).get("input")
            with self._guard:
                if isinstance(x, Tensor) and x.is_floating_point() and x.numel():
                    self._hear(name, x.detach())
        return result

    def _hear(self, name: str, x: Tensor) -> None:
        if name == "cross_entropy":
            if x.ndim < 2 or x.shape[1] < 2:
                return
            sums = x.float().sum(1)
            certain = ((sums - 1).abs().amax() < 1e-3) & (x.amin() >= 0)
            self._found.append((name, x.shape[1], certain))
        else:
            made = isinstance(self._sigmoid, Tensor) and x.data_ptr() == self._sigmoid.data_ptr()
            self._found.append((name, 2, torch.tensor(made)))
