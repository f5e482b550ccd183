"""The peak of memory of a training step, and what lowers it: parts of a batch, bfloat16, checkpoints."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint_sequential

from nnfoundations.labs.gpu.remedies import REMEDIES, Remedy
from nnfoundations.labs.gpu.steps import Images, perceptron
from nnfoundations.labs.gpu.times import load_images

__all__ = [
    "BATCHES",
    "DEEP",
    "PeakMemory",
    "accumulate",
    "accumulation_error",
    "peak_bytes",
]

DEEP = [784, *[256] * 16, 10]
"""A network whose activations need more memory than its weights, as in large networks."""
BATCHES = (64, 256, 1024)
SEGMENTS = 4


class _Allocations(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, as the allocator of a GPU does by itself."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.live = self.peak = 0
        self._alive: set[int] = set()
        for tensor in tensors:
            self._count(tensor)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.live -= size


def peak_bytes(net: torch.nn.Sequential, x: Tensor, y: Tensor, remedy: Remedy) -> int:
    """Measure the peak of a training step: weights, gradients, momentum, batch and activations.

    A step is made before, so that the momentum exists.

    Args:
        net: on the device of the batch; it is trained.
        x: the whole batch.
        y: its classes.
        remedy: how the step is made.

    Returns:
        Bytes: on CUDA those of torch's allocator, elsewhere those of all tensors that are alive at once.
    """
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    _step(net, optimizer, x, y, remedy)
    if x.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        others = torch.cuda.memory_allocated() - _bytes(_held(net, optimizer, x, y))
        _step(net, optimizer, x, y, remedy)
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated() - others)
    allocations = _Allocations(_held(net, optimizer, x, y))
    with allocations:
        _step(net, optimizer, x, y, remedy)
    return allocations.peak


def _held(net: torch.nn.Module, optimizer: torch.optim.Optimizer, *batch: Tensor) -> list[Tensor]:
    states = [state["momentum_buffer"] for state in optimizer.state.values()]
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    return [*net.parameters(), *gradients, *states, *batch]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def _step(
    net: torch.nn.Sequential, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, remedy: Remedy
) -> None:
    optimizer.zero_grad(set_to_none=False)  # gradients are always there when the peak comes
    accumulate(net, x, y, remedy)
    optimizer.step()


def accumulate(net: torch.nn.Sequential, x: Tensor, y: Tensor, remedy: Remedy) -> None:
    """Add the gradient of the mean loss of a batch to those that are there.

    Args:
        net: gets the gradients.
        x: the whole batch.
        y: its classes.
        remedy: how it is computed.
    """
    for part, classes in zip(x.chunk(remedy.parts), y.chunk(remedy.parts), strict=True):
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=remedy.bfloat16):
            if remedy.checkpoints:
                logits = checkpoint_sequential(net, SEGMENTS, part, use_reentrant=False)
            else:
                logits = net(part)
            loss = cross_entropy(logits, classes) * (
                len(part) / len(x)
            )  # not 1 / parts: the last may be smaller
        loss.backward()


def accumulation_error(images: Images, seed: int, device: str, parts: int = 16) -> float:
    """Compare the accumulated gradient of a batch of 1,024 with that of the whole batch.

    Args:
        images: at least 1,024.
        seed: of the weights of 784-256-128-10.
        device: where float32 is computed.
        parts: of the batch.

    Returns:
        The largest error of either, against float64 and the same rounded inputs, in units of
        eps (|r| + max |r|) of float32: the tolerance of a matrix product is 16.
    """
    x, y = (part[:1024] for part in images)
    reference = _gradients(perceptron([784, 256, 128, 10], seed).double(), x.double(), y, 1)
    worst = 0.0
    for count in (1, parts):
        net = perceptron([784, 256, 128, 10], seed).to(device)
        for found, right in zip(_gradients(net, x.to(device), y.to(device), count), reference, strict=True):
            unit = torch.finfo(torch.float32).eps * (right.abs() + right.abs().max())
            worst = max(worst, ((found.double().cpu() - right).abs() / unit).max().item())
    return worst


def _gradients(net: torch.nn.Sequential, x: Tensor, y: Tensor, parts: int) -> list[Tensor]:
    accumulate(net, x, y, Remedy("", parts))
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


class PeakMemory(LightningModule):
    """Logs the peak memory in MiB of a deep network for several batch sizes, and with each remedy.

    The first training step measures; there is no other. On a GPU torch's allocator counts, elsewhere all
    tensors that are alive.
    """

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """None: each measurement has an optimizer of its own."""
        return []

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Nothing: without this method the Trainer warns that the data module has validation data."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Measure everything."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # set by the Trainer
        images, _ = load_images(data, max(BATCHES))
        cases = {f"mib/plain/{size}": (size, REMEDIES["plain"]) for size in BATCHES}
        cases |= {f"mib/{name}/{BATCHES[-1]}": (BATCHES[-1], remedy) for name, remedy in REMEDIES.items()}
        for name, (size, remedy) in cases.items():
            net = perceptron(DEEP, data.seed).to(self.device)
            x, y = (part[:size].clone().to(self.device) for part in images)
            self.log(name, peak_bytes(net, x, y, remedy) / 2**20)
        self.log("accumulation_error", accumulation_error(images, data.seed, self.device.type))
        self.trainer.should_stop = True
