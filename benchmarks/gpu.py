"""Run every check that needs a GPU, in minutes: values, autocast, speed, training, diagnostics, data.

    python benchmarks/gpu.py FOLDER [--device cuda]

Writes errors.csv, curves.csv, modules.csv, fit.csv, diagnostics.csv and data.csv into FOLDER and prints a
short table at the end. Exit code 1 means that a value, a curve, a finding or the loader failed. `--device
cpu` runs the same on a small scale, to test this script.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import diagnostics_gpu
import modules
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from nnfoundations import convert, nn
from nnfoundations.datamodules import CIFAR10DataModule, LabelledSet
from nnfoundations.models import ResidualCNN
from nnfoundations.testing import HALF, TOLERANCES, run_backward

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from registry import CASES, DTYPES, Case

CUDA_K = {("sum", "forward"): 8, ("sum", "gradient"): 8}  # the rest as on CPU


def allowed(kind: str, part: str, dtype: torch.dtype) -> int:
    """Return k of the tolerance table on CUDA."""
    if dtype in HALF:
        return 1
    tolerance = TOLERANCES[kind]
    of_part = {"forward": tolerance.forward, "gradient": tolerance.gradient}
    k = of_part.get(part, tolerance.parameter or tolerance.gradient)
    return CUDA_K.get((kind, part), k)


def multiples(found: Tensor, reference: Tensor) -> float:
    """Return the largest error in units of eps (|r| + s), with s = max |r|, as the tolerance table does."""
    dtype = found.dtype
    a, r = found.detach().double().cpu(), reference.detach()
    if not r.numel():
        return 0.0
    if not torch.equal(a.isfinite(), r.isfinite()):
        return float("inf")
    a, r = a[r.isfinite()], r[r.isfinite()]
    if not r.numel():
        return 0.0
    floor = 6e-8 if dtype == torch.float16 else 0.0  # its smallest subnormal
    error = ((a - r).abs() - floor).clamp(min=0)
    return (error / (torch.finfo(dtype).eps * (r.abs() + r.abs().max())).clamp(min=1e-300)).max().item()


def draws_at_random(case: Case) -> bool:
    """Return whether the case draws random numbers, which differ between CPU and CUDA."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    case.build()[0](*case.inputs())
    built = torch.get_rng_state()
    torch.manual_seed(0)
    case.build()
    return not torch.equal(built, torch.get_rng_state()) and not torch.equal(before, built)


def errors(device: str) -> list[dict[str, Any]]:
    """Compare every case, dtype and part with torch in float64 on the CPU; return the worst errors."""
    rows = []
    for case in CASES:
        if draws_at_random(case):
            continue
        for dtype in DTYPES:
            ours, theirs = case.build(dtype)[0].to(device), case.build(dtype)[1].double()
            inputs = case.inputs(dtype)
            moved = tuple(x.detach().to(device).requires_grad_(x.requires_grad) for x in inputs)
            raised = tuple(
                x.detach().double().requires_grad_(x.requires_grad) if x.is_floating_point() else x
                for x in inputs
            )
            worst: dict[str, float] = {}
            pairs = zip(run_backward(ours, moved), run_backward(theirs, raised, dtype), strict=True)
            for (part, a), (_, r) in pairs:
                worst[part] = max(worst.get(part, 0.0), multiples(a, r))
            for part, error in worst.items():
                k = allowed(case.kind, part, dtype) * case.tolerance_factor
                row = {"case": str(case), "kind": case.kind, "part": part, "dtype": str(dtype)[6:]}
                rows.append(row | {"error_eps": round(error, 3), "k": k, "passes": error <= k})
    return rows


def curves(device: str, steps: int) -> list[dict[str, Any]]:
    """Train an MLP on digits with torch.nn and with ours, in float32 and under autocast."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32, device=device)
    target = torch.tensor(digits, device=device)
    rows = []
    for dtype in (torch.float32, *HALF):
        losses = []
        for swap in (convert.to_torch, convert.to_foundations):
            torch.manual_seed(0)
            net = torch.nn.Sequential(
                *(torch.nn.Linear(64, 128), torch.nn.BatchNorm1d(128), torch.nn.GELU()),
                *(torch.nn.Linear(128, 128), torch.nn.LayerNorm(128), torch.nn.SiLU()),
                torch.nn.Linear(128, 10),
            )
            losses.append(
                _trained(swap(net).to(device), swap(torch.nn.CrossEntropyLoss()), x, target, dtype, steps)
            )
        gap = max(abs(a - r) / (abs(r) + 1e-2) for a, r in zip(losses[1], losses[0], strict=True))
        row = {
            "dtype": str(dtype)[6:],
            "steps": steps,
            "torch_loss": losses[0][-1],
            "ours_loss": losses[1][-1],
        }
        rows.append(row | {"largest_gap": round(gap, 5), "passes": gap < (0.05 if dtype in HALF else 0.01)})
    return rows


def _trained(
    net: torch.nn.Module, loss_of: torch.nn.Module, x: Tensor, target: Tensor, dtype: torch.dtype, steps: int
) -> list[float]:
    device = x.device.type
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16 and device == "cuda")
    losses = []
    for i in range(steps):
        rows = torch.arange(i * 128, (i + 1) * 128, device=device) % len(x)
        optimizer.zero_grad()
        with torch.autocast(device, dtype=dtype, enabled=dtype in HALF):
            loss = loss_of(net(x[rows]), target[rows])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


def fit(device: str) -> list[dict[str, Any]]:
    """Run `nnfoundations fit --config digits` in a process."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "nnfoundations", "fit", "--config", "digits"]
        command += ["--trainer.default_root_dir", root, "--trainer.accelerator", accelerator]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        seconds = time.perf_counter() - start
    lines = [line for line in done.stdout.splitlines() if "test/accuracy " in line]
    accuracy = float(lines[0].split()[-1]) if lines else float("nan")
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
    row = {"accelerator": accelerator, "test_accuracy": accuracy, "seconds": round(seconds, 1)}
    return [row | {"exit": done.returncode, "passes": done.returncode == 0 and accuracy > 0.95}]


