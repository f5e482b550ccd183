"""The figures of the gpu lab, drawn from its results."""

import math
from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.gpu.kinds import KINDS
from nnfoundations.labs.gpu.lab import BATCHES, RATE, scaled_rate
from nnfoundations.labs.gpu.tables import measured_kinds, rounds_by_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "accuracy", "speedup", "steps", "throughput"]


def steps(results: Results) -> "Figure":
    """Milliseconds per step of every kind that ran: all rounds, median and quartiles; and the accuracy."""
    from matplotlib.ticker import LogFormatter

    kinds = measured_kinds(results)[::-1]
    figure, (panels,) = new_figure(1, 2, height=0.9 + 0.27 * len(kinds), sharey=True, width_ratios=(3, 1))
    for place, kind in enumerate(kinds):
        rounds = np.concatenate(
            [results.curve("steps", seed, f"us_{kind}")[1] for seed in results.finished("steps")]
        )
        colour = COLOURS[1] if KINDS[kind].device == "cuda" else COLOURS[0]
        low, middle, high = np.quantile(rounds / 1000, (0.25, 0.5, 0.75))
        panels[0].plot(rounds / 1000, np.full(len(rounds), place), ".", color=colour, alpha=0.3)
        panels[0].plot((low, high), (place, place), color=colour, linewidth=3)
        panels[0].plot(middle, place, "o", color="white", markeredgecolor=colour)
        values = results.values("steps", f"accuracy_{kind}")
        panels[1].plot(values, np.full(len(values), place), ".", color=colour)
    panels[0].set(xscale="log", xlabel="ms per step, batches of 64", ylim=(-0.6, len(kinds) - 0.4))
    panels[0].xaxis.set_major_formatter(LogFormatter())
    panels[0].xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    panels[0].set_yticks(range(len(kinds)), [KINDS[kind].label for kind in kinds])
    panels[1].set(xlabel="accuracy, %")
    return figure


def throughput(results: Results) -> "Figure":
    """Images per second against the batch size: medians with quartiles."""
    figure, axes = new_figure(height=3.2)
    axis = axes[0, 0]
    for i, kind in enumerate(measured_kinds(results, "batches")):
        sizes, quartiles = _quartiles(results, "batches", kind)
        low, middle, high = sizes * 1e6 / quartiles[::-1]
        axis.fill_between(sizes, low, high, color=COLOURS[i % len(COLOURS)], alpha=0.25, linewidth=0)
        axis.plot(sizes, middle, "o-", color=COLOURS[i % len(COLOURS)], markersize=3, label=KINDS[kind].label)
    axis.set_xscale("log", base=2)
    axis.set(xlabel="images per batch", ylabel="images per second", yscale="log")
    axis.legend()
    return figure


def speedup(results: Results) -> "Figure":
    """Speed against the width, as a multiple of NumPy on one core."""
    figure, axes = new_figure(height=3.2)
    axis = axes[0, 0]
    _, (_, reference, _) = _quartiles(results, "widths", "numpy")
    for i, kind in enumerate(measured_kinds(results, "widths")):
        sizes, quartiles = _quartiles(results, "widths", kind)
        low, middle, high = reference / quartiles[::-1]
        axis.fill_between(sizes, low, high, color=COLOURS[i % len(COLOURS)], alpha=0.25, linewidth=0)
        axis.plot(sizes, middle, "o-", color=COLOURS[i % len(COLOURS)], markersize=3, label=KINDS[kind].label)
    axis.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="units of the first hidden layer, batches of 64", ylabel="speed, NumPy = 1", yscale="log")
    axis.legend()
    return figure


def _quartiles(results: Results, arm: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    by_size = rounds_by_size(results, arm, kind)
    return np.array(list(by_size)), np.quantile(list(by_size.values()), (0.25, 0.5, 0.75), axis=1)


def accuracy(results: Results) -> "Figure":
    """Validation accuracy against the batch size, at the scaled rate and at that of 64."""
    figure, axes = new_figure(height=3)
    axis = axes[0, 0]
    scaled = {64: "net_64", **{size: f"net_{size}" for size in BATCHES}}
    fixed = {64: "net_64", **{size: f"fixed_{size}" for size in BATCHES[1:]}}
    _line(axis, results, scaled, COLOURS[0], f"rate {RATE:g} to {scaled_rate(BATCHES[-1]):g}, by the root")
    _line(axis, results, fixed, COLOURS[1], f"rate {RATE:g}")
    _line(axis, results, {1024: "accumulate_1024"}, COLOURS[2], "64 images, accumulated 16 times")
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(scaled), map(str, scaled))
    axis.set(xlabel="images per step of SGD", ylabel="validation accuracy, %")
    axis.legend()
    return figure


def _line(axis: "Axes", results: Results, arms: dict[int, str], colour: str, label: str) -> None:
    values = [results.values(arm, "accuracy") for arm in arms.values()]
    for size, numbers in zip(arms, values, strict=True):
        axis.plot(np.full(len(numbers), size), numbers, "o", color=colour, markersize=3, alpha=0.5)
    means = [numbers.mean() if len(numbers) else math.nan for numbers in values]
    axis.plot(list(arms), means, "s-", color=colour, markersize=4, label=label)


FIGURES: dict[str, Draw] = {
    "steps": steps, "throughput": throughput, "speedup": speedup, "accuracy": accuracy,
}  # fmt: skip
