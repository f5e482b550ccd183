"""Reads the training and validation loss from a log that another program wrote.

It knows TensorBoard event files and tables such as the ``metrics.csv`` of Lightning's CSVLogger.
"""

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._recorded_run import EVENTS
from nnfoundations.diagnostics import RULES, SHORT, TENDENCY, Event, History, training_loss, validation_metric

__all__ = ["LossLog", "read_log"]

Curve = dict[int, float]
"""A value per step. A run that was resumed may write a step twice; the last value counts."""

_STEPS = ("step", "global_step", "iteration", "iter", "epoch")
"""Columns of a table that number its rows, the finest first."""

_MOST = 2**53
"""Steps from here on are not step numbers; the history could not hold them."""

_NOT_HELD = "the log holds losses only"


@dataclass(frozen=True)
class LossLog:
    """The losses of a log as a history.

    Args:
        history: the series ``loss`` and, if the log has one, ``validation_loss``.
        read: the names of these series in the log.
        unit: what their steps count: ``step``, ``epoch`` or ``row``.
    """

    history: History
    read: tuple[str, ...]
    unit: str

    @property
    def span(self) -> str:
        """Say over what the losses run: ``steps 0 to 1,229``."""
        steps = self.history["loss"].steps
        note = "" if self.unit == "step" else ", called steps here"
        return f"{self.unit}s {steps[0]:,} to {steps[-1]:,}{note}"


def read_log(path: Path, loss: str | None = None, val_loss: str | None = None) -> LossLog:
    """Read the losses of a log.

    Args:
        path: a table (``.csv``), an event file of TensorBoard, or a folder of them.
        loss: name of the training loss; None looks for the usual names.
        val_loss: name of the validation loss; None looks for the usual names.

    Returns:
        The losses.

    Raises:
        CommandError: the file cannot be read, or it has no such series.
    """
    unit, curves = _table(path) if path.is_file() and path.suffix == ".csv" else ("step", _event_curves(path))
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        raise CommandError(f"`{path}` has no numbers.\nGive a log with at least a training loss.")
    train = _chosen("--loss", loss, curves, path, training_loss)
    if train is None:
        raise CommandError(
            f"`{path}` has no training loss of a usual name; it has {_listed(curves)}.\nName it with --loss."
        )
    val = _chosen("--val-loss", val_loss, curves, path, lambda names: validation_metric(names, "loss"))
    history = _history(curves[train], curves[val] if val is not None else {})
    if unit == "step" and "epoch" not in train and history["loss"].steps[-1] < SHORT - 1:
        history.unavailable[TENDENCY] = f"the run has fewer than {SHORT} steps"
    return LossLog(history, tuple(filter(None, (train, val))), unit)


def _chosen(
    option: str,
    given: str | None,
    curves: Mapping[str, Curve],
    path: Path,
    search: Callable[[Mapping[str, Curve]], str | None],
) -> str | None:
    if given is None:
        return search(curves)
    if given not in curves:
        near = get_close_matches(given, curves, n=1)
        fix = f"Did you mean `{near[0]}`?" if near else f"It has {_listed(curves)}."
        raise CommandError(f"{option}: `{path}` has no series `{given}`.\n{fix}")
    return given


def _listed(names: Mapping[str, Curve], most: int = 8) -> str:
    shown = list(names)[:most]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown) + more


# -- the formats -----------------------------------------------------------------------------------------


def _table(path: Path) -> tuple[str, dict[str, Curve]]:
    """Return what numbers the rows, and the columns of numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return _columns(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"`{path}` is not a table of comma-separated values.\n{error}") from error


def _columns(rows: "csv.DictReader[str]") -> tuple[str, dict[str, Curve]]:
    names = {name.lower(): name for name in rows.fieldnames or () if name}
    unit = next((name for name in _STEPS if name in names), "row")
    values = [name for name in rows.fieldnames or () if name and name.lower() not in _STEPS]
    curves: dict[str, Curve] = {}
    for i, row in enumerate(rows):
        step = i if unit == "row" else _number(row[names[unit]])
        if step is None or not 0 <= step < _MOST:
            continue
        for name in values:
            if (value := _number(row[name])) is not None:
                curves.setdefault(name, {})[int(step)] = value
    return (unit if unit in ("epoch", "row") else "step"), curves


def _number(cell: Any) -> float | None:
    """Return the number in a cell; None if it is empty, missing or a word."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _event_curves(path: Path) -> dict[str, Curve]:
    """Read all scalars of an event file, or of a folder and its folders ``train`` and ``validation``."""
    if path.is_file():
        return dict(_scalars(path))
    curves = dict(_scalars(path)) if any(path.glob(EVENTS)) else {}
    for folder in sorted({file.parent for file in path.glob(f"*/{EVENTS}")}):
        curves |= {f"{folder.name}/{tag}": curve for tag, curve in _scalars(folder)}
    return curves


def _scalars(path: Path) -> Iterator[tuple[str, Curve]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    for tag in tags["scalars"]:
        yield tag, {event.step: event.value for event in events.Scalars(tag) if event.step >= 0}
    for tag in tags["tensors"]:  # TensorFlow writes its scalars as tensors
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            yield tag, {e.step: float(make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}


# -- the history -----------------------------------------------------------------------------------------


def _history(train: Curve, val: Curve) -> History:
    history = History()
    needed = {quantity for rule in RULES for quantity in rule.needs}
    history.unavailable = dict.fromkeys(needed - {"loss", "validation_loss", "non_finite"}, _NOT_HELD)
    steps = sorted(train)
    history.extend("loss", np.array(steps), ("loss",), np.array([[train[step]] for step in steps]))
    for step in sorted(val):
        if math.isfinite(val[step]):
            history.record("validation_loss", step, ("loss", "error"), [val[step], math.nan])
    bad = next((step for step in steps if not math.isfinite(train[step])), None)
    if bad is not None:
        detail = {"place": "first loss", "value": str(train[bad]), "batch": None, "reason": _NOT_HELD}
        history.note(Event("non-finite", bad, (), detail))
    return history
