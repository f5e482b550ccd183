"""Answers computed from the results: speed, best batch, width, memory, what was not measured."""

import math
from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.markdown import markdown, markdown_table, mean_text, number
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.gpu.kinds import KINDS
from nnfoundations.labs.gpu.lab import BATCHES
from nnfoundations.labs.gpu.measure import NEAR, faster_from, smallest_good_batch
from nnfoundations.labs.gpu.remedies import REMEDIES

if TYPE_CHECKING:
    from IPython.display import Markdown

__all__ = [
    "SHARE",
    "best_batches",
    "largest_batch",
    "machine_text",
    "measured_kinds",
    "memory_advice",
    "not_measured",
    "rounds_by_size",
    "speed_table",
    "target_table",
    "width_text",
]

SHARE = 0.7
"""Of the free memory that a run should take: unified memory also holds the system and its page cache."""
IMAGES = 55_000
TARGET_KINDS = ("numpy", "torch", "torch_all", "cuda", "cuda_graph")
"""Their arithmetic is that of the arms that train, so these need as many steps."""


def rounds_by_size(results: Results, arm: str, kind: str) -> dict[float, np.ndarray]:
    """Find all times of a kind, in microseconds per step.

    Args:
        results: of the lab.
        arm: `batches` or `widths`.
        kind: a key of `KINDS`.

    Returns:
        The rounds of all seeds by size; nothing if it was not measured.

    Raises:
        ArmNotRun: there are no runs of the arm.
    """
    curves = [results.curve(arm, seed, f"us_{kind}") for seed in results.finished(arm)]
    sizes, times = (np.concatenate(part) for part in zip(*curves, strict=True))
    return {float(size): times[sizes == size] for size in np.unique(sizes)}


def measured_kinds(results: Results, arm: str = "steps") -> list[str]:
    """Find the kinds that an arm measured.

    Args:
        results: of the lab.
        arm: `steps`, `batches` or `widths`.

    Returns:
        Their names, in the order of `KINDS`.

    Raises:
        ArmNotRun: there are no runs of the arm.
    """
    seeds = results.finished(arm)
    return [kind for kind in KINDS if any(len(results.curve(arm, seed, f"us_{kind}")[0]) for seed in seeds)]


def not_measured(results: Results) -> "Markdown":
    """What this machine could not measure, by name.

    Args:
        results: of the lab.

    Returns:
        A sentence.
    """
    missing = [kind for kind in KINDS if kind not in measured_kinds(results)]
    if not missing:
        return markdown("Every kind was measured.")
    names = "; ".join(KINDS[kind].label for kind in missing)
    why = "compilation failed, as the output of the run says"
    if all(KINDS[kind].device == "cuda" for kind in missing):
        why = "torch found no CUDA device" if "cuda" not in measured_kinds(results) else why
    return markdown(
        f"**Not measured here: {names}** ({why}). No claim about them has a verdict other than *not shown*."
    )


def machine_text(results: Results) -> "Markdown":
    """The machine, with what a reader of times must know.

    Args:
        results: of the lab.

    Returns:
        A sentence per device.
    """
    devices = ", ".join(sorted({one["device"] for one in results.machine["machines"]}))
    lines = [f"{devices}; {number(_value(results, 'machine_cores'))} CPU cores for this process."]
    if not math.isnan(_value(results, "machine_capability")):
        tf32 = "on" if _value(results, "machine_tf32") else "off"
        shared = ", shared with the CPU" if _value(results, "machine_unified") else ""
        lines.append(
            f"CUDA capability {_value(results, 'machine_capability'):.1f}, driver "
            f"{_value(results, 'machine_driver'):g}, TF32 {tf32}, "
            f"{number(_value(results, 'machine_total_gib'))} GiB of memory{shared}."
        )
    return markdown(" ".join(lines))


def _value(results: Results, column: str) -> float:
    """The value of a column in the first run of `steps`; NaN if there is none."""
    return float(results.values("steps", column)[0])


def speed_table(results: Results) -> "Markdown":
    """Every kind: microseconds per step with quartiles, speed against NumPy, an epoch, accuracy.

    Args:
        results: of the lab.

    Returns:
        The table.
    """
    rows = []
    plain = results.values("steps", "us_numpy")
    for kind in measured_kinds(results):
        seeds = results.finished("steps")
        rounds = np.concatenate([results.curve("steps", seed, f"us_{kind}")[1] for seed in seeds])
        low, middle, high = np.quantile(rounds, (0.25, 0.5, 0.75))
        factors = np.quantile(plain / results.values("steps", f"us_{kind}"), (0.25, 0.5, 0.75))
        factor = f"{number(factors[1])} [{number(factors[0])}, {number(factors[2])}]"
        rows.append(
            (
                KINDS[kind].label,
                f"{number(middle)} [{number(low)}, {number(high)}]",
                number(64e6 / middle),
                number(middle * 1e-6 * IMAGES / 64),
                factor,
                mean_text(results.values("steps", f"accuracy_{kind}")),
            )
        )
    heads = ("kind", "µs per step", "images per second", "seconds per epoch", "speed, NumPy = 1",
             "accuracy, %")  # fmt: skip
    below = (
        "*Batches of 64. Medians with quartiles: of all rounds, for the factor of all seeds. Accuracy: on \
validation data, after the steps of the set-up.*"
    )
    return markdown_table(heads, rows, right=range(1, 6), below=below)


