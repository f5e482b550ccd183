"""Draws two figures of a run: gradients and updates of every layer over time, and a timeline of findings."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnfoundations.diagnostics import Finding, History, Severity, weight_matrices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "DPI",
    "MOST",
    "NAMED",
    "RESOLVED",
    "WIDTH",
    "draw_loss",
    "health_figure",
    "heat_map",
    "layers_figure",
    "legend_text",
    "log_rows",
    "shortened",
]

MOST = 60
"""Largest number of layers drawn. Of more layers this many are drawn, evenly spread."""

NAMED = 20
"""Largest number of layers named. Of more layers, every second, third and so on is named."""

WIDTH = 4.2
"""Inches: a card of TensorBoard is about 320 pixels wide, so 8 points are legible there."""

DPI = 200

COLOURS = {Severity.ERROR: "#c0392b", Severity.WARNING: "#e08e0b", Severity.INFO: "#2c7fb8"}
RESOLVED = "#a8a8a8"


def layers_figure(history: History, ended: str = "") -> "Figure":
    """Draw heat maps: one row per weight matrix in the order of the forward pass, one column per measurement.

    Args:
        history: of the run.
        ended: why nothing was measured in the last part of the run, if so.
    """
    from matplotlib.figure import Figure  # imported here, because it takes a second

    columns = history["gradient_norm"].columns
    every = [columns[i] for i in weight_matrices(history, columns)] or list(columns)
    names = [every[i] for i in np.linspace(0, len(every) - 1, min(MOST, len(every))).round().astype(int)]
    height = 0.16 * min(len(names), NAMED) + 0.05 * max(0, len(names) - NAMED)
    figure = Figure(figsize=(WIDTH, 1.6 + 2 * max(0.8, height)), dpi=DPI, layout="constrained")
    maps = figure.subplots(2, 1)
    heat_map(maps[0], history, "gradient_norm", names, "gradient norm, log10")
    heat_map(maps[1], history, "update_ratio", names, "update / weight, log10")
    shown = f"{len(names)} of {len(every)}" if len(names) < len(every) else f"all {len(names)}"
    title = f"{shown} weight matrices, input at the top\n(white: 0, red: not finite)"
    figure.suptitle("\n".join([title, *wrap(ended, 60)]), fontsize=8)
    return figure


def heat_map(axes: "Axes", history: History, quantity: str, names: Sequence[str], title: str) -> None:
    """Draw the log10 of a quantity; all measurements have the same width, and ticks give their steps."""
    import matplotlib

    series = history[quantity]
    axes.set_title(title, fontsize=8)
    if not len(series):
        axes.set_xticks([])
        return
    values = log_rows(history, quantity, names)
    seen = values[np.isfinite(values)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (-1.0, 0.0)
    low = max(low, high - 12)
    cmap = matplotlib.colormaps["viridis"].with_extremes(under="white", bad="red")
    values[np.isneginf(values)] = low - 1
    values[np.isposinf(values)] = np.nan
    high = max(high, low + 0.5)
    image = axes.imshow(values, aspect="auto", cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    ticks = np.unique(np.linspace(0, len(series) - 1, 5).round().astype(int))
    axes.set_xticks(ticks, [f"{series.steps[i]:,}" for i in ticks], fontsize=8)
    axes.set_xlabel("step measured", fontsize=8)
    named = range(0, len(names), -(-len(names) // NAMED))
    axes.set_yticks(named, [shortened(names[i]) for i in named], fontsize=8)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.05)
    bar.ax.tick_params(labelsize=8)


def log_rows(history: History, quantity: str, names: Sequence[str]) -> NDArray[np.float64]:
    """The log10 of a quantity with one row per name; NaN for a name that was not measured."""
    series = history[quantity]
    rows = np.full((len(names), len(series)), np.nan)
    for i, name in enumerate(names):
        if name in series.columns:
            rows[i] = series.column(name)
    with np.errstate(divide="ignore"):
        values: NDArray[np.float64] = np.log10(np.abs(rows))
    return values


def health_figure(history: History, findings: Sequence[Finding]) -> "Figure":
    """Draw the loss, and below it one bar per finding from its first step to its last.

    Args:
        history: of the run.
        findings: the root cause first.
    """
    from matplotlib.figure import Figure

    n = max(1, len(findings))
    figure = Figure(figsize=(WIDTH, 2.2 + 0.32 * n), dpi=DPI, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1 + n])
    losses, checks = history["loss"], history["validation_loss"]
    if len(losses):
        draw_loss(top, losses.steps, losses.rows[:, 0], "training", "#4c78a8", linewidth=1)
    if len(checks):
        draw_loss(top, checks.steps, checks.column("loss"), "validation", "#222222", marker="o", markersize=3)
    if len(losses) or len(checks):
        top.legend(fontsize=8, frameon=False)
    top.set_ylabel("loss", fontsize=8)
    last = max([1, *losses.steps[-1:], *checks.steps[-1:], *(finding.last_step for finding in findings)])
    for row, finding in enumerate(findings):
        colour = RESOLVED if finding.resolved else COLOURS[finding.severity]
        width = max(finding.last_step - finding.first_step, 0.006 * last)
        bottom.barh(row + 0.2, width, left=finding.first_step, height=0.3, color=colour)
    # Each name stands above its bar: beside the axes, long names would take half of the width.
    bottom.set_yticks(
        np.arange(len(findings)) - 0.18, [finding.fault for finding in findings], fontsize=8, ha="left"
    )
    bottom.tick_params(axis="y", length=0, pad=-6)
    if not findings:
        bottom.text(
            0.5, 0.5, "nothing found", transform=bottom.transAxes, ha="center", va="center", color="#2e7d32",
            fontsize=8,
        )  # fmt: skip
    bottom.set_ylim(n - 0.4, -0.6)
    bottom.set_xlim(-0.01 * last, 1.01 * last)
    bottom.set_xlabel("optimizer step", fontsize=8)
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(labelsize=8)
    bottom.set_title(legend_text(findings), fontsize=8, loc="right", color="#555555")
    return figure


def legend_text(findings: Sequence[Finding]) -> str:
    """Explain the colours of the bars."""
    colours = {"red": Severity.ERROR, "orange": Severity.WARNING, "blue": Severity.INFO}
    open_ = {finding.severity for finding in findings if not finding.resolved}
    said = [f"{colour}: {severity}" for colour, severity in colours.items() if severity in open_]
    said += ["grey: resolved"] if any(finding.resolved for finding in findings) else []
    return ", ".join(said)


def draw_loss(
    axes: "Axes", steps: Any, values: NDArray[np.float64], label: str, colour: str, **options: Any
) -> None:
    """Plot a loss, on a log scale if its values span more than a factor of 10."""
    axes.plot(steps, values, color=colour, label=label, **options)
    seen = values[np.isfinite(values) & (values > 0)]
    if len(seen) and seen.max() > 10 * seen.min():
        axes.set_yscale("log")


def shortened(name: str, most: int = 18) -> str:
    """A layer's name for an axis: modules are cut to their first letters, from the outermost on.

    >>> shortened("net.0.weight"), shortened("net.encoder.layers.11.self_attn.in_proj_weight")
    ('net.0', 'n.e.l.11.s.in_proj_weight')
    """
    parts = name.removesuffix(".weight").split(".")
    for i, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= most:
            break
        parts[i] = part if part.isdigit() else part[0]
    return ".".join(parts)
