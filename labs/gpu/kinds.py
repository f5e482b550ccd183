"""What is timed: the same step of the same network, in every way that the lab compares."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BASE", "KINDS", "Kind", "sizes_of"]

BASE = {"batch": 64, "width": 256}
"""The case that all ways share: 784-256-128-10 with batches of 64."""


@dataclass(frozen=True)
class Kind:
    """One way to compute a training step.

    Args:
        label: its name in figures and tables.
        device: `cpu` or `cuda`.
        numpy: computed by hand in NumPy, not by torch.
        dtype: of the weights.
        autocast: dtype of the matrix products; empty for that of the weights.
        data: where a batch comes from: `resident` on the device; `host` memory, copied for each step (pinned
            for a GPU); `loader`, a DataLoader that collects single images.
        compiled: by torch.compile.
        graph: the whole step is captured once as a CUDA graph and replayed.
        threads: of the CPU, `one` or `all`.
    """

    label: str
    device: Literal["cpu", "cuda"] = "cpu"
    numpy: bool = False
    dtype: Literal["float32", "float64"] = "float32"
    autocast: Literal["", "bfloat16", "float16"] = ""
    data: Literal["resident", "host", "loader"] = "resident"
    compiled: bool = False
    graph: bool = False
    threads: Literal["one", "all"] = "one"


KINDS = {
    "numpy_float64": Kind("NumPy, promoted to float64", numpy=True, dtype="float64"),
    "numpy": Kind("NumPy", numpy=True),
    "numpy_all": Kind("NumPy, all cores", numpy=True, threads="all"),
    "torch": Kind("torch, CPU"),
    "torch_all": Kind("torch, CPU, all cores", threads="all"),
    "torch_loader": Kind("torch, CPU, per-sample loader", data="loader"),
    "torch_compiled": Kind("torch, CPU, compiled", compiled=True),
    "torch_bfloat16": Kind("torch, CPU, bfloat16", autocast="bfloat16"),
    "cuda_loader": Kind("CUDA, per-sample loader", "cuda", data="loader"),
    "cuda_host": Kind("CUDA, batches copied from the host", "cuda", data="host"),
    "cuda": Kind("CUDA, resident data", "cuda"),
    "cuda_compiled": Kind("CUDA, compiled", "cuda", compiled=True),
    "cuda_graph": Kind("CUDA graph", "cuda", graph=True),
    "cuda_bfloat16": Kind("CUDA, bfloat16", "cuda", autocast="bfloat16"),
    "cuda_float16": Kind("CUDA, float16 with loss scaling", "cuda", autocast="float16"),
}
"""By name. Weights and inputs are float32 unless the label says otherwise, and the CPU has one thread."""


def sizes_of(width: int) -> list[int]:
    """The sizes of the network.

    Args:
        width: units of the first hidden layer; the second one has half as many.

    Returns:
        Features of the input, of both hidden layers and of the output.
    """
    return [784, width, width // 2, 10]