def best_batches(results: Results) -> "Markdown":
    """The smallest batch within 5 % of the best throughput, by kind.

    Args:
        results: of the lab.

    Returns:
        The table, or a sentence if batch sizes were not timed.
    """
    if "batches" not in results.arms:
        return markdown("*Batch sizes are timed by the preset `full`.*")
    rows = []
    for kind in measured_kinds(results, "batches"):
        medians = {
            int(size): float(np.median(times))
            for size, times in rounds_by_size(results, "batches", kind).items()
        }
        best = smallest_good_batch(medians)
        edge = " (the largest tried)" if best == max(medians) else ""
        rows.append((KINDS[kind].label, f"{number(best)}{edge}", number(best / medians[int(best)] * 1e6)))
    heads = ("kind", f"smallest batch with {100 * NEAR:.0f} % of the best throughput", "images per second")
    below = "*Throughput is not accuracy: see the next table for the time to 98 %.*"
    return markdown_table(heads, rows, right=(1, 2), below=below)


def target_table(results: Results) -> "Markdown":
    """Accuracy and time to 98 % of validation accuracy, by batch size and rate.

    Args:
        results: of the lab.

    Returns:
        The table, or a sentence if something was not run.
    """
    arms = {f"{rule}_{size}": size for size in (64, *BATCHES) for rule in ("net", "fixed")}
    arms = {arm: size for arm, size in arms.items() if arm in results.arms}
    if "batches" not in results.arms or len(arms) < 2:
        return markdown("*The time to 98 % needs all batch sizes. The preset `full` runs them.*")
    kinds = [kind for kind in measured_kinds(results, "batches") if kind in TARGET_KINDS]
    rows = []
    for arm, size in arms.items():
        steps = results.values(arm, "steps_98")
        reached = steps[~np.isnan(steps)]
        cells = [
            _batch_and_rate(arm),
            mean_text(results.values(arm, "accuracy")),
            f"{len(reached)} of {len(steps)}",
        ]
        for kind in kinds:
            us = float(np.median(rounds_by_size(results, "batches", kind)[size]))
            cells.append(number(float(np.median(reached)) * us * 1e-6) if len(reached) == len(steps) else "-")
        rows.append(cells)
    heads = ("batch and rate", "accuracy, %", "runs that reach 98 %",
             *(f"seconds to 98 %, {KINDS[kind].label}" for kind in kinds))  # fmt: skip
    below = (
        "*Seconds: steps to the end of the first epoch with 98 %, times the median of the step; `-` if not \
all runs reach it.*"
    )
    return markdown_table(heads, rows, right=range(1, len(heads)), below=below)


def _batch_and_rate(arm: str) -> str:
    """The batch size and the rate of an arm in a table."""
    rule, _, size = arm.partition("_")
    return f"{size}, {'scaled' if rule == 'net' else 'fixed'} rate"


def width_text(results: Results) -> "Markdown":
    """The widths from which a GPU, and torch on one core, are faster.

    Args:
        results: of the lab.

    Returns:
        Two sentences.
    """
    if "widths" not in results.arms:
        return markdown("*Widths are timed by the preset `full`.*")
    medians = {
        kind: {
            int(size): float(np.median(times))
            for size, times in rounds_by_size(results, "widths", kind).items()
        }
        for kind in measured_kinds(results, "widths")
    }
    lines = [_from("torch on one core", "NumPy", faster_from(medians["torch"], medians["numpy"]))]
    cpu = {
        size: min(medians[kind][size] for kind in medians if KINDS[kind].device == "cpu")
        for size in medians["numpy"]
    }
    lines.append(_from("CUDA", "the fastest kind on the CPU", faster_from(medians.get("cuda", {}), cpu)))
    return markdown(" ".join(lines))


def _from(one: str, other: str, width: float) -> str:
    if math.isnan(width):
        return f"From which width {one} is faster than {other} was **not measured**."
    if math.isinf(width):
        return f"{one} is not faster than {other} at the largest width."
    return f"{one} is faster than {other} from width **{width:.0f}** on, of those tried, with batches of 64."


def largest_batch(free: float, fixed: float, per_image: float) -> int:
    """The largest power of two whose step needs at most 70 % of the free memory.

    Args:
        free: memory, in the unit of the others.
        fixed: what weights, gradients and momentum need.
        per_image: what each further image of the batch needs.

    Returns:
        The batch size; 0 if not even one image fits.
    """
    images = (SHARE * free - fixed) / per_image
    return 2 ** math.floor(math.log2(images)) if images >= 1 else 0


def memory_advice(results: Results) -> "Markdown":
    """The peak of each batch size and remedy, and the batch that fits into 1 GiB.

    Args:
        results: of the lab.

    Returns:
        The table with the order of remedies, or a sentence if memory was not measured.
    """
    if "memory" not in results.arms:
        return markdown("*Memory is measured by the preset `full`.*")

    def peak(name: str, size: int) -> float:
        return float(np.median(results.values("memory", f"mib_{name}_{size}")))

    plain = peak("plain", 1024)
    per_image = (plain - peak("plain", 64)) / (1024 - 64)
    fixed = peak("plain", 64) - 64 * per_image
    rows = [(f"none, {size} images", number(peak("plain", size)), "-") for size in (64, 256)]
    for name, remedy in REMEDIES.items():
        value = peak(name, 1024)
        rows.append((f"{remedy.label}, 1,024 images", number(value), f"{100 * (1 - value / plain):.0f} %"))
    below = (
        f"A step needs {number(fixed)} MiB whatever the batch, and {1024 * per_image:.3g} KiB per image. So "
        f"in 1 GiB of free memory, of which {100 * SHARE:.0f} % should be used, batches of "
        f"{largest_batch(1024, fixed, per_image):,} fit.\n\nWhen memory runs out: **first** a smaller batch "
        "whose gradients are accumulated, which computes the same gradient; **then** bfloat16, if the "
        "accuracy stays; **then** activation checkpoints, which compute the forward pass twice."
    )
    return markdown_table(("remedy", "peak, MiB", "saved"), rows, right=(1, 2), below=below)
