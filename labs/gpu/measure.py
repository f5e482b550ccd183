"""Reads the folder of a run: what it has logged, as medians, ratios and curves."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nnfoundations.labs._runner.lab import Measured
from nnfoundations.labs._runner.scalars import logged_by_epoch, logged_by_step
from nnfoundations.labs.gpu.kinds import KINDS
from nnfoundations.labs.gpu.lab import TARGET

__all__ = ["NEAR", "faster_from", "read", "smallest_good_batch"]

NEAR = 0.95
"""Share of the best throughput that is good enough."""
RATIOS = {
    "float64_slowdown": ("numpy_float64", "numpy"),
    "numpy_slowdown": ("numpy", "torch"),
    "compiled_speedup": ("torch", "torch_compiled"),
    "graph_speedup": ("cuda", "cuda_graph"),
    "bfloat16_speedup": ("cuda", "cuda_bfloat16"),
    "float16_speedup": ("cuda", "cuda_float16"),
}
Curve = list[tuple[float, float]]


def read(folder: Path) -> Measured:
    """Read a run.

    Args:
        folder: of the run.

    Returns:
        Values and curves, as `lab.measure` describes them.
    """
    logged = logged_by_step(folder)
    if "val/accuracy" in logged:
        return _of_training(folder, logged)
    times: dict[tuple[str, int, int], list[float]] = {}
    for name, points in logged.items():
        if name.startswith("us/"):
            _, kind, batch, width = name.split("/")
            times[kind, int(batch), int(width)] = [value for _, value in points]
    others = {
        name.replace("/", "_"): points[-1][1]
        for name, points in logged.items()
        if name.partition("/")[0] in ("accuracy", "machine", "mib", "accumulation_error")
    }
    if not times:
        return Measured(others | _savings(others))
    batches = sorted({batch for _, batch, _ in times})
    widths = sorted({width for _, _, width in times})
    if len(batches) > 1:
        return _of_sizes(times, others, 1)
    return _of_sizes(times, others, 2) if len(widths) > 1 else _of_steps(times, others)


def _of_training(folder: Path, logged: dict[str, Curve]) -> Measured:
    accuracies = [(epoch, 100 * value) for epoch, value in logged_by_epoch(folder)["val/accuracy"]]
    reached = next((i for i, (_, value) in enumerate(accuracies) if value >= TARGET), None)
    values = {
        "accuracy": accuracies[-1][1],
        "loss": logged["val/loss"][-1][1],
        "epochs_98": math.nan if reached is None else accuracies[reached][0],
        "steps_98": math.nan if reached is None else logged["val/accuracy"][reached][0] + 1,
    }
    return Measured(values, {"accuracy": accuracies})


def _of_steps(times: dict[tuple[str, int, int], list[float]], others: dict[str, float]) -> Measured:
    medians = {kind: float(np.median(rounds)) for (kind, _, _), rounds in times.items()}
    values = {f"us_{kind}": value for kind, value in medians.items()}
    for name, (over, under) in RATIOS.items():
        values[name] = medians.get(over, math.nan) / medians.get(under, math.nan)
    values["loader_share"] = medians.get("torch_loader", math.nan) / medians.get("torch", math.nan) - 1
    values["cuda_speedup"] = _fastest(medians, "cpu") / medians.get("cuda", math.nan)
    curves = {
        f"us_{kind}": [(float(i), value) for i, value in enumerate(rounds)]
        for (kind, _, _), rounds in times.items()
    }
    return Measured(others | values, curves)


def _fastest(medians: dict[str, float], device: str) -> float:
    """The time of the fastest kind with plain data and in float32."""
    plain = [
        value
        for kind, value in medians.items()
        if KINDS[kind].device == device and KINDS[kind].data == "resident" and not KINDS[kind].autocast
    ]
    return min(plain, default=math.nan)


def _of_sizes(
    times: dict[tuple[str, int, int], list[float]], others: dict[str, float], place: int
) -> Measured:
    """Times against the batch size (place 1) or the width (place 2)."""
    medians: dict[str, dict[int, float]] = {}
    curves: dict[str, Curve] = {}
    for (kind, batch, width), rounds in times.items():
        size = batch if place == 1 else width
        medians.setdefault(kind, {})[size] = float(np.median(rounds))
        curves.setdefault(f"us_{kind}", []).extend((float(size), value) for value in rounds)
    values = dict(others)
    if place == 1:
        values |= {f"best_batch_{kind}": smallest_good_batch(by_size) for kind, by_size in medians.items()}
        half, full = (medians.get(kind, {}).get(4096, math.nan) for kind in ("cuda_bfloat16", "cuda"))
        values["bfloat16_speedup"] = full / half
    else:
        values["faster_from"] = faster_from(_least(medians, "cuda"), _least(medians, "cpu"))
        values["torch_faster_from"] = faster_from(medians.get("torch", {}), medians.get("numpy", {}))
    return Measured(values, curves)


def _least(medians: dict[str, dict[int, float]], device: str) -> dict[int, float]:
    sizes: Iterable[int] = {size for by_size in medians.values() for size in by_size}
    found = {
        size: _fastest({kind: by_size[size] for kind, by_size in medians.items() if size in by_size}, device)
        for size in sizes
    }
    return {size: value for size, value in found.items() if not math.isnan(value)}


def smallest_good_batch(times: dict[int, float]) -> float:
    """Find the smallest batch within 5 % of the best throughput.

    Args:
        times: per step, by batch size.

    Returns:
        The batch size.
    """
    throughput = {batch: batch / value for batch, value in times.items()}
    return float(
        min(batch for batch, value in throughput.items() if value >= NEAR * max(throughput.values()))
    )


def faster_from(times: dict[int, float], others: dict[int, float]) -> float:
    """Find the size from which on the first is faster.

    Args:
        times: per step, by size.
        others: the same of what it is compared with.

    Returns:
        The size; infinite if it is slower at the largest one, NaN if one of them was not measured.
    """
    both = sorted(set(times) & set(others), reverse=True)
    found = math.inf if both else math.nan
    for size in both:
        if times[size] >= others[size]:
            break
        found = float(size)
    return found


def _savings(values: dict[str, float]) -> dict[str, float]:
    peaks = {name.split("_")[1]: value for name, value in values.items() if name.endswith("_1024")}
    saved = [100 * (1 - value / peaks["plain"]) for name, value in peaks.items() if name != "plain"]
    return {"least_saving": min(saved)}
