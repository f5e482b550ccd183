"""The picture of a run: loss, accuracy and learning rate, with the findings marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnfoundations.callbacks._epoch_metrics import Curve
from nnfoundations.diagnostics import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["RunCurves", "curves_figure", "other_metric"]

Array = NDArray[np.float64]

# Of Okabe and Ito 2008: colour-blind readers can tell them apart.
COLOURS = {"train": "#0072B2", "validation": "#D55E00"}
RATE = "#444444"
FINDING = "#CC79A7"

MOST = 8
"""Findings marked; the number of the others is written below."""


@dataclass(frozen=True)
class RunCurves:
    """What was recorded of a run.

    Args:
        train: curves by metric.
        validation: curves by metric.
        rates: the learning rate of each optimizer.
        findings: the root cause first.
        epochs: points of (optimizer steps, epochs) done, from the start of the run on.
        ended: how the run ended, if not as planned.
    """

    train: dict[str, Curve]
    validation: dict[str, Curve]
    rates: Sequence[Curve]
    findings: Sequence[Finding]
    epochs: Curve
    ended: str = ""

    @property
    def in_epochs(self) -> bool:
        """Whether the horizontal axis counts epochs: two are over. Else it counts steps."""
        return bool(self.epochs) and self.epochs[-1][1] - self.epochs[0][1] >= 2

    @property
    def epoch_length(self) -> float:
        """Optimizer steps per epoch."""
        (first, before), (last, done) = self.epochs[0], self.epochs[-1]
        return (last - first) / max(done - before, 1)

    def positions(self, steps: Sequence[int]) -> Array:
        """Where these steps lie on the horizontal axis."""
        given = np.array(steps, dtype=float)
        if not self.in_epochs:
            return given
        known, done = (np.array(column, dtype=float) for column in zip(*self.epochs, strict=True))
        beyond = np.maximum(given - known[-1], 0) / max(self.epoch_length, 1)  # in an epoch that is not over
        return np.asarray(np.interp(given, known, done) + beyond)


def curves_figure(run: RunCurves) -> "Figure":
    """Draw loss, accuracy and learning rate over epochs, or over steps before the second epoch is over.

    Args:
        run: what was recorded.
    """
    from matplotlib.figure import Figure  # imported here, because it takes half a second

    metrics = ["loss", *other_metric(run.train, run.validation)]
    marked = run.findings[:MOST]
    panels = len(metrics) + 1
    figure = Figure(figsize=(7, 0.8 + 1.9 * panels + 0.18 * len(marked)), dpi=120, layout="constrained")
    *upper, lowest = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for axes, metric in zip(upper, metrics, strict=True):
        for split, curves in (("train", run.train), ("validation", run.validation)):
            draw(axes, run, curves.get(metric, []), split, COLOURS[split])
        finish(axes, metric)
    spread_loss(upper[0])
    for i, curve in enumerate(run.rates):
        draw(lowest, run, curve, f"optimizer {i + 1}" if len(run.rates) > 1 else "", RATE, "-:"[i % 2])
    finish(lowest, "learning rate")
    lowest.set_xlabel(
        f"epoch ({run.epoch_length:,.0f} optimizer steps each)" if run.in_epochs else "optimizer step"
    )
    lowest.xaxis.get_major_locator().set_params(integer=True)
    mark(upper[0], [*upper, lowest], run.positions([finding.first_step for finding in marked]).tolist())
    lines = [f"{i}  {f.fault} ({f.severity}), step {f.first_step:,}" for i, f in enumerate(marked, 1)]
    if len(run.findings) > MOST:
        lines.append(f"and {len(run.findings) - MOST} more")
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=9, x=0.02, ha="left", color="#333333")
    if run.ended:
        figure.suptitle(run.ended, fontsize=10)
    return figure


def other_metric(train: dict[str, Curve], validation: dict[str, Curve]) -> list[str]:
    """The accuracy, else the first other metric, best one of both splits; empty if there is none.

    Args:
        train: curves by metric.
        validation: curves by metric.

    Example:
        >>> curve = [(10, 0.5)]
        >>> other_metric({"loss": curve, "f1": curve}, {"loss": curve, "accuracy": curve, "f1": curve})
        ['accuracy']
    """

    def place(name: str) -> tuple[bool, bool, int, str]:
        return "acc" not in name.lower(), not (name in train and name in validation), len(name), name

    return sorted({*train, *validation} - {"loss"}, key=place)[:1]


def draw(axes: "Axes", run: RunCurves, curve: Curve, label: str, colour: str, style: str = "-") -> None:
    """Draw a curve; a value that is not finite is a cross at the lower edge."""
    if not curve:
        return
    x, y = run.positions([step for step, _ in curve]), np.array([value for _, value in curve])
    lost = ~np.isfinite(y)
    marker = "o" if label == "validation" or (~lost).sum() == 1 else None  # a single point has no line
    axes.plot(x, y, style, label=label or None, color=colour, marker=marker, markersize=3)
    if lost.any():
        axes.plot(
            x[lost], np.full(lost.sum(), 0.04), "x", color=colour, label=f"{label} not finite".strip(),
            transform=axes.get_xaxis_transform(), gid="lost",
        )  # fmt: skip


def finish(axes: "Axes", label: str) -> None:
    """Label a panel."""
    if any(not str(line.get_label()).startswith("_") for line in axes.lines):
        axes.legend(fontsize=9, frameon=False)
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


def spread_loss(axes: "Axes") -> None:
    """Take a log scale if the values are positive and span more than a factor of ten."""
    drawn = [line.get_ydata() for line in axes.lines if line.get_gid() != "lost"]
    values = np.concatenate([np.empty(0), *drawn]).astype(float)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")


def mark(top: "Axes", panels: "Sequence[Axes]", places: Sequence[float]) -> None:
    """Draw a line through all panels at each place, with the numbers of its findings above the first."""
    for place in dict.fromkeys(places):
        for axes in panels:
            axes.axvline(place, color=FINDING, linestyle="--", linewidth=1)
        numbers = ", ".join(str(i) for i, other in enumerate(places, 1) if other == place)
        top.annotate(
            numbers, (place, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9
        )
