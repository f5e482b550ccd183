"""The figures of the activations lab, drawn from its results and trials; only the functions are computed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure, points_by_arm
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.activations.lab import ACTIVATIONS, DEPTHS, LAB, NETS
from nnfoundations.labs.activations.recommendations import milliseconds
from nnfoundations.labs.activations.tuning import TUNING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "depth", "functions", "initial_weights", "layers", "learning_rates", "nets"]

COLOUR = dict(zip(ACTIVATIONS, COLOURS, strict=True))
MARKER = dict(zip(ACTIVATIONS, "os^Dvph", strict=True))
SHOWN = {"own": "own", "he": "He", "xavier": "Xavier", "small": "small, s.d. 0.01", "large": "large, s.d. 1",
         "constant": "constant"}  # fmt: skip


def functions(results: Results) -> "Figure":
    """Each activation with its derivative."""
    import torch

    from nnfoundations import nn

    figure, axes = new_figure(2, 4, height=3.6, sharex=True, sharey=True)
    x = torch.linspace(-6, 6, 481, requires_grad=True)
    for axis, kind in zip(axes.flat, ACTIVATIONS.values(), strict=False):
        y = getattr(nn, kind)()(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        axis.plot(x.detach(), y.detach(), color=COLOURS[0])
        axis.plot(x.detach(), slope, color=COLOURS[1], linestyle="--")
        axis.set(title=kind, ylim=(-1.3, 3))
    axes[1, 3].axis("off")
    axes[1, 3].plot([], [], color=COLOURS[0], label="f(x)")
    axes[1, 3].plot([], [], color=COLOURS[1], linestyle="--", label="f′(x)")
    axes[1, 3].legend(loc="center")
    axes[0, 3].tick_params(labelbottom=True)
    for axis in (*axes[1, :3], axes[0, 3]):
        axis.set_xlabel("x")
    return figure


def depth(results: Results) -> "Figure":
    """Accuracy against depth, ReLU and SiLU: every seed, and the means."""
    figure, axes = new_figure(height=3)
    axis = axes[0, 0]
    for name, shift in (("relu", -0.5), ("silu", 0.5)):
        ran = [number for number in DEPTHS if f"deep_{number}_{name}" in results.arms]
        values = [results.values(f"deep_{number}_{name}", "accuracy") for number in ran]
        for number, accuracy in zip(ran, values, strict=True):
            axis.plot(np.full(len(accuracy), number + shift), accuracy, MARKER[name], color=COLOUR[name],
                      markersize=3.5, alpha=0.5)  # fmt: skip
        axis.plot(np.add(ran, shift), [accuracy.mean() for accuracy in values], "-", color=COLOUR[name],
                  label=ACTIVATIONS[name])  # fmt: skip
    if "xavier_30" in results.arms:
        accuracy = results.values("xavier_30", "accuracy")
        axis.plot(
            np.full(len(accuracy), 30),
            accuracy,
            "x",
            color="black",
            label="ReLU, Xavier's initial weights",
            alpha=0.7,
        )
    axis.axhline(10, color="black", linewidth=0.8, linestyle=":")
    axis.annotate("guessing", (DEPTHS[0], 11), fontsize=8)
    axis.set(
        xlabel="hidden layers",
        ylabel="validation accuracy, %",
        xticks=DEPTHS,
        ylim=(0, 102),
        xlim=(DEPTHS[0] - 3, DEPTHS[-1] + 3),
    )
    axis.legend(loc="lower left", bbox_to_anchor=(0, 0.2))
    return figure


def nets(results: Results) -> "Figure":
    """Accuracy of the same network by activation, and the CPU time per step, every seed."""
    arms = [arm for arm in results.arms if arm in NETS]
    results.seeds("net_relu")  # without it nothing is compared
    figure, (panels,) = new_figure(1, 2, height=3)
    labels = [LAB.label(arm) for arm in arms]
    points_by_arm(panels[0], labels, [results.values(arm, "accuracy") for arm in arms])
    points_by_arm(panels[1], labels, [milliseconds(results, arm) for arm in arms])
    panels[0].set_ylabel("validation accuracy, %")
    panels[1].set_ylabel("CPU time per step, ms")
    panels[1].set_ylim(bottom=0)
    for axis in panels:
        axis.tick_params(axis="x", labelrotation=40)
    return figure


def layers(results: Results) -> "Figure":
    """Signal and gradients in 20 untrained layers, each activation with its own initial weights."""
    figure, (panels,) = new_figure(1, 2, height=3.2)
    for name in ACTIVATIONS:
        _by_layer(panels, results, f"net_{name}", "own", COLOUR[name], MARKER[name], ACTIVATIONS[name])
    _label(panels)
    panels[1].legend(ncols=2)
    return figure


def initial_weights(results: Results) -> "Figure":
    """The same from six kinds of initial weights, for four activations."""
    names = ("sigmoid", "tanh", "relu", "silu")
    figure, axes = new_figure(2, 4, height=4.8, sharex=True, sharey="row")
    for column, name in zip(axes.T, names, strict=True):
        for init, colour, marker in zip(SHOWN, COLOURS, "os^Dvp", strict=False):
            _by_layer(column, results, f"net_{name}", init, colour, marker, SHOWN[init])
        column[0].set_title(ACTIVATIONS[name])
        column[1].set_xlabel("hidden layer")
    _label(list(axes[:, 0]))
    for axis in axes.flat:
        axis.set(ylim=(1e-16, 1e16), xticks=(1, 10, 20))
    for axis in axes[0]:
        axis.set_xlabel("")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _by_layer(
    panels: Sequence["Axes"], results: Results, arm: str, init: str, colour: str, marker: str, label: str
) -> None:
    """The geometric mean over the seeds; exact zeros cannot be drawn."""
    for axis, quantity in zip(panels, ("spread", "gradient"), strict=True):
        runs = [results.curve(arm, seed, f"{quantity}_{init}") for seed in results.finished(arm)]
        with np.errstate(divide="ignore"):
            mean = np.exp(np.mean([np.log(y) for _, y in runs], axis=0))
        mean[mean == 0] = np.nan
        axis.plot(runs[0][0], mean, f"-{marker}", color=colour, markersize=2.5, linewidth=1, label=label)
        axis.set_yscale("log")


def _label(panels: Sequence["Axes"]) -> None:
    for axis, text in zip(panels, ("spread of the units", "gradient of the weights"), strict=True):
        axis.set(xlabel="hidden layer", ylabel=text)


def learning_rates(results: Results) -> "Figure":
    """The trials that chose the learning rate of each arm: one seed, which no run uses."""
    figure, (panels,) = new_figure(1, 2, height=3.2)
    deep = dict(zip((str(number) for number in DEPTHS), COLOURS, strict=False))
    for arm, accuracies in TUNING.trials().items():
        task, _, name = arm.rpartition("_")
        if task == "net":
            axis, colour, line = panels[0], COLOUR[name], "-"
        else:
            axis, colour = panels[1], deep.get(task.removeprefix("deep_"), "black")
            line = "--" if name == "silu" else "-"
        points = sorted(accuracies.items())
        marker = MARKER.get(name, "x")
        axis.plot(*zip(*points, strict=True), line + marker, color=colour, markersize=3, linewidth=1,
                  label=LAB.label(arm))  # fmt: skip
        best = TUNING.rates()[arm]
        axis.plot(best, accuracies[best], marker, color=colour, markersize=8, fillstyle="none")
    for axis, title in zip(panels, ("clothes, 2 layers", "digits, by depth"), strict=True):
        axis.set(xscale="log", xlabel="learning rate at the start", title=title)
    panels[0].set(ylabel="validation accuracy, %", ylim=(60, 90))
    panels[0].legend(fontsize=7)
    panels[1].set_ylim(0, 102)
    panels[1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))  # lines fill the panel
    return figure


FIGURES: dict[str, Draw] = {
    "depth": depth, "functions": functions, "nets": nets, "layers": layers,
    "initial_weights": initial_weights, "learning_rates": learning_rates,
}  # fmt: skip
