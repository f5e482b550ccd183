"""The figures of the regularization lab, drawn from its results alone."""

from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure
from nnfoundations.labs._runner.results import LEAST_SEEDS, Results
from nnfoundations.labs._runner.statistics import mean_interval
from nnfoundations.labs.regularization.lab import DROPOUT, GRID_L2, LAB, grid_arm
from nnfoundations.labs.regularization.sweeps import SWEEPS, Sweep, fit_of, flat_region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "gains", "heat_map", "memorized", "sizes", "strengths", "three_fits", "weights"]

TRAINING, VALIDATION = COLOURS[0], COLOURS[1]
THREE = ("l2_0.1", "l2_0.003", "none")


def _curve(
    axis: "Axes", results: Results, arm: str, name: str, colour: str, label: str, style: str = "-"
) -> None:
    """A curve by epoch: every seed thin, the mean thick."""
    curves = [results.curve(arm, seed, name) for seed in results.finished(arm)]
    for epochs, values in curves:
        axis.plot(epochs, values, style, color=colour, alpha=0.25, linewidth=0.6)
    axis.plot(
        curves[0][0], np.mean([values for _, values in curves], axis=0), style, color=colour, label=label
    )


def three_fits(results: Results) -> "Figure":
    """Losses and accuracies by epoch of a strong, a middle and no penalty."""
    figure, axes = new_figure(3, 3, height=5.4, sharex=True, sharey="row")
    for column, arm in zip(axes.T, THREE, strict=True):
        fit = fit_of(results, arm, THREE).replace("best", "best of these")
        column[0].set_title(f"{LAB.label(arm)}: {fit}")
        for axis, kind in zip(column[::2], ("loss", "accuracy"), strict=True):
            _curve(axis, results, arm, f"fit_{kind}", TRAINING, "training")
            _curve(axis, results, arm, kind, VALIDATION, "validation")
        _curve(column[1], results, arm, "loss", VALIDATION, "validation")
        column[2].set_xlabel("epoch")
    axes[0, 0].set(yscale="log", ylabel="loss (data term)")
    axes[1, 0].set_ylabel("validation loss alone")
    axes[2, 0].set_ylabel("accuracy, %")
    axes[0, 0].legend(loc="lower left")
    return figure


def strengths(results: Results) -> "Figure":
    """Accuracy and loss by strength, with the flat region around the best one."""
    figure, axes = new_figure(2, 4, height=4.4, sharex="col", sharey="row")
    for column, sweep in zip(axes.T, SWEEPS, strict=True):
        x = np.array([float(strength) for strength in sweep.strengths])
        for axis, kind in zip(column, ("accuracy", "loss"), strict=True):
            for name, colour, style in ((f"fit_{kind}", TRAINING, "--"), (kind, VALIDATION, "-")):
                values = [results.values(arm, name) for arm in sweep.arms]
                for at, one in zip(x, values, strict=True):
                    axis.plot(np.full(len(one), at), one, ".", color=colour, markersize=3, alpha=0.5)
                label = "training" if "fit" in name else "validation"
                axis.plot(x, [one.mean() for one in values], style, color=colour, label=label)
            axis.axhline(results.values("none", kind).mean(), color="black", linewidth=0.8, linestyle=":",
                         label="validation, none")  # fmt: skip
        _mark_flat(column[0], results, sweep, x)
        _mark_flat(column[1], results, sweep, x)
        column[0].set_xscale("log" if sweep.log else "linear")
        column[1].set_xlabel(sweep.symbol)
    axes[0, 3].invert_xaxis()  # the smaller the limit, the stronger
    axes[0, 0].set_ylabel("accuracy, %")
    axes[1, 0].set(yscale="log", ylabel="loss (data term)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _mark_flat(axis: "Axes", results: Results, sweep: Sweep, x: np.ndarray) -> None:
    _, flat = flat_region(results, sweep.arms)
    if flat:
        inside = [x[i] for i, arm in enumerate(sweep.arms) if arm in flat]
        ends = np.array([min(inside), max(inside)])
        pad = np.array([1 / 1.25, 1.25]) if sweep.log else 1 + 0.03 * np.array([-1, 1]) * np.ptp(x) / ends
        axis.axvspan(*(ends * pad), color=COLOURS[2], alpha=0.18, linewidth=0)


def gains(results: Results) -> "Figure":
    """Validation accuracy of each arm minus that of none, paired by seed, with 95 % intervals."""
    known = {arm for arm, _ in LAB.comparisons} | {"dropout_0.5_max_norm_1", "l2_0.001_l1_0.0001"}
    own = set(results.arms) - {arm.name for arm in LAB.arms}
    arms = [arm for arm in results.arms if arm in known | own]
    figure, axes = new_figure(height=0.6 + 0.2 * len(arms))
    axis = axes[0, 0]
    for i, arm in enumerate(reversed(arms)):
        first, second = results.pairs(arm, "none", "accuracy")
        difference = first - second
        axis.plot(difference, np.full(len(difference), i), "o", color=COLOURS[0], markersize=3, alpha=0.35)
        axis.plot(difference.mean(), i, "D", color=COLOURS[0], markersize=4)
        if len(difference) >= LEAST_SEEDS:
            interval = mean_interval(difference)
            axis.plot((interval.low, interval.high), (i, i), color=COLOURS[0], linewidth=1.5)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(arms)), [LAB.label(arm) for arm in reversed(arms)])
    axis.set_ylim(-0.6, len(arms) - 0.4)
    axis.set_xlabel("validation accuracy minus that of none, points")
    return figure


