"""The figures of the autograd lab, drawn from its results; only the graph is computed here."""

from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs._runner.statistics import wilson
from nnfoundations.labs.autograd.drawing import draw_graph
from nnfoundations.labs.autograd.lab import ACTIVATIONS, WIDTHS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "fits", "graph", "loss", "misses", "steps", "width", "xor"]

MARKERS = dict(zip(ACTIVATIONS, "os^D", strict=True))
COLOUR = dict(zip(ACTIVATIONS, COLOURS, strict=False))
KINDS = {"": "layers alone", "_skip": "with skip"}


def _ran(results: Results, task: str) -> list[str]:
    """The activations of a task that ran: a preset may run some of them."""
    return [name for name in ACTIVATIONS if f"{task}_{name}" in results.arms]


def xor(results: Results) -> "Figure":
    """The share of the initializations from which training solves XOR, with Wilson's 95 % interval."""
    figure, (panels,) = new_figure(1, 2, height=2.6, sharey=True)
    for axis, units in zip(panels, (2, 8), strict=True):
        ran = _ran(results, f"xor_{units}")
        for i, name in enumerate(ran):
            solved = results.values(f"xor_{units}_{name}", "solved")
            count = int(np.nansum(solved))
            share = wilson(count, len(solved))
            ends = [[share.estimate - share.low], [share.high - share.estimate]]
            axis.errorbar(
                i, share.estimate, ends, fmt=MARKERS[name], color=COLOUR[name], capsize=4, markersize=6
            )
            axis.annotate(f"{count} of {len(solved)}", (i, share.estimate), (9, -3), fontsize=8,
                          textcoords="offset points")  # fmt: skip
        axis.set_xticks(range(len(ran)), [ACTIVATIONS[name] for name in ran])
        axis.set(title=f"{units} hidden units", xlim=(-0.5, len(ran) - 0.1), ylim=(-0.03, 1.03))
        axis.grid(visible=False, axis="x")
    panels[0].set_ylabel("share of the runs that solve XOR")
    return figure


def loss(results: Results) -> "Figure":
    """The training loss of each epoch: median over the seeds, and the band of the middle half."""
    figure, (panels,) = new_figure(1, 3, height=2.8)
    titles = {"xor_2": "XOR, 2 units", "xor_8": "XOR, 8 units", "digits": "digits"}
    for axis, (task, title) in zip(panels, titles.items(), strict=True):
        for name in _ran(results, task):
            _band(axis, results, f"{task}_{name}", COLOUR[name], ACTIVATIONS[name])
        axis.set(yscale="log", title=title, xlabel="epoch")
    panels[0].set_ylabel("training loss")
    panels[2].legend()
    return figure


def _band(axis: "Axes", results: Results, arm: str, colour: str, label: str) -> None:
    runs = [results.curve(arm, seed, "loss") for seed in results.finished(arm)]
    low, median, high = np.quantile([y for _, y in runs], (0.25, 0.5, 0.75), axis=0)
    axis.plot(runs[0][0], median, color=colour, label=label)
    axis.fill_between(runs[0][0], low, high, color=colour, alpha=0.12, linewidth=0)


def graph(results: Results) -> "Figure":
    """A neuron with SiLU, written out of sigmoid and a product, as the engine has recorded it."""
    from nnfoundations.autograd import Value, sigmoid

    figure, axes = new_figure(height=3.8)
    x1, x2 = Value(1.0), Value(-1.0)
    w1, w2, b = Value(0.8), Value(-0.5), Value(0.1)
    z = x1 * w1 + x2 * w2 + b
    gate = sigmoid(z)
    y = z * gate
    y.backward()
    names = {"x1": x1, "w1": w1, "x2": x2, "w2": w2, "b": b, "z": z, "s": gate, "y": y}
    draw_graph(axes[0, 0], y, names)
    return figure


