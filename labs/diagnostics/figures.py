"""The figures of the lab: from its results, nothing else."""

from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, Draw, new_figure
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.diagnostics.catalogue import CHECKS, COURSE, FAULTS, SOUND, SYMPTOMS
from nnfoundations.labs.diagnostics.tables import catches, false_alarms, faults_in, shares_of_symptoms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "catch", "curves", "fixes", "health", "layers", "symptoms"]

GUESSING = np.log(10)


def _heat(axis: "Axes", shares: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """Shares as colours, with their numbers in %."""
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share > 0:
                axis.annotate(f"{100 * share:.0f}", (j, i), ha="center", va="center", fontsize=7)
    axis.set_xticks(range(len(columns)), columns, rotation=40, ha="left", rotation_mode="anchor")
    axis.set_yticks(range(len(rows)), rows)
    axis.xaxis.tick_top()
    axis.grid(visible=False)


def catch(results: Results) -> "Figure":
    """Which check finds which fault: % of the runs; last row: false alarms on sound runs."""
    arms = faults_in(results)
    shares = [[catches(results, check, arm) for check in CHECKS] for arm in arms]
    alarms = [false_alarms(results, check) for check in CHECKS]
    shares.append([wrong / max(runs, 1) for wrong, runs in alarms])
    figure, axes = new_figure(height=1.6 + 0.25 * len(shares))
    names = [FAULTS[arm].label for arm in arms]
    _heat(axes[0, 0], np.array(shares), [*names, f"{alarms[0][1]} sound runs"], list(CHECKS.values()))
    axes[0, 0].axhline(len(arms) - 0.5, color="black", linewidth=1)
    axes[0, 0].axvline(len(COURSE) - 0.5, color="black", linewidth=1)
    return figure


def symptoms(results: Results) -> "Figure":
    """Which symptom each fault has: % of the runs; last row: sound runs."""
    arms = [*faults_in(results), *(arm for arm in SOUND if arm in results.arms)]
    shares = np.array(
        [[dict(shares_of_symptoms(results, arm)).get(name, 0.0) for name in SYMPTOMS] for arm in arms]
    )
    figure, axes = new_figure(height=1.9 + 0.22 * len(arms))
    labels = [FAULTS[arm].label if arm in FAULTS else SOUND[arm] for arm in arms]
    _heat(axes[0, 0], shares, labels, list(SYMPTOMS))
    axes[0, 0].axhline(len(faults_in(results)) - 0.5, color="black", linewidth=1)
    return figure


def curves(results: Results) -> "Figure":
    """Training loss of each fault, broken, fixed and sound, by seed; losses beyond the panel at its edge."""
    figure, axes = new_figure(4, 4, height=7.5, sharex=True, sharey=True)
    for axis, (arm, fault) in zip(axes.flat, FAULTS.items(), strict=True):
        _losses(axis, results, arm, COLOURS[1], "broken")
        _losses(axis, results, fault.fixed_arm, COLOURS[0], "fixed")
        _losses(axis, results, fault.sound, COLOURS[6], "sound")
        steps = results.values(arm, "named_step")
        if not np.isnan(steps).all():
            place = float(np.nanmedian(steps))
            axis.axvline(place, color=COLOURS[3], linewidth=1, linestyle="--", label="named")
        axis.axhline(GUESSING, color="#888888", linewidth=0.6)
        axis.set_title(fault.label, fontsize=6.5)
    axes[0, 0].legend(fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_ylabel("training loss")
    return figure


def _losses(axis: "Axes", results: Results, arm: str, colour: str, label: str) -> None:
    for i, seed in enumerate(results.finished(arm)):
        steps, losses = results.curve(arm, seed, "loss")
        axis.plot(steps, np.clip(losses, -0.5, 4), color=colour, linewidth=0.7, alpha=0.7,
                  linestyle=":" if label == "sound" else "-", label="" if i else label)  # fmt: skip


def health(results: Results) -> "Figure":
    """Update over weight (median of a run) and dead units, of each broken arm beside its sound one."""
    figure, (panels,) = new_figure(1, 2, height=4.2, sharey=True)
    titles = {"update_ratio": "update / weight, median", "dead_share": "dead units, worst layer, at the end"}
    for axis, (column, title) in zip(panels, titles.items(), strict=True):
        for i, (arm, fault) in enumerate(FAULTS.items()):
            for name, colour, shift in ((arm, COLOURS[1], -0.15), (fault.sound, COLOURS[6], 0.15)):
                values = results.values(name, column)
                axis.plot(values, np.full(len(values), i + shift), "o", color=colour, markersize=3, alpha=0.6,
                          label=("broken" if name == arm else "sound") if i == 0 else "")  # fmt: skip
        axis.set_xlabel(title)
    panels[0].set_xscale("log")
    panels[0].axvline(1e-3, color="#888888", linewidth=1, linestyle="--")
    panels[0].set_yticks(range(len(FAULTS)), [fault.label for fault in FAULTS.values()])
    panels[0].invert_yaxis()
    panels[1].legend()
    return figure


def layers(results: Results) -> "Figure":
    """Gradient norm by layer at the first step, where depth or initial weights are the fault."""
    figure, axes = new_figure(1, 3, height=2.6)
    places = ("broken", "sound", "fixed")
    shown = (("vanishing", "deep", "vanishing_fixed"), ("large_init", "deep"), ("xavier_30", "deep_30"))
    for axis, arms in zip(axes[0], shown, strict=True):
        for colour, arm in zip((COLOURS[1], COLOURS[6], COLOURS[0]), arms, strict=False):
            for i, seed in enumerate(results.finished(arm)):
                axis.plot(*results.curve(arm, seed, "gradient_by_layer"), color=colour, linewidth=0.8,
                          label="" if i else places[arms.index(arm)])  # fmt: skip
        axis.set(
            yscale="log",
            xlabel="weight matrix",
            title=FAULTS[arms[0]].label.replace("Xavier's weights in ", "Xavier, "),
        )
    axes[0, 0].set_ylabel("gradient norm")
    axes[0, 0].legend()
    return figure


def fixes(results: Results) -> "Figure":
    """Accuracy of each fault: broken, fixed, sound; every seed."""
    figure, axes = new_figure(height=4.4)
    axis = axes[0, 0]
    for i, (arm, fault) in enumerate(FAULTS.items()):
        arms = {"broken": arm, "fixed": fault.fixed_arm, "sound": fault.sound}
        for j, (label, name) in enumerate(arms.items()):
            colour = (COLOURS[1], COLOURS[0], COLOURS[6])[j]
            values = results.values(name, "accuracy")
            axis.plot(values, np.full(len(values), i + 0.22 * (j - 1)), "xo^"[j], color=colour, markersize=4,
                      alpha=0.7, label="" if i else label)  # fmt: skip
    axis.axvline(10, color="black", linewidth=0.8, linestyle=":")
    axis.set(xlabel="validation accuracy, % (dotted: guessing)", xlim=(0, 101))
    axis.set_yticks(range(len(FAULTS)), [fault.label for fault in FAULTS.values()])
    axis.invert_yaxis()
    axis.legend(loc="center left", bbox_to_anchor=(0.35, 0.5))
    return figure


FIGURES: dict[str, Draw] = {
    "catch": catch, "symptoms": symptoms, "curves": curves, "health": health, "layers": layers,
    "fixes": fixes,
}  # fmt: skip