def heat_map(results: Results) -> "Figure":
    """Accuracy for each pair of L2 and dropout, and how far it is from the sum of the two gains."""
    rows, columns = ("0", *GRID_L2), ("0", *DROPOUT)
    mean = np.array([
        [results.values(grid_arm(l2, p), "accuracy").mean() for p in columns] for l2 in rows
    ])  # fmt: skip
    excess = mean - mean[:, :1] - mean[:1, :] + mean[0, 0]
    shown = np.array([[_differs_from_sum(results, l2, p) for p in columns] for l2 in rows])
    figure, (panels,) = new_figure(1, 2, height=2.9)
    low, most = np.sort(mean.ravel())[2], np.abs(excess).max()
    panels[0].imshow(mean, cmap="cividis", vmin=low, vmax=mean.max(), aspect="auto")
    panels[1].imshow(excess, cmap="PuOr", vmin=-most, vmax=most, aspect="auto")
    for axis, values, title in zip(
        panels, (mean, excess), ("validation accuracy, %", "minus (none + both gains), points"),
        strict=True,
    ):  # fmt: skip
        for (i, j), value in np.ndenumerate(values):
            dark = value < (low + mean.max()) / 2 if values is mean else abs(value) > 0.6 * most
            star = "*" if shown[i, j] else ""
            text = f"{value:.1f}" if values is mean else f"{value:+.1f}{star}" if i and j else ""
            axis.text(j, i, text, ha="center", va="center", color="white" if dark else "black")
        axis.set(title=title, xlabel="dropout, p", ylabel="L2, λ")
        axis.set_xticks(range(len(columns)), columns)
        axis.set_yticks(range(len(rows)), rows)
        axis.grid(visible=False)
    return figure


def _differs_from_sum(results: Results, l2: str, p: str) -> bool:
    """Whether the 95 % interval of what a pair has beyond the sum of its two gains is without 0."""
    seeds = [
        results.by_seed(grid_arm(*pair), "accuracy") for pair in ((l2, p), (l2, "0"), ("0", p), ("0", "0"))
    ]
    both, one, other, none = (np.array([values[seed] for seed in sorted(values)]) for values in seeds)
    if len(both) < LEAST_SEEDS or "0" in (l2, p):
        return False
    interval = mean_interval(both - one - other + none)
    return interval.low > 0 or interval.high < 0


def weights(results: Results) -> "Figure":
    """Norm of the weights by epoch; data term and penalty by the strength of L2."""
    figure, (panels,) = new_figure(1, 2, height=3.0)
    arms = ("none", "dropout_0.5", "augmentation", "max_norm_0.5", "l2_0.003", "l2_0.03", "l1_0.001")
    for arm, colour in zip(arms, COLOURS, strict=True):
        _curve(panels[0], results, arm, "norm", colour, LAB.label(arm))
    panels[0].set(xlabel="epoch", ylabel="norm of all weights", yscale="log", ylim=(1.5, 45))
    panels[0].set_yticks((2, 5, 10, 20, 40), ("2", "5", "10", "20", "40"))
    panels[0].minorticks_off()
    panels[0].legend(fontsize=7, loc="lower left", ncols=2)
    sweep = SWEEPS[0]
    x = [float(strength) for strength in sweep.strengths]
    for column, label, colour, style in (
        ("fit_loss", "training loss, data term", TRAINING, "--"),
        ("penalty", "penalty, λ/2 Σw²", COLOURS[2], "-."),
        ("loss", "validation loss, data term", VALIDATION, "-"),
    ):
        panels[1].plot(x, [results.values(arm, column).mean() for arm in sweep.arms], style, color=colour,
                       marker="o", markersize=3, label=label)  # fmt: skip
    panels[1].set(xscale="log", yscale="log", xlabel=sweep.symbol, ylabel="loss or penalty, last epoch")
    panels[1].legend(fontsize=7)
    return figure


def sizes(results: Results) -> "Figure":
    """Validation accuracy by the number of training images."""
    figure, axes = new_figure(height=2.8)
    axis, counts = axes[0, 0], (300, 1000, 3000)
    for i, (arm, colour) in enumerate(zip(("none", "l2_0.003", "augmentation"), COLOURS, strict=False)):
        names = [arm if count == 1000 else f"{arm}_{count}" for count in counts]
        values = [results.values(name, "accuracy") for name in names]
        x = np.array(counts) * 1.02 ** (i - 1)
        axis.plot(x, [one.mean() for one in values], "-", color=colour, label=LAB.label(arm))
        for at, one in zip(x, values, strict=True):
            axis.plot(np.full(len(one), at), one, "o", color=colour, markersize=3, alpha=0.5)
    axis.set(xscale="log", xlabel="training images", ylabel="validation accuracy, %")
    axis.set_xticks(counts, [f"{count:,}" for count in counts])
    axis.minorticks_off()
    axis.legend()
    return figure


def memorized(results: Results) -> "Figure":
    """Training and validation accuracy by epoch on true and on random labels."""
    figure, (panels,) = new_figure(1, 2, height=2.7, sharey=True)
    for axis, suffix, title in zip(panels, ("", "_random"), ("true labels", "random labels"), strict=True):
        for arm, style in (("none", "-"), ("l2_0.003", "--")):
            name = f"{arm}{suffix}"
            _curve(axis, results, name, "fit_accuracy", TRAINING, f"training, {LAB.label(arm)}", style)
            _curve(axis, results, name, "accuracy", VALIDATION, f"validation, {LAB.label(arm)}", style)
        axis.set(title=title, xlabel="epoch")
    panels[0].set(ylabel="accuracy, %", ylim=(0, 102))
    panels[0].legend(loc="lower right")
    return figure


FIGURES: dict[str, Draw] = {
    "three_fits": three_fits, "strengths": strengths, "gains": gains, "heat_map": heat_map,
    "weights": weights, "sizes": sizes, "memorized": memorized,
}  # fmt: skip
