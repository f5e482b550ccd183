"""The figures of the normalization lab, drawn from its results and trials."""

from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.normalization.lab import BATCHES, DEPTHS, NORMS, RATES, batch_arm
from nnfoundations.labs.normalization.tuning import TUNING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "batches", "depth", "histograms", "loss", "window"]

COLOUR = {"none": COLOURS[6], **dict(zip(list(NORMS)[1:], COLOURS, strict=False))}
MARKER = dict(zip(NORMS, "xos^D", strict=True))
PARTS = {("feature", 0): "mean of a feature", ("feature", 1): "s.d. of a feature",
         ("sample", 0): "mean of a sample", ("sample", 1): "s.d. of a sample"}  # fmt: skip


def _guessing(axis: "Axes", x: float) -> None:
    axis.axhline(10, color="black", linewidth=0.8, linestyle=":")
    axis.annotate("guessing", (x, 11), fontsize=8)


def _means(axis: "Axes", results: Results, norm: str, arms: dict[float, str], column: str) -> None:
    """Every seed of each arm at its place, and a line of the means."""
    places = list(arms)
    values = [results.values(arm, column) for arm in arms.values()]
    for place, numbers in zip(places, values, strict=True):
        axis.plot(np.full(len(numbers), place), numbers, MARKER[norm], color=COLOUR[norm], markersize=3,
                  alpha=0.5)  # fmt: skip
    axis.plot(places, [numbers.mean() for numbers in values], "-", color=COLOUR[norm], linewidth=1,
              marker=MARKER[norm], markersize=4, label=NORMS[norm])  # fmt: skip


def window(results: Results) -> "Figure":
    """Accuracy against the learning rate: common rates, and each norm at its own rate."""
    figure, (panels,) = new_figure(1, 2, height=3.2)
    for axis in panels:
        for norm in NORMS:
            _by_rate(axis, results, norm)
        axis.set(xscale="log", xlabel="learning rate", xlim=(RATES[0] / 1.5, RATES[-1] * 1.5))
    _guessing(panels[0], RATES[0])
    panels[0].set(ylabel="validation accuracy, %", ylim=(0, 102))
    panels[1].set(title="the same from 85 % on", ylim=(85, 96))
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 0.15))
    return figure


def _by_rate(axis: "Axes", results: Results, norm: str) -> None:
    ran = {rate: name for rate in RATES if (name := f"rate_{rate}_{norm}") in results.arms}
    if ran:
        _means(axis, results, norm, ran, "accuracy")
    if f"net_{norm}" in results.arms:
        own = TUNING.rates().get(f"net_{norm}", RATES[1])
        accuracy, label = results.values(f"net_{norm}", "accuracy").mean(), f"{NORMS[norm]}, own rate"
        axis.plot(own, accuracy, MARKER[norm], color=COLOUR[norm], markersize=9, fillstyle="none",
                  label="" if ran else label)  # fmt: skip


def loss(results: Results) -> "Figure":
    """Training loss against the step, each norm at its own rate: every seed thin, the mean thick."""
    figure, axes = new_figure(height=3)
    axis = axes[0, 0]
    for norm in NORMS:
        if f"net_{norm}" not in results.arms:
            continue
        curves = [results.curve(f"net_{norm}", seed, "loss") for seed in results.finished(f"net_{norm}")]
        for steps, losses in curves:
            axis.plot(steps, losses, color=COLOUR[norm], linewidth=0.5, alpha=0.25)
        axis.plot(curves[0][0], np.mean([losses for _, losses in curves], axis=0), color=COLOUR[norm],
                  label=NORMS[norm])  # fmt: skip
    axis.set(xlabel="step", ylabel="training loss of a batch", yscale="log")
    axis.legend()
    return figure


def histograms(results: Results) -> "Figure":
    """What each norm makes equal: mean and deviation of features and of samples, before and after."""
    norms = list(NORMS)[1:]
    figure, axes = new_figure(len(norms), 4, height=6, sharex="col")
    for row, norm in zip(axes, norms, strict=True):
        arm = f"net_{norm}"
        for axis, ((what, column), title) in zip(row, PARTS.items(), strict=True):
            for when, colour in (("before", "#999999"), ("after", COLOUR[norm])):
                values = np.concatenate([
                    results.curve(arm, seed, f"{what}_{when}")[column] for seed in results.finished(arm)
                ])  # fmt: skip
                bins = np.linspace(-4, 4, 42) if column == 0 else np.linspace(0, 6, 41)
                axis.hist(np.clip(values, bins[0], bins[-1]), bins, color=colour, alpha=0.7, label=when)
            axis.set_yticks([])
            if norm == norms[0]:
                axis.set_title(title)
        row[0].set_ylabel(NORMS[norm])
        row[0].legend(fontsize=7)
    return figure


def batches(results: Results) -> "Figure":
    """Accuracy, and disagreement of training and evaluation mode, against the batch size."""
    figure, (panels,) = new_figure(1, 2, height=3.2)
    for norm in (norm for norm in NORMS if norm != "rms"):
        arms = {float(size): batch_arm(norm, size) for size in BATCHES}
        for axis, column in zip(panels, ("accuracy", "disagreement"), strict=True):
            _means(axis, results, norm, arms, column)
    _guessing(panels[0], BATCHES[0])
    for axis, text in zip(panels, ("validation accuracy, %", "images with another class, %"), strict=True):
        axis.set_xscale("log", base=2)
        axis.set(xlabel="images per batch", ylabel=text, ylim=(-2, 102))
        axis.set_xticks(BATCHES, map(str, BATCHES))
    panels[1].legend()
    return figure


def depth(results: Results) -> "Figure":
    """Accuracy against the number of hidden layers, each norm at its own rate."""
    figure, axes = new_figure(height=3)
    axis = axes[0, 0]
    for i, norm in enumerate(NORMS):
        arms = {2 + 0.15 * (i - 2): f"net_{norm}"}
        arms |= {number + 0.15 * (i - 2): f"deep_{number}_{norm}" for number in DEPTHS}
        _means(axis, results, norm, arms, "accuracy")
    axis.set(xlabel="hidden layers", ylabel="validation accuracy, %", xticks=(2, *DEPTHS))
    axis.legend()
    return figure


FIGURES: dict[str, Draw] = {
    "window": window, "loss": loss, "histograms": histograms, "batches": batches, "depth": depth,
}  # fmt: skip
