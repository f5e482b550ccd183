"""Names the module that makes the first NaN or infinity, from a second run of a batch with hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nnfoundations.diagnostics.nonfinite._batch import tensors
from nnfoundations.diagnostics.nonfinite._check import finite

__all__ = ["Origin", "locate", "without_checkpoints"]


class Origin(NamedTuple):
    """The origin of the first number that is not finite.

    `place` is input, before (the first module), weights, forward, loss or backward; gradient or first loss if
    no more is known. A second run may also return unknown, or finite if its forward pass is finite and the
    rest could not run. `where` names modules, parameters or entries of the batch such as ``batch[0][3, 10]``.
    `reason` says why no more is known.
    """

    place: str
    where: tuple[str, ...] = ()
    reason: str = ""


def locate(model: nn.Module, run: Callable[[], Tensor | None]) -> Origin:
    """Run a batch once more and name the first module that makes a NaN or infinity from finite numbers.

    No `.grad` is written, and no gradient hook of the parameters runs (those of DistributedDataParallel would
    wait for other processes). Activation checkpointing is off: its reentrant kind allows no other way.

    Args:
        model: the model.
        run: runs the forward pass and returns the loss, or None if it has none.

    Returns:
        The origin.

    Raises:
        Exception: what the run raises, unless a module made a NaN or infinity before.
    """
    forward, backward = _ForwardWatch(model), _BackwardWatch(model)
    try:
        with (
            torch.compiler.set_stance("force_eager"),
            torch.enable_grad(),
            torch.autograd.set_detect_anomaly(False),
            without_checkpoints(),
        ):
            try:
                loss = run()
            except Exception:
                if origin := forward.origin(None):
                    return origin
                raise
            origin = forward.origin(loss)
            if origin is None and loss is not None and loss.requires_grad:
                named = {name: p for name, p in model.named_parameters() if p.requires_grad}
                grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
                bad = [n for n, g in zip(named, grads, strict=True) if g is not None and not finite(g)]
                origin = backward.origin(bad)
    finally:
        forward.remove()
        backward.remove()
    if loss is None:
        return origin or Origin("finite" if forward.ran else "unknown")
    return origin or Origin("unknown", reason="all numbers of a second run were finite")


class _Direct:
    """Runs a checkpointed function as it is, in place of `torch.utils.checkpoint.CheckpointFunction`."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        return function(*args)


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Run checkpointed functions as they are within the block."""
    original: Any = torch.utils.checkpoint.CheckpointFunction
    torch.utils.checkpoint.CheckpointFunction = _Direct  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        torch.utils.checkpoint.CheckpointFunction = original  # type: ignore[misc]


class _Watch:
    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


class _ForwardWatch(_Watch):
    """Checks the outputs of every module. A module with children may make the NaN in its own code."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        # (module, finite inputs, finite output, a scalar), inner modules before those that hold them
        self._seen: list[tuple[str, bool, bool, bool]] = []
        for name, module in model.named_modules():
            self._handles.append(module.register_forward_hook(self._after(name)))
        self._root = type(model).__name__

    @property
    def ran(self) -> bool:
        return bool(self._seen)

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            made = list(tensors(output))
            scalar = bool(made) and all(x.ndim == 0 for x in made)
            self._seen.append((name, finite(inputs), finite(made), scalar))

        return hook

    def origin(self, loss: Tensor | None) -> Origin | None:
        for i, (name, finite_in, finite_out, scalar) in enumerate(self._seen):
            if finite_out:
                continue
            last = all(not later or name.startswith(f"{later}.") for later, *_ in self._seen[i + 1 :])
            if scalar and finite_in and last:
                return Origin("loss", (name or self._root,))
            if not finite_in and not i:
                return Origin("input", (name or self._root,))
            # If the input is already not finite, the code between two modules made it.
            between = () if finite_in else (self._seen[i - 1][0],)
            return Origin("forward", (*between, name or self._root))
        return Origin("loss") if loss is not None and not finite(loss) else None


class _BackwardWatch(_Watch):
    """Checks the gradients of inputs and outputs of the innermost modules, in backward order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._order: list[str] = []
        self._events: list[tuple[str, str, bool]] = []  # module, "in" or "out", finite
        self._tensors: list[Tensor] = []  # kept, so that no id is used twice
        self._readers: dict[int, list[str]] = {}
        self._outputs: dict[str, Tensor] = {}
        for name, module in model.named_modules():
            if next(module.children(), None) is None:
                self._handles.append(module.register_forward_pre_hook(self._before(name)))
                self._handles.append(module.register_forward_hook(self._after(name)))

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            for x in tensors(inputs):
                if x.requires_grad and not self._events:
                    self._readers.setdefault(id(x), []).append(name)
                    self._watch(name, "in", x)

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if self._events:  # a checkpoint runs its modules again in the backward pass
                return
            self._order.append(name)
            for y in tensors(output):
                if y.requires_grad:
                    self._outputs[name] = y
                    self._watch(name, "out", y)

        return hook

    def _watch(self, name: str, side: str, x: Tensor) -> None:
        self._tensors.append(x)
        x.register_hook(lambda grad: self._events.append((name, side, finite(grad))))

    def origin(self, parameters: list[str]) -> Origin | None:
        """Return the origin; `parameters` are those whose gradient is not finite, in forward order."""
        fine = {name for name, side, good in self._events if side == "out" and good}
        for name, side, good in self._events:
            if good:
                continue
            if side == "in" and name in fine:
                return Origin("backward", (name,))
            if side == "out":
                readers = self._readers.get(id(self._outputs[name]), [])
                if culprits := [reader for reader in readers if reader in fine]:
                    return Origin("backward", (culprits[-1],))
                later = self._order[self._order.index(name) + 1 :]
                following = [other for other in later if other in self._outputs][:1]  # not a metric
                return Origin("backward", (name, *following) if following else ("the loss",))
        if parameters:  # only sums over the batch overflow, or nothing below needs a gradient
            module = parameters[-1].rpartition(".")[0]
            return Origin("backward", (module if module in self._order else parameters[-1],))
        return None
