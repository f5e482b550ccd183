"""The figures of the lab, drawn from its results alone."""

from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure, points_by_arm
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.numpy_mlp.catch import CHECKS
from nnfoundations.labs.numpy_mlp.lab import LAB, LADDER
from nnfoundations.labs.numpy_mlp.museum import EXHIBITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "curves", "ladder", "museum", "outliers", "rates"]


def ladder(results: Results) -> "Figure":
    """Errors on the validation part, one column per rung, the untuned recipes on the left."""
    figure, axes = new_figure(height=3)
    arms = [arm for arm in ("unit", "plain", *LADDER) if arm in results.arms]
    labels = [
        LAB.label(arm).replace(", ", "\n").replace("+ ", "+\n").replace(" for", "\nfor") for arm in arms
    ]
    points_by_arm(axes[0, 0], labels, [100 * (1 - results.values(arm, "accuracy")) for arm in arms])
    axes[0, 0].set(yscale="log", ylabel="validation error, %")
    axes[0, 0].axvline(1.5, color="black", linewidth=0.8)
    _plain_ticks(axes[0, 0])
    return figure


def _plain_ticks(axis: "object") -> None:
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    y = axis.yaxis  # type: ignore[attr-defined]
    y.set_major_locator(LogLocator(subs=(1, 2, 5)))
    y.set_major_formatter(FormatStrFormatter("%g"))
    y.set_minor_formatter(NullFormatter())


def curves(results: Results) -> "Figure":
    """Accuracy by epoch of the plain recipe on both scales, and the loss of all rungs."""
    figure, (panels,) = new_figure(1, 2, height=2.8)
    for arm, colour in zip(("unit", "plain", "numpy_decay"), COLOURS, strict=False):
        for seed in results.finished(arm):
            epochs, accuracy = results.curve(arm, seed, "val_accuracy")
            panels[0].plot(epochs, 100 * accuracy, "-o", color=colour, markersize=2, alpha=0.7, linewidth=1,
                           label=LAB.label(arm) if seed == 0 else None)  # fmt: skip
    panels[0].axhline(95, color="black", linewidth=0.8)
    panels[0].set(xlabel="epoch", ylabel="validation accuracy, %")
    panels[0].legend()
    for arm, colour in zip(LADDER, COLOURS, strict=False):
        epochs, loss = results.curve(arm, 0, "val_loss")
        panels[1].plot(epochs, loss, color=colour, label=LAB.label(arm))
    panels[1].set(xlabel="epoch", ylabel="validation loss, first seed", yscale="log")
    panels[1].legend(fontsize=7)
    return figure


def rates(results: Results) -> "Figure":
    """Accuracy against the learning rate, and against the sizes of the network."""
    figure, (panels,) = new_figure(1, 2, height=2.6, sharey=True)
    arms = {"rate_0001": 0.001, "plain": 0.01, "rate_01": 0.1, "rate_1": 1.0}
    for arm, rate in arms.items():
        accuracy = 100 * results.values(arm, "accuracy")
        panels[0].plot([rate] * len(accuracy), accuracy, "o", color=COLOURS[0], markersize=4, alpha=0.6)
    panels[0].set(xscale="log", xlabel="learning rate", ylabel="validation accuracy, %")
    sizes = ("linear", "plain", "wide", "deep")
    labels = [
        LAB.label(arm).replace(" of", "\nof").replace(", ", "\n").replace("no ", "no\n") for arm in sizes
    ]
    points_by_arm(panels[1], labels, [100 * results.values(arm, "accuracy") for arm in sizes])
    return figure


def museum(results: Results) -> "Figure":
    """Which check caught which exhibit: the share of the seeds."""
    figure, (panels,) = new_figure(1, 2, height=5.2, sharey=True, width_ratios=(1.3, 1))
    seeds = results.finished("museum")
    names = [f"caught_{check.replace(' ', '_')}" for check in CHECKS]
    exhibits = results.curve("museum", seeds[0], names[0])[0].astype(int)
    share = np.mean([[results.curve("museum", seed, name)[1] for name in names] for seed in seeds], axis=0).T
    panels[0].imshow(share, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        panels[0].text(column, row, f"{value:.0%}" if value else "·", ha="center", va="center", fontsize=7)
    entries = list(EXHIBITS.values())
    panels[0].set_yticks(range(len(exhibits)), [entries[i][0] for i in exhibits])
    for row, i in enumerate(exhibits):
        if not entries[i][1]:
            panels[0].get_yticklabels()[row].set_fontweight("bold")
    panels[0].set_xticks(
        range(len(CHECKS)), [check.replace(" ", "\n") for check in CHECKS], rotation=40, ha="left"
    )
    panels[0].tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    panels[0].grid(visible=False)
    for seed in seeds:
        accuracy = 100 * results.curve("museum", seed, "exhibit_accuracy")[1]
        panels[1].plot(accuracy, range(len(exhibits)), "o", color=COLOURS[1], markersize=3, alpha=0.6)
    panels[1].set(xlabel="validation accuracy, %", xlim=(0, 100))
    return figure


def outliers(results: Results) -> "Figure":
    """The fits of the first seed, and the error of each loss over the seeds."""
    from nnfoundations.datamodules import NoisyCurveDataModule

    figure, (panels,) = new_figure(1, 2, height=2.8, width_ratios=(1.6, 1))
    x, y = NoisyCurveDataModule().points_of("train")
    panels[0].plot(x, y, ".", color="#bbbbbb", markersize=3)
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
    "ladder": ladder, "curves": curves, "rates": rates, "museum": museum, "outliers": outliers,
}  # fmt: skip
