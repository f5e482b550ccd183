"""Time a step of this package's optimizers and of torch.optim with foreach, one row per optimizer.

    python benchmarks/optim.py --output docs/results/optim.csv

There are 10 million float32 parameters in 200 tensors. The two optimizers take one step each in turn, and
alternate which goes first. `ratio` is this package's median time divided by torch's. On a GPU a step ends
with a synchronization.
"""

import argparse
import csv
import platform
import statistics
import time
from pathlib import Path

import torch

from nnfoundations import optim

CASES = {
    "SGD": ("SGD", {"lr": 1e-3}),
    "SGD momentum": ("SGD", {"lr": 1e-3, "momentum": 0.9}),
    "SGD nesterov, decay": ("SGD", {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    "RMSprop": ("RMSprop", {"lr": 1e-3}),
    "RMSprop centered": ("RMSprop", {"lr": 1e-3, "centered": True}),
    "Adam": ("Adam", {"lr": 1e-3}),
    "Adam amsgrad": ("Adam", {"lr": 1e-3, "amsgrad": True}),
    "AdamW": ("AdamW", {"lr": 1e-3}),
}
FIELDS = ["optimizer", "parameters", "tensors", "device", "threads", "steps", "ours_ms", "torch_ms", "ratio"]
FIELDS += ["torch_version"]


def measure(
    case: str, parameters: int, tensors: int, device: str, steps: int
) -> tuple[list[float], list[float]]:
    name, options = CASES[case]
    optimizers = []
    for package in (optim, torch.optim):
        generator = torch.Generator().manual_seed(0)
        params = []
        for _ in range(tensors):
            p = torch.nn.Parameter(torch.randn(parameters // tensors, generator=generator).to(device))
            p.grad = torch.randn(parameters // tensors, generator=generator).to(device)
            params.append(p)
        optimizers.append(getattr(package, name)(params, **options, foreach=True))
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(steps + 3):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            optimizers[which].step()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn >= 3:  # the first steps create the state
                times[which].append(1e3 * (time.perf_counter() - start))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="CSV file for the rows")
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--tensors", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = platform.machine() if args.device == "cpu" else torch.cuda.get_device_name()
    rows = []
    for case in CASES:
        ours, theirs = measure(case, args.parameters, args.tensors, args.device, args.steps)
        mine, other = statistics.median(ours), statistics.median(theirs)
        values = (case, args.parameters, args.tensors, device, args.threads, args.steps)
        measures = (f"{mine:.3f}", f"{other:.3f}", f"{mine / other:.3f}", torch.__version__)
        row = dict(zip(FIELDS, (*values, *measures), strict=True))
        rows.append(row)
        print(f"{case:20} ours {mine:8.3f} ms  torch {other:8.3f} ms  ratio {mine / other:.3f}", flush=True)
    if args.output:
        with args.output.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, FIELDS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
