"""One training step of each kind: forward, backward, SGD with momentum; the same initial weights for all."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.errors import DtypeError
from nnfoundations.labs.gpu.kinds import Kind
from nnfoundations.numpy import MLP, SGD

__all__ = ["MOMENTUM", "RATE", "Images", "Step", "build_step", "perceptron", "synchronize", "unavailable"]

RATE, MOMENTUM = 0.03, 0.9


class Images(NamedTuple):
    """Flat standardized images `(N, 784)` in float32 and their classes, on the host, in random order."""

    x: Tensor
    y: Tensor


class Step(Protocol):
    """A network that makes a training step with batch number i when it is called."""

    def __call__(self, i: int) -> None:
        """Make a step."""

    def predict(self, x: Tensor) -> Tensor:
        """Return the class of each image."""

    def dtypes(self) -> set[str]:
        """Return the dtypes of the weights."""


def unavailable(kind: Kind) -> str:
    """Why a kind cannot run here; empty if it can.

    Args:
        kind: what is asked for.
    """
    if kind.device == "cuda" and not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return ""


def synchronize(device: str) -> None:
    """Wait until a device has done what it was given.

    Args:
        device: `cpu`, which is never behind, or `cuda`.
    """
    if device == "cuda":
        torch.cuda.synchronize()


def perceptron(sizes: list[int], seed: int) -> torch.nn.Sequential:
    """Build the network of `nnfoundations.numpy` on torch, with the same initial weights.

    Args:
        sizes: as in MLP.
        seed: of the weights.

    Returns:
        The network, on the CPU.
    """
    layers: list[torch.nn.Module] = []
    for features, units in pairwise(sizes):
        layers += [torch.nn.Linear(features, units), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter, array in zip(net.parameters(), MLP(sizes, seed=seed).parameters.values(), strict=True):
            parameter.copy_(torch.from_numpy(array))
    return net


def build_step(kind: Kind, sizes: list[int], batch: int, images: Images, seed: int) -> Step:
    """Build a network of a kind with its optimizer and data.

    Args:
        kind: how the step is computed.
        sizes: of the network.
        batch: images per step.
        images: at least one batch.
        seed: of the initial weights.

    Returns:
        The step.

    Raises:
        DtypeError: the weights are not of the dtype that the kind says, so times could not be compared.
    """
    step: Step = (_NumPyStep if kind.numpy else _TorchStep)(kind, sizes, batch, images, seed)
    if step.dtypes() != {kind.dtype}:
        raise DtypeError(
            f"{kind.label} needs weights of {kind.dtype}; got {', '.join(sorted(step.dtypes()))}. "
            "Times of different dtypes cannot be compared."
        )
    return step


def _rows(i: int, batch: int, count: int) -> slice:
    start = i % (count // batch) * batch
    return slice(start, start + batch)


class _NumPyStep:
    def __init__(self, kind: Kind, sizes: list[int], batch: int, images: Images, seed: int) -> None:
        self.net = MLP(sizes, seed=seed, dtype=kind.dtype)
        self.optimizer = SGD(self.net, RATE, momentum=MOMENTUM)
        self.x, self.y, self.batch = images.x.numpy(), images.y.numpy(), batch

    def __call__(self, i: int) -> None:
        rows = _rows(i, self.batch, len(self.x))
        self.net.differentiate(self.x[rows], self.y[rows])
        self.optimizer.step()

    def predict(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self.net(x.numpy()).argmax(1)))

    def dtypes(self) -> set[str]:
        return {str(array.dtype) for array in self.net.parameters.values()}


Batch = tuple[Tensor, Tensor]


class _TorchStep:
    def __init__(self, kind: Kind, sizes: list[int], batch: int, images: Images, seed: int) -> None:
        self.kind = kind
        self.net = perceptron(sizes, seed).to(kind.device)
        self.forward = torch.compile(self.net) if kind.compiled else self.net
        self.optimizer = torch.optim.SGD(self.net.parameters(), RATE, momentum=MOMENTUM)
        # Small gradients are 0 in float16, so the loss is scaled up and the gradients down again.
        self.scaler = torch.amp.GradScaler(kind.device, enabled=kind.autocast == "float16")
        self.batch_of = _BATCHES[kind.data](images, batch, kind.device)
        self.replay = self._capture() if kind.graph else None

    def __call__(self, i: int) -> None:
        x, y = self.batch_of(i)
        if self.replay is None:
            self._update(x, y)
        else:
            self.replay(x, y)

    def _update(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        dtype = getattr(torch, self.kind.autocast or "bfloat16")
        with torch.autocast(self.kind.device, dtype=dtype, enabled=bool(self.kind.autocast)):
            loss = cross_entropy(self.forward(x), y)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _capture(self) -> Callable[[Tensor, Tensor], None]:
        """Record a step as a CUDA graph, which reads its batch from the same memory at each replay."""
        x, y = (part.clone() for part in self.batch_of(0))
        before = [parameter.detach().clone() for parameter in self.net.parameters()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries set themselves up in the first steps, which no graph may hold
                self._update(x, y)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._update(x, y)
        with torch.no_grad():  # as if those steps had not been made
            for parameter, value in zip(self.net.parameters(), before, strict=True):
                parameter.copy_(value)
                self.optimizer.state[parameter]["momentum_buffer"].zero_()

        def replay(next_x: Tensor, next_y: Tensor) -> None:
            x.copy_(next_x)
            y.copy_(next_y)
            graph.replay()

        return replay

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        dtype = getattr(torch, self.kind.autocast or "bfloat16")
        with torch.autocast(self.kind.device, dtype=dtype, enabled=bool(self.kind.autocast)):
            logits: Tensor = self.net(x.to(self.kind.device))
        return logits.argmax(1).cpu()

    def dtypes(self) -> set[str]:
        return {str(parameter.dtype).removeprefix("torch.") for parameter in self.net.parameters()}


def _resident(images: Images, batch: int, device: str) -> Callable[[int], Batch]:
    x, y = images.x.to(device), images.y.to(device)

    def batch_of(i: int) -> Batch:
        rows = _rows(i, batch, len(x))
        return x[rows], y[rows]

    return batch_of


def _host(images: Images, batch: int, device: str) -> Callable[[int], Batch]:
    x, y = (part.pin_memory() if device == "cuda" else part for part in images)

    def batch_of(i: int) -> Batch:
        rows = _rows(i, batch, len(x))
        return x[rows].to(device, non_blocking=True), y[rows].to(device, non_blocking=True)

    return batch_of


def _loader(images: Images, batch: int, device: str) -> Callable[[int], Batch]:
    loader = DataLoader(TensorDataset(*images), batch, drop_last=True, pin_memory=device == "cuda")

    def endless() -> Iterator[Batch]:
        while True:
            yield from loader

    batches = endless()

    def batch_of(i: int) -> Batch:
        x, y = next(batches)
        return x.to(device, non_blocking=True), y.to(device, non_blocking=True)

    return batch_of


_BATCHES = {"resident": _resident, "host": _host, "loader": _loader}
