"""Which module first made a number that is not finite: one batch, run again under watch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Origin(NamedTuple):
    """Where it began. `place`: input, forward, loss, backward, or unknown; `where`: module or input names."""

    place: str
    where: tuple[str, ...]


def locate(model: nn.Module, replay: Callable[[], Tensor | None], random_state: "RandomState") -> Origin:
    """Run a batch once more and name the first module that turns finite numbers into others.

    The random state is that of the batch's first run, so that dropout draws the same mask. Afterwards
    buffers, attributes, gradients and the random state are what they were before.

    Args: replay: runs the forward pass and returns the loss, or None where it has none to give.
    """
    seen: list[tuple[str, bool, bool]] = []  # module, finite inputs, finite output
    gradients: list[str] = []  # outputs with a non-finite gradient, in the order of the backward pass
    watched: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensors = list(_tensors(output))
            seen.append((name, _finite(inputs), _finite(output)))
            for y in tensors:
                if y.requires_grad:
                    watched.append(name)
                    y.register_hook(lambda grad: gradients.append(name) if not _finite(grad) else None)

        return hook

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if next(module.children(), None) is None
    ]
    try:
        with untouched(model), random_state.again():
            with torch.enable_grad():
                loss = replay()
            forward = _first_forward(seen, loss)
            if forward is not None:
                return forward
            if loss is not None and loss.requires_grad:
                loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    if not gradients:
        return Origin("unknown", ())
    # Backward goes from the last module to the first: what follows the first non-finite one made it.
    order = list(dict.fromkeys(watched))
    position = order.index(gradients[0])
    after = order[position + 1 : position + 2]
    return Origin("backward", tuple(after) or ("the loss",))


def _first_forward(seen: list[tuple[str, bool, bool]], loss: Tensor | None) -> Origin | None:
    for i, (name, finite_in, finite_out) in enumerate(seen):
        if not finite_in:
            # Made outside of any module: by the data before the first, else by code between two of them.
            return Origin("input", (name,)) if i == 0 else Origin("forward", (seen[i - 1][0], name))
        if not finite_out:
            return Origin("forward", (name,))
    if loss is not None and not _finite(loss):
        return Origin("loss", ())
    return None


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put buffers, plain attributes and gradients of a model back when the block ends."""
    attributes = [(module, _copied(module.__dict__)) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gradients = [(p, p.grad) for p in model.parameters()]
    for p, _ in gradients:
        p.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)
        for module, saved in attributes:
            module.__dict__.update(saved)
        for p, grad in gradients:
            p.grad = grad


_KEPT = ("_parameters", "_buffers", "_modules")


def _copied(attributes: dict[str, Any]) -> dict[str, Any]:
    copied = {}
    for name, value in attributes.items():
        if name in _KEPT or name.endswith("_hooks") or "_hooks_" in name:
            continue
        if isinstance(value, Tensor):
            value = value.detach().clone() if not value.requires_grad else value
        elif type(value) in (list, dict, set):
            value = value.copy()
        copied[name] = value
    return copied


class RandomState:
    """The state of the random generators of the CPU and of one device, to draw the same numbers again."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cpu = torch.default_generator.get_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @contextmanager
    def again(self) -> Iterator[None]:
        now = RandomState(self.device)
        self._set()
        try:
            yield
        finally:
            now._set()

    def _set(self) -> None:
        torch.default_generator.set_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self.device)


def nonfinite_inputs(batch: Any) -> tuple[str, ...]:
    """Which tensors of a batch hold a number that is not finite, such as ``batch[0]``. Waits for the device."""
    return tuple(f"batch{path}" for path, x in _paths(batch) if not _finite(x))


def _paths(tree: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _paths(value, f"{path}[{key!r}]")
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from _paths(value, f"{path}[{i}]")


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (tensor for _, tensor in _paths(tree))


def _finite(tree: Any) -> bool:
    return all(
        bool(x.isfinite().all()) for x in _tensors(tree) if x.is_floating_point() and x.device.type != "meta"
    )
