"""The game: runs with hidden faults, to be named from their curves and then from the findings."""

from typing import TYPE_CHECKING

import numpy as np

from nnfoundations.labs._runner.figures import COLOURS, new_figure, style
from nnfoundations.labs._runner.markdown import markdown, markdown_table
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.diagnostics.catalogue import FAULTS

if TYPE_CHECKING:
    from IPython.display import Markdown
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["RUNS", "draw", "labels", "show_curves", "show_findings", "show_names", "solution"]

RUNS = 10


def draw(results: Results) -> list[tuple[str, int]]:
    """Draw the hidden runs: the same for the same results.

    Args:
        results: of the lab.

    Returns:
        Arm and seed of each run; no fault comes twice.
    """
    generator = np.random.default_rng(10)
    arms = [arm for arm in FAULTS if arm in results.arms and results.finished(arm)]
    chosen = generator.permutation(len(arms))[:RUNS]
    return [(arms[i], int(generator.choice(results.finished(arms[i])))) for i in chosen]


def labels() -> "Markdown":
    """The names that an answer may have.

    Returns:
        The table.
    """
    return markdown_table(("name", "fault"), [(f"`{name}`", fault.label) for name, fault in FAULTS.items()])


def solution(results: Results) -> dict[int, str]:
    """The right names.

    Args:
        results: of the lab.

    Returns:
        The name of the fault by the number of the run, from 1.
    """
    return {i: arm for i, (arm, _) in enumerate(draw(results), 1)}


def show_curves(results: Results) -> "Figure":
    """Loss, gradient norms, update ratio and dead units of the hidden runs.

    Args:
        results: of the lab.

    Returns:
        The figure: a row for each run.
    """
    hidden = draw(results)
    with style():
        figure, axes = new_figure(len(hidden), 4, height=0.4 + 1.35 * len(hidden), sharex=True)
        for i, (row, (arm, seed)) in enumerate(zip(axes, hidden, strict=True), 1):
            _draw_run(row, results, arm, seed)
            row[0].set_ylabel(f"run {i}")
        for axis, title in zip(
            axes[0], ("loss", "gradient norm", "update / weight", "dead units"), strict=True
        ):
            axis.set_title(title)
        for axis in axes[-1]:
            axis.set_xlabel("step")
        axes[0, 0].legend()
        axes[0, 1].legend()
    return figure


def _draw_run(row: "np.ndarray", results: Results, arm: str, seed: int) -> None:
    panels: tuple[tuple[tuple[str, str], ...], ...] = (
        (("loss", "training"), ("val_loss", "validation")),
        (("gradient_first", "first layer"), ("gradient_last", "last layer")),
        (("update_ratio", ""),),
        (("dead_share", ""),),
    )
    for axis, curves in zip(row, panels, strict=True):
        for colour, (name, label) in zip(COLOURS, curves, strict=False):
            axis.plot(*results.curve(arm, seed, name), color=colour, label=label, linewidth=1.1)
        _scale(axis, curves[0][0])


def _scale(axis: "Axes", name: str) -> None:
    if name == "dead_share":
        axis.set_ylim(-0.05, 1.05)
        return
    drawn = [np.asarray(line.get_ydata(), float) for line in axis.lines]
    values = np.concatenate(drawn)
    if not len(values):
        axis.annotate("not finite", (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=8)
        axis.set_yticks([])
    elif values.max() > 30 * max(values.min(), 0) and values.any():
        axis.set_yscale(
            "log" if values.min() > 0 else "symlog", **({} if values.min() > 0 else {"linthresh": 1e-3})
        )


def show_names(results: Results, names: dict[int, str]) -> "Markdown":
    """What you said from the curves alone: how many are right, not which.

    Args:
        results: of the lab.
        names: checked ones.

    Returns:
        A sentence.
    """
    right = sum(names[i] == arm for i, arm in solution(results).items())
    return markdown(f"From the curves: {right} of {len(names)} are right.")


def show_findings(results: Results, names: dict[int, str]) -> "Markdown":
    """What Diagnostics said in the hidden runs, beside your names.

    Args:
        results: of the lab.
        names: checked ones, given from the curves.

    Returns:
        The table.
    """
    rows = []
    for i, (arm, seed) in enumerate(draw(results), 1):
        fault, evidence = results.text(arm, seed, "fault"), results.text(arm, seed, "evidence")
        rows.append((str(i), f"`{names[i]}`", f"`{fault}`: {evidence}" if fault else "nothing"))
    return markdown_table(("run", "your name", "what Diagnostics said"), rows)