def data(device: str, small: bool) -> list[dict[str, Any]]:
    """Measure the loader's share of a step of the residual CNN, with the images on the device.

    The pixels are random, because only time is measured.
    """

    class Noise(CIFAR10DataModule):
        def read(self) -> LabelledSet:
            count = 2_000 if small else 60_000
            pixels = torch.randint(256, (count, *self.shape), dtype=torch.uint8)
            return LabelledSet(pixels, torch.arange(count) % 10, torch.arange(count - 100, count))

    on_device = Trainer(
        accelerator="gpu" if device == "cuda" else "cpu", devices=1, logger=False, enable_checkpointing=False
    )
    given = Noise(
        val_size=100, batch_size=32 if small else 256, augment=["crop", "flip"], device_resident="on"
    )
    given.trainer = on_device
    given.setup()
    net = ResidualCNN(channels=[4, 4] if small else (64, 128, 256, 512)).to(device)
    loss_of, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1)

    def seconds(trains: bool) -> float:
        count, batches = 5 if small else 100, iter(given.train_dataloader())
        next(batches)
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            x, y = next(batches)
            if trains:
                with torch.autocast(device, dtype=torch.bfloat16):
                    loss = loss_of(net(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    seconds(True)
    rounds = [(seconds(False), seconds(True)) for _ in range(1 if small else 5)]
    loader, step = (statistics.median(side) for side in zip(*rounds, strict=True))
    row = {"loader_us": round(loader * 1e6), "step_us": round(step * 1e6), "share": round(loader / step, 4)}
    resident = given.train_dataloader().inputs.device.type == device
    return [row | {"rounds": len(rounds), "passes": resident and (small or loader < 0.02 * step)}]


def summary(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the short table."""
    classes = {(row["kind"], row["part"], row["dtype"]) for row in found["errors"]}
    for kind, part, dtype in sorted(classes):
        key = {"kind": kind, "part": part, "dtype": dtype}
        chosen = [row for row in found["errors"] if key.items() <= row.items()]
        worst = max(chosen, key=lambda row: row["error_eps"] / row["k"])
        verdict = "" if all(row["passes"] for row in chosen) else "  FAILS: " + worst["case"]
        print(f"{kind:14} {part:9} {dtype:9} {worst['error_eps']:8.2f} eps of {worst['k']}{verdict}")
    for row in found["curves"]:
        print(f"curve {row['dtype']:9} gap {row['largest_gap']:.4f}  {'' if row['passes'] else 'FAILS'}")
    print(*modules.means(found["modules"]), sep="\n")
    for row in found["fit"]:
        print("fit on {accelerator}: accuracy {test_accuracy:.4f}, {seconds} s, exit {exit}".format(**row))
    for row in found["diagnostics"]:
        print(f"diagnostics {row['run']:16} {row['named']}  {'' if row['passes'] else 'FAILS'}")
    for row in found["data"]:
        print(f"loader {row['share']:.2%} of the residual CNN's step  {'' if row['passes'] else 'FAILS'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    chosen = parser.parse_args()
    device, small = chosen.device, chosen.device == "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    sizes = [10] if small else [10, 14, 18, 20, 22]
    names = ["Linear", "ReLU"] if small else list(modules.kinds())
    budget = 0.01 if small else 0.2
    parts = {
        "errors": lambda: errors(device),
        "curves": lambda: curves(device, 20 if small else 200),
        "modules": lambda: list(modules.measure(names, sizes, [1], device, torch.float32, budget)),
        "fit": lambda: fit(device),
        "diagnostics": lambda: diagnostics_gpu.rows(device, small),
        "data": lambda: data(device, small),
    }
    found = {}
    for name, part in parts.items():
        start = time.perf_counter()
        found[name] = part()
        modules.write(chosen.folder / f"{name}.csv", [row | modules.machine(device) for row in found[name]])
        print(f"{name}: {len(found[name])} rows in {time.perf_counter() - start:.0f} s", flush=True)
    summary(found)
    return 0 if all(row.get("passes", True) for row in chain(*found.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
