"""The figures of the lab, drawn from its results alone."""

import csv
from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure, points_by_arm
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.numpy_mlp.catch import CHECKS
from nnfoundations.labs.numpy_mlp.lab import BY_HAND, DEPTHS, LAB, LADDER, RATES, WIDTHS
from nnfoundations.labs.numpy_mlp.museum import EXHIBITS
from nnfoundations.labs.numpy_mlp.reading import GALLERY
from nnfoundations.labs.numpy_mlp.tuning import TUNING, best_rates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "curves", "gallery", "ladder", "museum", "outliers", "sizes", "tuning"]

LINES = [{"color": colour, "linestyle": style} for style in ("-", "--") for colour in COLOURS]
LABELS = {"unit": "plain,\n0 to 1", "numpy_decay": "mom.,\ndecay", "momentum": "+\nmom."}


def ladder(results: Results) -> "Figure":
    """Errors on the validation part, one column per rung, the recipes by hand on the left."""
    figure, axes = new_figure(height=3)
    arms = [arm for arm in (*BY_HAND, *LADDER) if arm in results.arms]
    labels = [LABELS.get(arm, LAB.label(arm).replace(" ", "\n")) for arm in arms]
    points_by_arm(axes[0, 0], labels, [results.values(arm, "error") for arm in arms])
    axes[0, 0].set(yscale="log", ylabel="validation error, %")
    axes[0, 0].tick_params(axis="x", labelsize=7)
    axes[0, 0].axvline(sum(arm in BY_HAND for arm in arms) - 0.5, color="black", linewidth=0.8)
    _plain_ticks(axes[0, 0])
    return figure


def _plain_ticks(axis: "Axes") -> None:
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def curves(results: Results) -> "Figure":
    """Accuracy by epoch of the recipes by hand, and the loss of all rungs."""
    figure, (panels,) = new_figure(1, 2, height=2.8)
    for arm, colour in zip(BY_HAND, COLOURS, strict=False):
        for i, seed in enumerate(results.finished(arm)):
            epochs, accuracy = results.curve(arm, seed, "val_accuracy")
            panels[0].plot(epochs, 100 * accuracy, "-o", color=colour, markersize=2, alpha=0.7, linewidth=1,
                           label=None if i else LAB.label(arm))  # fmt: skip
    panels[0].axhline(95, color="black", linewidth=0.8)
    panels[0].set(xlabel="epoch", ylabel="validation accuracy, %")
    panels[0].legend()
    for arm, look in zip(LADDER, LINES, strict=False):
        epochs, loss = results.curve(arm, results.finished(arm)[0], "val_loss")
        panels[1].plot(epochs, loss, label=LAB.label(arm), **look)
    panels[1].set(xlabel="epoch", ylabel="validation loss, first seed", yscale="log", xticks=(1, 5, 10, 15))
    _plain_ticks(panels[1])
    panels[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def tuning(results: Results) -> "Figure":
    """What the rate of each arm was chosen from: one seed, which no run of the lab uses."""
    figure, (panels,) = new_figure(1, 2, height=3.4)
    trials: dict[str, list[tuple[float, float]]] = {}
    rates = best_rates()
    with TUNING.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            trials.setdefault(row["arm"], []).append((float(row["rate"]), 100 * (1 - float(row["accuracy"]))))
    for panel, arms in zip(panels, (LADDER, {**WIDTHS, **DEPTHS}), strict=True):
        for arm, look in zip(arms, LINES, strict=False):
            points = sorted(trials[arm])
            label = LAB.label(arm).removeprefix("10k, ")
            panel.plot(*zip(*points, strict=True), marker=".", linewidth=1, label=label, **look)
            panel.plot(rates[arm], dict(points)[rates[arm]], "o", color=look["color"])
        panel.set(xscale="log", yscale="log", xlabel="learning rate")
        _plain_ticks(panel)
        panel.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2), handlelength=1)
    panels[0].set_ylabel("validation error, %")
    return figure


