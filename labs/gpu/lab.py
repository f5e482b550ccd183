"""Speed: a training step on NumPy, torch and a GPU, and what batch size and precision cost in accuracy.

Four arms measure: `steps` every kind of step at one size, `batches` and `widths` the sizes, `memory` the peak
of memory. All others train. Without a GPU the kinds on CUDA are left out, and the report names them.
"""

import math
from pathlib import Path

from nnfoundations.labs._runner.lab import Arm, Lab, Measured, Preset

__all__ = ["BATCHES", "LAB", "RATE", "TARGET", "TRAINED", "measure", "scaled_rate"]

BATCHES = (256, 1024, 4096)
RATE = 0.04
"""The largest rate of the schedule with batches of 64."""
TARGET = 98.0
"""Validation accuracy in % whose time is measured."""


def measure(folder: Path) -> Measured:
    """Read a run.

    Args:
        folder: of the run.

    Returns:
        Of a training: `accuracy` on validation data in %, `loss` there, `epochs_98`, the first epoch with
        98 %, `steps_98`, its steps. Of `steps`: `us_KIND`, the median of microseconds per step, and
        `accuracy_KIND` after a quarter of an epoch; the ratios `float64_slowdown`, `numpy_slowdown`,
        `loader_share`, `compiled_speedup`, and with a GPU `cuda_speedup` over the fastest kind on the CPU,
        `graph_speedup`, `bfloat16_speedup`, `float16_speedup`. Of `batches`: `best_batch_KIND`, the
        smallest within 5 % of the best throughput, and `bfloat16_speedup` at 4,096. Of `widths`:
        `faster_from`, the width from which CUDA is faster than any CPU kind, and `torch_faster_from`. Of
        `memory`: `mib_REMEDY_BATCH`, `least_saving` of the remedies in %, `accumulation_error`. Curves: all
        measured times by round, batch or width, and accuracy by epoch.
    """
    from nnfoundations.labs.gpu.measure import read

    return read(folder)


def scaled_rate(batch: int) -> float:
    """The rate for a batch size: it grows with the square root.

    Args:
        batch: images per step.
    """
    return RATE * math.sqrt(batch / 64)


def _batch(size: int, label: str, rate: float, *options: str) -> tuple[str, tuple[str, ...]]:
    schedule = "--model.init_args.lr_scheduler.init_args.max_lr"
    given = ("--data.init_args.batch_size", str(size), schedule, f"{rate:g}", *options)
    return f"batches of {size:,}, {label}", given


def _large(name: str, size: int, label: str, rate: float, *options: str) -> Arm:
    text, given = _batch(size, label, rate, *options)
    return Arm(name, text, "gpu/net", given)


LOG_OFTEN = ("--trainer.log_every_n_steps", "5")
TRAINED = (
    Arm("net_64", "torch, batches of 64", "gpu/net"),
    Arm("numpy", "NumPy, batches of 64"),
    Arm("bfloat16", "bfloat16, batches of 64", "gpu/net", ("--trainer.precision", "bf16-mixed")),
    *(_large(f"net_{size}", size, "scaled rate", scaled_rate(size), *LOG_OFTEN) for size in BATCHES),
    *(_large(f"fixed_{size}", size, "rate of 64", RATE, *LOG_OFTEN) for size in BATCHES[1:]),
    _large(
        "accumulate_1024", 64, "16 accumulated", scaled_rate(1024), "--trainer.accumulate_grad_batches", "16"
    ),
)
"""The arms that train."""

LAB = Lab(
    name="gpu",
    question="How fast is a training step of a small network on NumPy, torch and a GPU, from which size does "
    "the GPU win, and which batch size reaches 98 % first?",
    setup={
        "data": "MNIST: 55,000 training and 5,000 validation images, one fixed stratified split",
        "network": "784-256-128-10 in float32, ReLU, 235,146 weights and biases; He's initial values, drawn "
        "by the NumPy network and copied to torch. Widths: 784-w-w/2-10",
        "step": "forward, backward, SGD with momentum 0.9; plain layers of torch, no Lightning",
        "clock": "wall time; the device is waited for before both readings; 10 steps and compilation are "
        "discarded; all kinds in turn, each second round in reverse, at least 0.05 s and 3 steps each; 5 "
        "rounds per seed. Median and quartiles of all rounds",
        "threads": "one on the CPU, unless the kind says all cores",
        "resident, host, loader": "all images on the device; a slice copied from (pinned) memory for each "
        "step; a DataLoader that collects single images",
        "accuracy of a kind": "on validation data after 215 steps of 64, from the same initial values",
        "training": f"4 epochs, a rate that rises to {RATE:g} and falls to 0; on the GPU if there is one",
        "scaled rate": "the rate grows with the square root of the batch size; fixed: that of 64",
        "seconds to 98 %": "steps to the first epoch with 98 % validation accuracy, times the median of the "
        "step",
        "memory": "784-256-...-256-10, 17 layers: the peak of one step with weights, gradients and momentum",
        "a seed": "determines initial values and order; arms with the same seed are paired",
    },
    arms=(
        Arm("steps", "every kind of step"),
        Arm("batches", "times by batch size"),
        Arm("widths", "times by width"),
        Arm("memory", "peak of memory"),
        *TRAINED,
    ),
    presets={
        "smoke": Preset(
            1,
            60,
            ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2",
             "--trainer.log_every_n_steps", "1"),
            ("steps", "net_64"),
            notebook=False,
        ),
        "quick": Preset(
            5,
            110,
            ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "30"),
            ("steps", "net_64", "fixed_4096"),
        ),
        "full": Preset(5, 1400),
    },
    measure=measure,
    table={"accuracy": "validation accuracy, %", "epochs_98": "first epoch with 98 %"},
    comparisons=(
        *((arm.name, "net_64") for arm in TRAINED if arm.name not in ("net_64", "accumulate_1024")),
        ("accumulate_1024", "net_1024"),
    ),
    main_figure="steps",
    data=("MNIST",),
)  # fmt: skip