def steps(results: Results) -> "Figure":
    """The error of central differences against their step, for trained networks with GELU and with ReLU."""
    figure, axes = new_figure(height=3)
    axis = axes[0, 0]
    shown = {"digits_gelu": "digits, GELU", "digits_relu": "digits, ReLU", "fit_4": "curve, 4 tanh units"}
    for (arm, label), colour, marker in zip(shown.items(), COLOURS, "os^", strict=False):
        for seed in results.finished(arm) if arm in results.arms else []:
            step, error = results.curve(arm, seed, "step_error")
            first = seed == results.finished(arm)[0]
            axis.plot(step, np.maximum(error, 1e-16), f"-{marker}", color=colour, markersize=3,
                      linewidth=0.8, alpha=1 if first else 0.2, label=label if first else None)  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="step of the difference", ylabel="largest relative error")
    axis.legend()
    return figure


def misses(results: Results) -> "Figure":
    """The share of each digit that a network with each activation misses, as the mean of all splits."""
    figure, axes = new_figure(height=2.2)
    axis = axes[0, 0]
    ran = _ran(results, "digits")
    share = np.array(
        [
            np.mean([results.curve(arm, seed, "misses")[1] for seed in results.finished(arm)], axis=0)
            for arm in (f"digits_{name}" for name in ran)
        ]
    )
    axis.imshow(share, cmap="Blues", vmin=0, vmax=2 * share.max() or 1, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        axis.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8)
    axis.set_xticks(range(10))
    axis.set_yticks(range(len(ran)), [ACTIVATIONS[name] for name in ran])
    axis.set(xlabel="digit", title="missed, % of the held-out images of the digit")
    axis.grid(visible=False)
    return figure


def fits(results: Results) -> "Figure":
    """The fitted curve by width, without and with a skip connection, five seeds each."""
    from torch import linspace

    from nnfoundations.datamodules import NoisyCurveDataModule

    figure, axes = new_figure(2, len(WIDTHS), height=3.8, sharex=True, sharey=True)
    x = linspace(-2, 2, 201)
    for row, (kind, label), colour in zip(axes, KINDS.items(), COLOURS, strict=False):
        for axis, units in zip(row, WIDTHS, strict=True):
            axis.plot(x, NoisyCurveDataModule.function(x), color="black", linewidth=1, linestyle="--",
                      zorder=3)  # fmt: skip
            arm = f"fit_{units}{kind}"
            for seed in results.finished(arm)[:5]:
                axis.plot(*results.curve(arm, seed, "fit"), color=colour, linewidth=1, alpha=0.7)
        row[0].set_ylabel(label)
    for axis, units in zip(axes[0], WIDTHS, strict=True):
        axis.set_title(f"{units} unit" + "s" * (units > 1))
    return figure


def width(results: Results) -> "Figure":
    """The error of the fit against the width: every seed, the medians, and the slope of Barron's bound."""
    figure, axes = new_figure(height=3)
    axis = axes[0, 0]
    for (kind, label), colour, marker, shift in zip(KINDS.items(), COLOURS, "os", (0.94, 1.06), strict=False):
        errors = [results.values(f"fit_{units}{kind}", "rmse") for units in WIDTHS]
        for units, error in zip(WIDTHS, errors, strict=True):
            axis.plot(
                np.full(len(error), units * shift), error, marker, color=colour, markersize=3, alpha=0.35
            )
        medians = [np.nanmedian(error) for error in errors]
        axis.plot(np.multiply(WIDTHS, shift), medians, "-" + marker, color=colour, label=f"{label}, median")
    start = np.nanmedian(results.values("fit_1", "rmse"))
    axis.plot(
        WIDTHS, start / np.sqrt(WIDTHS), color="black", linewidth=1, linestyle=":", label="∝ 1 / √width"
    )
    axis.set(xscale="log", yscale="log", xlabel="hidden units", ylabel="root mean square error")
    axis.set_xticks(WIDTHS, WIDTHS)
    axis.set_yticks((0.01, 0.02, 0.05, 0.1, 0.2, 0.5), ("0.01", "0.02", "0.05", "0.1", "0.2", "0.5"))
    axis.minorticks_off()
    axis.legend()
    return figure


FIGURES: dict[str, Draw] = {
    "xor": xor, "loss": loss, "graph": graph, "steps": steps, "misses": misses, "fits": fits, "width": width,
}  # fmt: skip
