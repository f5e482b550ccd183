"""Time forward and backward of each of our modules against torch.nn's, interleaved in one run.

    python benchmarks/modules.py [--output ROWS.csv] [--sizes 10 14 20] [--threads 1] [--modules ReLU GELU]

A size is the base-2 logarithm of the number of input elements. Each round times ours and torch's one after
the other, and alternates which comes first; the result is the median over rounds. On CPU the time is the CPU
time of the process, summed over threads, which other processes disturb least. On CUDA it is the time between
two events.
"""

import argparse
import csv
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch loads: a spinning thread costs CPU time

import torch
from torch import Tensor

from nnfoundations import nn

FEATURES, CHANNELS = 256, 32
SIZES = (10, 12, 14, 16, 18, 20, 22)

Shape = Callable[[int], tuple[int, ...]]
ROWS: Shape = lambda n: (n // FEATURES, FEATURES)  # noqa: E731
SHAPES: dict[str, Shape] = {
    "BatchNorm2d": lambda n: (n // (CHANNELS * 16), CHANNELS, 4, 4),
    "BatchNorm3d": lambda n: (n // (CHANNELS * 8), CHANNELS, 2, 2, 2),
    "GroupNorm": lambda n: (n // (CHANNELS * 16), CHANNELS, 4, 4),
    "InstanceNorm1d": lambda n: (n // (CHANNELS * 16), CHANNELS, 16),
    "InstanceNorm2d": lambda n: (n // (CHANNELS * 16), CHANNELS, 4, 4),
    "InstanceNorm3d": lambda n: (n // (CHANNELS * 8), CHANNELS, 2, 2, 2),
    "Dropout1d": lambda n: (n // (CHANNELS * 16), CHANNELS, 16),
    "Dropout2d": lambda n: (n // (CHANNELS * 16), CHANNELS, 4, 4),
    "Dropout3d": lambda n: (n // (CHANNELS * 8), CHANNELS, 2, 2, 2),
    "Softmax2d": lambda n: (n // (CHANNELS * 16), CHANNELS, 4, 4),
    "CrossEntropyLoss": lambda n: (n // 64, 64),
    "NLLLoss": lambda n: (n // 64, 64),
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Linear": (FEATURES, FEATURES),
    "Bilinear": (16, 16, 16),
    "BatchNorm1d": (FEATURES,),
    "BatchNorm2d": (CHANNELS,),
    "BatchNorm3d": (CHANNELS,),
    "LayerNorm": (FEATURES,),
    "RMSNorm": (FEATURES,),
    "GroupNorm": (8, CHANNELS),
    "InstanceNorm1d": (CHANNELS,),
    "InstanceNorm2d": (CHANNELS,),
    "InstanceNorm3d": (CHANNELS,),
    "Softmax": (-1,),
    "Softmin": (-1,),
    "LogSoftmax": (-1,),
    "Threshold": (0.1, 0.0),
    "KLDivLoss": (None, None, "batchmean"),
}


class _SwiGLU(torch.nn.Module):
    """The same module, written with torch's functions."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        a, b = input.chunk(2, self.dim)
        return torch.nn.functional.silu(a) * b


def kinds() -> dict[str, tuple[type[torch.nn.Module], type[torch.nn.Module]]]:
    """Map the name of each of our modules to (ours, torch's)."""
    found = {}
    for name, ours in sorted(vars(nn).items()):
        theirs = _SwiGLU if name == "SwiGLU" else getattr(torch.nn, name, None)
        if isinstance(ours, type) and theirs is not None and ours is not theirs:
            found[name] = (ours, theirs)
    return found


def inputs(name: str, size: int, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    """Make the arguments of forward; the first has `size` elements."""
    shape = (size // 16, 16) if name == "Bilinear" else SHAPES.get(name, ROWS)(size)
    x = torch.randn(shape, dtype=dtype, device=device)
    target = torch.rand(shape, dtype=dtype, device=device)
    if name == "BCELoss":
        x = torch.rand(shape, dtype=dtype, device=device)
    x.requires_grad_()
    if name == "Bilinear":
        return x, torch.randn(shape, dtype=dtype, device=device, requires_grad=True)
    if name in ("CrossEntropyLoss", "NLLLoss"):
        return x, torch.randint(shape[1], shape[:1], device=device)
    if name in ("GaussianNLLLoss",):
        return x, target, target + 0.1
    return (x, target) if name.endswith("Loss") else (x,)


def step(module: torch.nn.Module, given: tuple[Tensor, ...]) -> Callable[[], None]:
    """Return a function that runs forward and backward once, for all inputs and parameters."""
    wanted = [x for x in (*given, *module.parameters()) if x.requires_grad]
    grad_output = torch.ones_like(module(*given))

    def run() -> None:
        torch.autograd.grad(module(*given), wanted, grad_output)

    return run


def _cpu_seconds(run: Callable[[], None], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        run()
    return (time.process_time() - start) / count


def _cuda_seconds(run: Callable[[], None], count: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(count):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / count


def compare(
    ours: Callable[[], None], theirs: Callable[[], None], device: str, budget: float
) -> dict[str, Any]:
    """Medians in microseconds over interleaved rounds: as many as fit the time budget, from 5 to 51."""
    seconds = _cuda_seconds if device == "cuda" else _cpu_seconds
    for run in (ours, theirs):
        run()
    once = max(seconds(ours, 1), seconds(theirs, 1), 1e-6)
    count = max(1, min(50, round(1e-3 / once)))
    rounds = max(5, min(51, int(budget / (2 * count * once))))
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        for side in (0, 1) if i % 2 else (1, 0):
            times[side].append(seconds((ours, theirs)[side], count))
    a, r = (statistics.median(side) * 1e6 for side in times)
    return {"ours_us": round(a, 2), "torch_us": round(r, 2), "ratio": round(a / r, 3), "rounds": rounds}


def machine(device: str) -> dict[str, Any]:
    """Hardware and versions on which the times depend, without a host name."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return {"machine": f"{name}, {os.cpu_count()} cores", **versions}


def measure(
    names: list[str], sizes: list[int], threads: list[int], device: str, dtype: torch.dtype, budget: float
) -> Iterator[dict[str, Any]]:
    """One row per module, size and thread count."""
    about = machine(device)
    for name in names:
        ours, theirs = kinds()[name]
        for size in sizes:
            torch.manual_seed(0)
            given = inputs(name, 2**size, dtype, device)
            pair = [
                step(kind(*ARGUMENTS.get(name, ())).to(device=device, dtype=dtype), given)
                for kind in (ours, theirs)
            ]
            for count in threads:
                torch.set_num_threads(count)
                key = {"module": name, "elements": 2**size, "threads": count, "device": device}
                key["dtype"] = str(dtype).removeprefix("torch.")
                yield key | compare(*pair, device, budget) | about


def means(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Geometric means of the ratios, one line per thread count."""
    for count in sorted({row["threads"] for row in rows}):
        chosen = [row for row in rows if row["threads"] == count]
        cells = []
        for size in sorted({row["elements"] for row in chosen}):
            logs = [math.log(row["ratio"]) for row in chosen if row["elements"] == size]
            cells.append(f"2^{round(math.log2(size))} {math.exp(statistics.mean(logs)):.2f}")
        yield f"geometric mean, {count} thread{'s' if count > 1 else ''}:  " + "  ".join(cells)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="base-2 logarithms of the number of elements"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--modules", nargs="+", default=list(kinds()), choices=list(kinds()))
    parser.add_argument("--device", default="cuda" if cuda else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16", "float64"))
    parser.add_argument(
        "--budget", type=float, default=0.3, help="seconds per measurement, if 5 rounds fit into it"
    )
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    threads = [1] if chosen.device == "cuda" else list(chosen.threads)
    rows = []
    arguments = chosen.modules, list(chosen.sizes), threads, chosen.device, getattr(torch, chosen.dtype)
    for row in measure(*arguments, chosen.budget):
        rows.append(row)
        print(
            "{module:20} {elements:>8} x {threads}  {ours_us:>10.1f} us  torch {torch_us:>10.1f} us  "
            "ratio {ratio:.2f}  ({rounds} rounds)".format(**row),
            flush=True,
        )
    print(*means(rows), sep="\n")
    if chosen.output:
        write(chosen.output, rows)


if __name__ == "__main__":
    main()
