"""Two figures of a run: every layer's gradient and update over time, and what was found when."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfoundations.diagnostics import Finding, History, Severity
from nnfoundations.diagnostics._history import Array
from nnfoundations.diagnostics.rules._rule import matrices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 60
"""Layers drawn; of more, as many evenly spread."""

COLOURS = {Severity.ERROR: "#c0392b", Severity.WARNING: "#e08e0b", Severity.INFO: "#2c7fb8"}
RESOLVED = "#7fae7f"


def layers_figure(history: History) -> "Figure":
    """Heat maps, a row a weight matrix in the order of the forward pass and a column a look."""
    from matplotlib.figure import Figure  # costs a second that a run without figures should not pay

    columns = history["gradient_norm"].columns
    every = [columns[i] for i in matrices(history, columns)] or list(columns)
    names = [every[i] for i in np.linspace(0, len(every) - 1, min(MOST, len(every))).round().astype(int)]
    figure = Figure(figsize=(11, 1.4 + max(2.0, 0.17 * len(names))), layout="constrained")
    left, right = figure.subplots(1, 2)
    heat_map(left, history, "gradient_norm", names, "gradient norm, log10")
    heat_map(right, history, "update_ratio", names, "update / weight, log10")
    left.set_yticks(
        range(len(names)), [shortened(name) for name in names], fontsize=8 if len(names) < 30 else 7
    )
    right.set_yticks([])
    shown = f"{len(names)} of {len(every)}" if len(names) < len(every) else f"all {len(names)}"
    figure.suptitle(f"{shown} weight matrices, input at the top (white: 0, red: not finite)", fontsize=10)
    return figure


def heat_map(axes: "Axes", history: History, quantity: str, names: Sequence[str], title: str) -> None:
    """Draw the log10 of a quantity; each look is as wide as any other, ticks say at which step it was."""
    import matplotlib

    series = history[quantity]
    axes.set_title(title, fontsize=10)
    if not len(series):
        axes.set_xticks([])
        return
    rows = np.full((len(names), len(series)), np.nan)
    for i, name in enumerate(names):
        if name in series.columns:
            rows[i] = series.column(name)
    with np.errstate(divide="ignore"):
        values = np.log10(np.abs(rows))
    seen = values[np.isfinite(values)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (-1.0, 0.0)
    low = max(low, high - 12)
    cmap = matplotlib.colormaps["viridis"].with_extremes(under="white", bad="red")
    values[np.isneginf(values)] = low - 1
    values[np.isposinf(values)] = np.nan
    high = max(high, low + 0.5)
    image = axes.imshow(values, aspect="auto", cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    ticks = np.unique(np.linspace(0, len(series) - 1, 6).round().astype(int))
    axes.set_xticks(ticks, [f"{series.steps[i]:,}" for i in ticks], fontsize=8)
    axes.set_xlabel("step of the look", fontsize=9)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.05)
    bar.ax.tick_params(labelsize=8)


def health_figure(history: History, findings: Sequence[Finding]) -> "Figure":
    """The loss, and under it a bar a finding from its first step to its last."""
    from matplotlib.figure import Figure

    n = max(1, len(findings))
    figure = Figure(figsize=(9, 3.0 + 0.32 * n), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[7, 1 + n])
    losses, checks = history["loss"], history["validation_loss"]
    if len(losses):
        draw_loss(top, losses.steps, losses.rows[:, 0], "training", "#4c78a8", linewidth=1)
    if len(checks):
        draw_loss(top, checks.steps, checks.column("loss"), "validation", "#222222", marker="o", markersize=3)
    if len(losses) or len(checks):
        top.legend(fontsize=8, frameon=False)
    top.set_ylabel("loss", fontsize=9)
    last = max([1, *losses.steps[-1:], *checks.steps[-1:], *(finding.last_step for finding in findings)])
    for row, finding in enumerate(findings):
        colour = RESOLVED if finding.resolved else COLOURS[finding.severity]
        width = max(finding.last_step - finding.first_step, 0.006 * last)
        bottom.barh(row, width, left=finding.first_step, height=0.6, color=colour)
    bottom.set_yticks(range(len(findings)), [finding.fault for finding in findings], fontsize=9)
    if not findings:
        bottom.text(
            0.5, 0.5, "nothing found", transform=bottom.transAxes, ha="center", va="center", color="#2e7d32"
        )
    bottom.set_ylim(n - 0.4, -0.6)
    bottom.set_xlim(-0.01 * last, 1.01 * last)
    bottom.set_xlabel("optimizer step", fontsize=9)
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(labelsize=9)
    bottom.set_title(legend_text(findings), fontsize=8, loc="right", color="#555555")
    return figure


def legend_text(findings: Sequence[Finding]) -> str:
    """What the colours of these bars mean."""
    colours = {"red": Severity.ERROR, "orange": Severity.WARNING, "blue": Severity.INFO}
    open_ = {finding.severity for finding in findings if not finding.resolved}
    said = [f"{colour}: {severity}" for colour, severity in colours.items() if severity in open_]
    said += ["green: resolved"] if any(finding.resolved for finding in findings) else []
    return ", ".join(said)


def draw_loss(axes: "Axes", steps: Any, values: Array, label: str, colour: str, **options: Any) -> None:
    """On a log scale where the values span more than ten."""
    axes.plot(steps, values, color=colour, label=label, **options)
    seen = values[np.isfinite(values) & (values > 0)]
    if len(seen) and seen.max() > 10 * seen.min():
        axes.set_yscale("log")


def shortened(name: str, most: int = 33) -> str:
    """A layer's name for an axis: modules are cut to their first letters, from the outermost on.

    >>> shortened("net.0.weight"), shortened("net.encoder.layers.11.self_attn.in_proj_weight")
    ('net.0', 'n.e.l.11.self_attn.in_proj_weight')
    """
    parts = name.removesuffix(".weight").split(".")
    for i, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= most:
            break
        parts[i] = part if part.isdigit() else part[0]
    return ".".join(parts)
