"""The figures of a sweep: values in the order of trials, and against each option."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfoundations.cli.sweep._plan import Plan
from nnfoundations.cli.sweep._results import state_of
from nnfoundations.cli.sweep._space import Dimension, option_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["write_figures"]

# Of Okabe and Ito 2008: colour-blind readers can tell them apart.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#777777"
_WIDTH, _PANEL = 7.0, 2.4


def write_figures(plan: Plan, study: "Study") -> list[Path]:
    """Draw `history.png` and `options.png`.

    Args:
        plan: the sweep.
        study: its study.

    Returns:
        The files; none without a finished trial.
    """
    trials = study.get_trials(deepcopy=False)
    by_state: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        by_state.setdefault(state_of(study, trial), []).append(trial)
    if "finished" not in by_state:
        return []
    folder = plan.out / "figures"
    folder.mkdir(exist_ok=True)
    drawn = {"history": _history(plan, by_state), "options": _options(plan, by_state)}
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    return [folder / f"{name}.png" for name in drawn]


def _history(plan: Plan, by_state: dict[str, list["FrozenTrial"]]) -> "Figure":
    """Every trial in its order, and the best so far."""
    figure, ((axes,),) = _new_figure(1, 1, 3.2)
    finished = by_state["finished"]
    numbers, values = [trial.number for trial in finished], [_value(trial) for trial in finished]
    best = (np.maximum if plan.mode == "max" else np.minimum).accumulate(values)
    axes.step(numbers, best, where="post", color=_ORANGE, label="best so far")
    axes.plot(numbers, values, "o", color=_BLUE, markersize=4, label="finished")
    _pruned(axes, by_state, lambda trial: trial.number)
    if failed := by_state.get("failed"):
        _at_the_edge(axes, [trial.number for trial in failed])
    axes.set(xlabel="trial", ylabel=_label(plan))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _options(plan: Plan, by_state: dict[str, list["FrozenTrial"]]) -> "Figure":
    """The value of every trial against each option."""
    columns = min(3, len(plan.space))
    rows = -(-len(plan.space) // columns)
    figure, panels = _new_figure(rows, columns, _PANEL * rows, sharey=True)
    for axes, (key, dimension) in zip(panels.flat, plan.space.items(), strict=False):
        _option(axes, key, dimension, by_state)
    for axes in panels.flat[len(plan.space) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(_label(plan), fontsize=8)
    panels[0, 0].legend(frameon=False, fontsize=7)
    return figure


def _option(axes: "Axes", key: str, dimension: Dimension, by_state: dict[str, list["FrozenTrial"]]) -> None:
    def place(trial: "FrozenTrial") -> float:
        value = trial.params[key]
        return dimension.choices.index(value) if dimension.choices else value

    finished = by_state["finished"]
    axes.plot([place(trial) for trial in finished], [_value(trial) for trial in finished], "o", color=_BLUE,
              markersize=4, alpha=0.8, label="finished")  # fmt: skip
    _pruned(axes, by_state, place)
    if failed := [trial for trial in by_state.get("failed", []) if key in trial.params]:
        _at_the_edge(axes, [place(trial) for trial in failed])
    axes.set_xlabel(key, fontsize=8)
    if dimension.choices:
        axes.set_xticks(range(len(dimension.choices)), [_short(choice) for choice in dimension.choices])
        axes.set_xlim(-0.5, len(dimension.choices) - 0.5)
    elif dimension.log:
        axes.set_xscale("log")


def _pruned(axes: "Axes", by_state: dict[str, list["FrozenTrial"]], place: Any) -> None:
    pruned = [trial for trial in by_state.get("pruned", []) if trial.value is not None]
    if pruned:
        axes.plot([place(trial) for trial in pruned], [_value(trial) for trial in pruned], "v", color=_GREY,
                  markersize=4, label="pruned")  # fmt: skip


def _at_the_edge(axes: "Axes", places: list[float]) -> None:
    """Failed trials have no value: mark them at the lower edge."""
    axes.plot(places, [0.02] * len(places), "x", color=_ORANGE, markersize=5, label="failed",
              transform=axes.get_xaxis_transform())  # fmt: skip


def _value(trial: "FrozenTrial") -> float:
    assert trial.value is not None
    return trial.value


def _label(plan: Plan) -> str:
    return f"{plan.metric}, mean of {plan.seeds} seeds" if plan.seeds > 1 else plan.metric


def _short(choice: Any) -> str:
    text = option_text(choice).rpartition(".")[2] or option_text(choice)
    return text if len(text) <= 14 else f"{text[:12]}…"


def _new_figure(rows: int, columns: int, height: float, **options: Any) -> "tuple[Figure, np.ndarray]":
    from matplotlib.figure import Figure  # imported here, because it takes half a second

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in panels.flat:
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, panels
