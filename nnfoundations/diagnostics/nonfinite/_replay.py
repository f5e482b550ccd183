"""Runs a batch a second time without a trace: all state is restored, or the step does not run again."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnfoundations.diagnostics._error import describe
from nnfoundations.diagnostics.nonfinite._locate import Origin, locate
from nnfoundations.diagnostics.nonfinite._seal import SideEffectError, sealed
from nnfoundations.diagnostics.nonfinite._state import Snapshot, UnsafeError

__all__ = ["RandomState", "preserved", "run_again"]

_BATCH = "the batch"


class RandomState:
    """The state of the random generators of the CPU and of one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cpu = torch.default_generator.get_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def drawn_from(self) -> bool:
        """Return whether random numbers were drawn since then."""
        now = RandomState(self.device)
        same = torch.equal(self._cpu, now._cpu)
        if self._cuda is not None and now._cuda is not None:
            same = same and torch.equal(self._cuda, now._cuda)
        return not same

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw the same numbers again within the block, then restore the generators."""
        now, python, numpy = RandomState(self.device), random.getstate(), np.random.get_state()
        self._set()
        try:
            yield
        finally:
            now._set()
            random.setstate(python)
            np.random.set_state(numpy)

    def _set(self) -> None:
        torch.default_generator.set_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self.device)


def run_again(
    model: nn.Module,
    replay: Callable[[], Tensor | None],
    random_state: RandomState,
    batch: Any,
    others: Mapping[str, Any],
) -> Origin:
    """Locate the first NaN or infinity in a second run of a batch, and restore everything that it changes.

    The random state is that of the first run, so dropout draws the same mask.

    Args:
        model: the model.
        replay: runs the batch again and returns the loss, or None if it has none.
        random_state: the random state at the first run.
        batch: the batch, which the step may change.
        others: other objects that the step may change, by name.

    Returns:
        The origin; unknown, with the reason, if the step cannot run again without a trace.
    """
    things = {_BATCH: batch, "": model, **others}
    try:
        with preserved(model, things, "training_step", "forward", "backward") as snapshot:
            origin = _located(model, replay, random_state)
            states = snapshot.tensors.items()
            if any(name.startswith(_BATCH) and state.changed for name, state in states):
                origin = _unknown("the step changes its batch, so a second run starts from other numbers")
    except UnsafeError as problem:
        return _unknown(f"the step was not run again because {problem}")
    return origin


@contextmanager
def preserved(model: nn.Module, things: Mapping[str, Any], *used: str) -> Iterator[Snapshot]:
    """Restore after the block everything that it changes in a model and in other objects.

    No parameter has a gradient within the block. The random generators of torch are not restored; see
    `RandomState`.

    Args:
        model: the model.
        things: the objects to restore, by the name that a message gives them; usually with the model.
        used: names of the methods that will run, such as ``"forward"``.

    Yields:
        The saved state.

    Raises:
        UnsafeError: something has a state that cannot be saved. The block does not run.
    """
    snapshot = Snapshot(*used)
    try:
        for name, value in things.items():
            snapshot.add(name, value)
    except UnsafeError:
        raise
    except Exception as error:  # an object that does not allow to be read
        raise UnsafeError(f"its state cannot be copied ({describe(error)})") from error
    gradients = [(p, p.grad) for p in model.parameters()]
    try:
        for p, _ in gradients:
            p.grad = None
        yield snapshot
    finally:
        try:
            snapshot.restore()
        finally:
            for p, gradient in gradients:
                p.grad = gradient


def _located(model: nn.Module, replay: Callable[[], Tensor | None], random_state: RandomState) -> Origin:
    stopped: list[str] = []
    try:
        with sealed() as stopped, random_state.again():
            origin = locate(model, replay)
    except SideEffectError:
        origin = Origin("unknown")
    except Exception as error:
        origin = _unknown(f"a second run of the step failed ({describe(error)})")
    if stopped:
        return _unknown(f"the second run of the step was stopped because it {stopped[0]}")
    return origin


def _unknown(reason: str) -> Origin:
    return Origin("unknown", reason=reason)
