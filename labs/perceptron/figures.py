"""The figures of the perceptron lab, drawn from its results alone."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure, points_by_arm
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.perceptron.drawing import draw_boundary
from nnfoundations.labs.perceptron.flowers import flowers
from nnfoundations.labs.perceptron.lab import LAB

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ANIMATIONS", "FIGURES", "bound", "boundaries", "mistakes", "pocket", "updates"]

SEPALS = ("raw", "standard", "min_max")
SETOSA = (*SEPALS, "raw_all", "standard_all")


def updates(results: Results) -> "Figure":
    """Updates until no mistake is left, one point per order."""
    figure, axes = new_figure(height=2.6)
    axis = axes[0, 0]
    arms = [arm for arm in results.arms if arm != "versicolor"]  # also the reader's own
    labels = [LAB.label(arm).replace(", ", "\n") for arm in arms]
    points_by_arm(axis, labels, [results.values(arm, "updates") for arm in arms])
    axis.set(yscale="log", ylabel="updates until no mistake")
    return figure


def mistakes(results: Results) -> "Figure":
    """Mistakes per epoch: every order thin, the first one thick."""
    figure, axes = new_figure(1, 3, height=2.5, sharey=True, sharex=True)
    for axis, arm, colour in zip(axes[0], SEPALS, COLOURS, strict=False):
        for seed in reversed(results.seeds(arm)):
            epochs, count = results.curve(arm, seed, "mistakes")
            axis.plot(epochs, count, color=colour, alpha=1 if seed == 0 else 0.25,
                      linewidth=1.5 if seed == 0 else 0.7)  # fmt: skip
            axis.plot(epochs[-1:], count[-1:], "o", color=colour, markersize=2.5)
        axis.set(xscale="log", title=LAB.label(arm), xlabel="epoch")
    axes[0, 0].set_ylabel("mistakes of 150 flowers")
    return figure


def bound(results: Results) -> "Figure":
    """Updates against Novikoff's bound: no point may lie above the line."""
    figure, axes = new_figure(height=3.4)
    axis = axes[0, 0]
    for arm, colour, marker in zip(SETOSA, COLOURS, "os^Dv", strict=False):
        if arm in results.arms:
            axis.plot(results.values(arm, "bound"), results.values(arm, "updates"), marker, color=colour,
                      markersize=4, alpha=0.6, label=LAB.label(arm))  # fmt: skip
    ends = np.array([20, 1e5])
    axis.plot(ends, ends, color="black", linewidth=1)
    axis.annotate("updates = bound", (60, 90), rotation=24, fontsize=8)
    axis.set(xscale="log", yscale="log", xlabel="Novikoff's bound (R/γ)²", ylabel="updates")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def boundaries(results: Results) -> "Figure":
    """The boundary after some updates of the first order, raw above, standardized below."""
    figure, axes = new_figure(2, 5, height=3.4)
    for row, arm in zip(axes, ("raw", "standard"), strict=True):
        frames = list(_frames(results, arm))
        for axis in row:
            axis.set_visible(False)
        for axis, (number, weight, bias) in zip(row, [*frames[:-1][:4], frames[-1]], strict=False):
            axis.set_visible(True)
            x, y = flowers(scaling="raw" if arm == "raw" else "standard")
            draw_boundary(axis, x, y, weight, bias, f"update {number}")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(LAB.label(arm).removeprefix("sepals, "))
    figure.supxlabel("sepal length", fontsize=9)
    figure.supylabel("sepal width", fontsize=9)
    return figure


def pocket(results: Results) -> "Figure":
    """Versicolor: mistakes never end; the pocket keeps the better weights."""
    figure, (panels,) = new_figure(1, 2, height=2.6, sharey=True, width_ratios=(2, 1))
    for seed in reversed(results.seeds("versicolor")):
        epochs, count = results.curve("versicolor", seed, "mistakes")
        panels[0].plot(epochs, count, color=COLOURS[0], alpha=1 if seed == 0 else 0.2, linewidth=0.8)
    panels[0].set(xlabel="epoch", ylabel="mistakes or errors of 150 flowers")
    last, kept = results.values("versicolor", "errors_last"), results.values("versicolor", "errors")
    for before, after in zip(last, kept, strict=True):
        panels[1].plot(
            (0, 1), (before, after), "-o", color=COLOURS[1], alpha=0.5, markersize=3, linewidth=0.8
        )
    panels[1].set(xticks=(0, 1), xlim=(-0.3, 1.3))
    panels[1].set_xticklabels(("last weights", "pocket"))
    panels[1].set_ylim(bottom=0)
    return figure


def moving_boundary(results: Results) -> Iterator["Figure"]:
    """Frames: the boundary on raw and on standardized sepals, side by side, after 1, 3, 10, ... updates."""
    both = [list(_frames(results, arm)) for arm in ("raw", "standard")]
    for i in range(max(map(len, both))):
        figure, axes = new_figure(1, 2, height=3)
        for axis, arm, frames in zip(axes[0], ("raw", "standard"), both, strict=True):
            number, weight, bias = frames[min(i, len(frames) - 1)]
            x, y = flowers(scaling="raw" if arm == "raw" else "standard")
            done = ", no mistake left" if i >= len(frames) - 1 else ""
            draw_boundary(axis, x, y, weight, bias, f"{LAB.label(arm)}: update {number}{done}")
            axis.set(xlabel="sepal length", ylabel="sepal width")
        yield figure


def _frames(results: Results, arm: str) -> Iterator[tuple[int, list[float], float]]:
    """Number of updates, weights and bias, for the first order."""
    numbers, bias = results.curve(arm, 0, "bias")
    weights = [results.curve(arm, 0, f"weight_{i}")[1] for i in range(2)]
    for i, number in enumerate(numbers):
        yield int(number), [float(weight[i]) for weight in weights], float(bias[i])


FIGURES: dict[str, Draw] = {
    "updates": updates, "mistakes": mistakes, "boundaries": boundaries, "bound": bound, "pocket": pocket,
}  # fmt: skip
ANIMATIONS = {"boundary": moving_boundary}