def sizes(results: Results) -> "Figure":
    """Errors against the learning rate, and against the sizes of the network."""
    figure, (panels,) = new_figure(1, 3, height=2.6)
    for arm, rate in RATES.items():
        error, diverged = results.values(arm, "error"), np.isnan(results.values(arm, "loss"))
        panels[0].plot([rate] * sum(~diverged), error[~diverged], "o", color=COLOURS[0], markersize=3)
        panels[0].plot([rate] * sum(diverged), error[diverged], "x", color=COLOURS[1], markersize=5)
    panels[0].set(xscale="log", yscale="log", xlabel="learning rate (x: NaN)", ylabel="validation error, %")
    _plain_ticks(panels[0])
    panels[2].sharey(panels[1])
    for panel, arms, what in (
        (panels[1], WIDTHS, "hidden units"),
        (panels[2], DEPTHS, "layers of 128 units"),
    ):
        points_by_arm(panel, list(arms.values()), [results.values(arm, "error") for arm in arms])
        panel.set_xlabel(what)
    return figure


def gallery(results: Results) -> "Figure":
    """Digits that the first seed has right, and those that it has wrong with the highest probability."""
    from nnfoundations.datamodules import MNISTDataModule

    data = MNISTDataModule(normalize=False, batch_size=5000)
    data.setup("fit")
    (x, y), *_ = data.val_dataloader()
    rows = (("plain", "right"), ("plain", "wrong"), ("average", "wrong"))
    figure, panels = new_figure(len(rows), GALLERY, height=3.6)
    for axes, (arm, kind) in zip(panels, rows, strict=True):
        seed = results.finished(arm)[0]
        indices, classes = results.curve(arm, seed, f"{kind}_class")
        _, probabilities = results.curve(arm, seed, f"{kind}_probability")
        axes[0].set_ylabel(f"{LAB.label(arm).removeprefix('+ ')},\n{kind}")
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
        for axis, i, predicted, p in zip(axes, indices.astype(int), classes, probabilities, strict=False):
            axis.imshow(x[i, 0].numpy(), cmap="gray_r")
            true = "" if kind == "right" else f", is {int(y[i])}"
            axis.set_title(f"{predicted:.0f}{true}\n{100 * p:.3g} %", fontsize=8)
    return figure


def museum(results: Results) -> "Figure":
    """Which check caught which exhibit: the share of the seeds."""
    figure, (panels,) = new_figure(1, 2, height=6, sharey=True, width_ratios=(1.3, 1))
    seeds = results.finished("museum")
    names = [f"caught_{check.replace(' ', '_')}" for check in CHECKS]
    share = np.mean([[results.curve("museum", seed, name)[1] for name in names] for seed in seeds], axis=0).T
    panels[0].imshow(share, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        panels[0].text(column, row, f"{value:.0%}" if value else "·", ha="center", va="center", fontsize=7)
    panels[0].set_yticks(range(len(EXHIBITS)), [entry.label for entry in EXHIBITS.values()])
    for label, entry in zip(panels[0].get_yticklabels(), EXHIBITS.values(), strict=True):
        label.set_fontweight("normal" if entry.sound else "bold")
    panels[0].set_xticks(
        range(len(CHECKS)), [check.replace(" ", "\n") for check in CHECKS], rotation=40, ha="left"
    )
    panels[0].tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    panels[0].grid(visible=False)
    for seed in seeds:
        accuracy = 100 * results.curve("museum", seed, "exhibit_accuracy")[1]
        panels[1].plot(accuracy, range(len(EXHIBITS)), "o", color=COLOURS[1], markersize=3, alpha=0.6)
    panels[1].set(xlabel="validation accuracy, %", xlim=(0, 100))
    return figure


def outliers(results: Results) -> "Figure":
    """The fits of the first seed, and the error of each loss over the seeds."""
    from nnfoundations.datamodules import NoisyCurveDataModule

    figure, (panels,) = new_figure(1, 2, height=2.8, width_ratios=(1.6, 1))
    x, y = NoisyCurveDataModule().points_of("train")
    panels[0].plot(x.numpy(), y.numpy(), ".", color="#bbbbbb", markersize=3)
    losses = ("MSE", "Huber", "L1")
    for name, colour in zip(losses, COLOURS, strict=False):
        grid, fit = results.curve("outliers", results.finished("outliers")[0], f"fit_{name}")
        panels[0].plot(grid, fit, color=colour, label=name)
    panels[0].set(xlabel="x", ylabel="y")
    panels[0].legend()
    points_by_arm(panels[1], losses, [results.values("outliers", f"error_{name.lower()}") for name in losses])
    panels[1].set(ylabel="rms error against the true curve", ylim=(0, None))
    return figure


FIGURES: dict[str, Draw] = {
    "ladder": ladder, "curves": curves, "tuning": tuning, "sizes": sizes, "gallery": gallery,
    "museum": museum, "outliers": outliers,
}  # fmt: skip
