"""Writes diagnostics to loggers: a few numbers to every logger, text and figures to those that show them."""

from collections.abc import Iterable
from time import monotonic
from typing import Any

import numpy as np

from nnfoundations.callbacks._diagnostics_figures import health_figure, layers_figure
from nnfoundations.callbacks._pages import pages
from nnfoundations.diagnostics import Engine, Finding, History, page_command, weight_matrices

__all__ = [
    "DRAW_EVERY",
    "QUANTITIES",
    "Charts",
    "extremes",
    "layers_table",
    "markdown",
    "numbers",
    "smallest_median_largest",
    "why_it_ended",
]

DRAW_EVERY = 600.0
"""Seconds between two drawings of the figures. They are always drawn at the end."""

QUANTITIES = ("gradient_norm", "update_ratio")


class Charts:
    """Write the tags ``diagnostics/...``.

    - Numbers go to every logger, as often as the Trainer logs: the norm of the whole gradient, and the
      smallest, median and largest gradient norm and update ratio of all weight matrices.
    - Text and figures go to the loggers that show them (TensorBoard, W&B, MLflow): ``findings``;
      ``layers``, the names of those matrices and a heat map of all layers; and ``health``, the loss above a
      timeline of the findings.

    Loggers are recognized by what they offer, so those of ``pytorch_lightning`` work as well.

    Args:
        trainer: a Trainer of ``lightning`` or ``pytorch_lightning``.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._logged = -1
        self._drawn = monotonic()

    def found(self, finding: Finding) -> None:
        for page in pages(self._trainer):
            page.text("diagnostics/findings", markdown(finding), finding.first_step)

    def measured(self, engine: Engine, step: int) -> None:
        steps = engine.history["gradient_norm"].steps
        every = max(1, self._trainer.log_every_n_steps)
        if len(steps) and (self._logged < 0 or steps[-1] >= self._logged + every):
            self._log(engine.history)
        if monotonic() - self._drawn > DRAW_EVERY:
            self._draw(engine, step)

    def closed(self, engine: Engine) -> None:
        if not engine.history.series:
            return
        steps = engine.history["gradient_norm"].steps
        if len(steps) and steps[-1] > self._logged:
            self._log(engine.history)
        self._draw(engine, engine.step)
        text = "\n\n---\n\n".join(map(markdown, engine.findings)) or "Nothing found."
        for page in pages(self._trainer):
            page.text("diagnostics/findings", text, engine.step)

    def _log(self, history: History) -> None:
        self._logged = int(history["gradient_norm"].steps[-1])
        for logger in self._trainer.loggers:
            logger.log_metrics(numbers(history), self._logged)

    def _draw(self, engine: Engine, step: int) -> None:
        self._drawn = monotonic()
        shown = list(pages(self._trainer))
        for page in shown:
            page.text("diagnostics/layers", layers_table(engine.history), step)
        if not shown:
            return
        figures = {"health": health_figure(engine.history, engine.findings)}
        if len(engine.history["gradient_norm"]):
            figures["layers"] = layers_figure(engine.history, why_it_ended(engine))
        for page in shown:
            for name, figure in figures.items():
                page.figure(f"diagnostics/{name}", figure, step)


def why_it_ended(engine: Engine) -> str:
    """Say why the last part of the run was not measured; empty if it was."""
    last = int(engine.history["gradient_norm"].steps[-1])
    if engine.failure is not None:
        return f"Measured until step {last:,}, then diagnostics ended: {type(engine.failure).__name__}."
    if last > 0.8 * engine.step:
        return ""
    return (
        f"Measured until step {last:,} of {engine.step:,}: more would have exceeded the time budget "
        f"(budget={engine.schedule.budget:g})."
    )


def extremes(history: History, quantity: str) -> dict[str, tuple[str, float]]:
    """Find the smallest, median and largest value of a quantity over the weight matrices, by name."""
    series = history[quantity]
    if not len(series):
        return {}
    chosen = weight_matrices(history, series.columns) or range(len(series.columns))
    return smallest_median_largest(
        [series.columns[i] for i in chosen], series.rows[-1, list(chosen)].tolist()
    )


def smallest_median_largest(names: Iterable[str], values: Iterable[float]) -> dict[str, tuple[str, float]]:
    """Find the smallest, median and largest of the named values, without those that are not finite."""
    ranked = sorted((v, n) for n, v in zip(names, values, strict=True) if v - v == 0)
    if not ranked:
        return {}
    places = {"smallest": 0, "median": len(ranked) // 2, "largest": -1}
    return {place: (ranked[i][1], ranked[i][0]) for place, i in places.items()}


def numbers(history: History) -> dict[str, float]:
    """Compute the scalars that are logged."""
    total = float(np.sqrt(np.square(history["gradient_norm"].rows[-1]).sum()))
    values = {"diagnostics/gradient_norm/total": total}
    for quantity in QUANTITIES:
        for place, (_, value) in extremes(history, quantity).items():
            values[f"diagnostics/{quantity}/{place}"] = value
    return values


def layers_table(history: History) -> str:
    """Lay out `extremes` as a Markdown table."""
    columns = [extremes(history, quantity) for quantity in QUANTITIES]
    rows = ["| | gradient norm | update ratio |", "|---|---|---|"]
    for place in ("smallest", "median", "largest"):
        cells = [f"`{c[place][0]}` {c[place][1]:.3g}" if place in c else "" for c in columns]
        rows.append(f"| {place} | {' | '.join(cells)} |")
    return "\n".join(rows)


def markdown(finding: Finding) -> str:
    """Lay out a finding as Markdown text."""
    state = f"{finding.severity}, resolved" if finding.resolved else str(finding.severity)
    place = f", `{finding.place}`" if finding.where else ""
    parts = [
        f"**{finding.fault}** ({state}), steps {finding.first_step} to {finding.last_step}{place}",
        f"{finding.evidence} {finding.cause}",
        f"**Remedy:** {finding.remedy}",
    ]
    if finding.consequences:
        parts.append(f"Explains {', '.join(finding.consequences)}.")
    if command := page_command(finding.fault):
        parts.append(f"`{command}`")
    return "\n\n".join(parts)
