"""Reads the folder of a run: its curves, what Diagnostics said and when, and what the checks say."""

import json
import math
import re
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from nnfoundations.cli import main
from nnfoundations.diagnostics import History, Series
from nnfoundations.labs._runner.lab import Measured
from nnfoundations.labs._runner.run import SIGNALS, Stopped
from nnfoundations.labs._runner.run_folder import read_findings
from nnfoundations.labs._runner.scalars import logged_by_step
from nnfoundations.labs.diagnostics.catalogue import FAULTS, SOUND, SYMPTOMS

__all__ = ["GUESSING", "explosion", "read", "rise", "symptom"]

GUESSING = math.log(10)
POINTS = 40
"""Points of a curve that are kept."""
PREFLIGHT = {"one_batch": "overfits one batch", "falls": "falls on real batches", "initial": "initial loss",
             "gradient": "gradient", "received": "optimizer's gradient", "moves": "parameters move",
             "apart": "samples stay apart", "modes": "evaluation mode"}  # fmt: skip
"""Checks of `nnfoundations check`, by column."""
Curve = list[tuple[float, float]]


def read(folder: Path) -> Measured:
    """Read a run. The checks are applied to arms with a fault and to sound ones, not to fixed ones.

    Args:
        folder: of the run, `ARM/seed_N/TIME`.

    Returns:
        Values, curves and texts, as `lab.measure` describes them.
    """
    arm = folder.parents[1].name
    history = History.load(folder / "history.npz")
    losses = history["loss"].column("loss")
    validated = _logged(folder)
    values = {"accuracy": 100 * validated["val/accuracy"][-1][1], "val_loss": validated["val/loss"][-1][1]}
    values |= _read_losses(losses, validated["val/loss"]) | _read_layers(history)
    values["symptom"] = SYMPTOMS.index(symptom(losses, values["rises"], values["accuracy"]))
    found, texts = _read_findings(folder, arm)
    values |= found
    if arm in FAULTS or arm in SOUND:
        values |= _check(folder)
    curves = {"loss": _thin(history["loss"].steps, losses), "val_loss": validated["val/loss"]}
    return Measured(
        values, {name: _short(curve) for name, curve in (curves | _curves(history)).items()}, texts
    )


def explosion(losses: np.ndarray) -> float:
    """Find the first step whose loss is not finite or more than twice the first one; NaN if there is none."""
    wrong = np.flatnonzero(~np.isfinite(losses) | (losses > 2 * abs(losses[0])))
    return float(wrong[0]) if len(wrong) else math.nan


def rise(validated: Curve) -> float:
    """Find the step from which on each validation loss is at least 10 % above the lowest before it.

    Args:
        validated: (step, loss).

    Returns:
        The step; NaN if the last one is not above.
    """
    losses = np.array([loss for _, loss in validated])
    best = np.minimum.accumulate(losses)
    below = np.flatnonzero(~(losses > 1.1 * best))
    first = int(below[-1]) + 1 if len(below) else 0
    return validated[first][0] if first < len(validated) else math.nan


def symptom(losses: np.ndarray, rises: float, accuracy: float) -> str:
    """Name what a reader sees in the curves.

    Args:
        losses: training loss by step.
        rises: whether the validation loss rises.
        accuracy: on validation data at the end, %.

    Returns:
        One of SYMPTOMS, the first that applies.
    """
    end = float(np.mean(losses[-20:]))
    seen = (not np.isfinite(losses).all(), end < 0, end > 1.2 * losses[0], end > 0.9 * GUESSING, bool(rises),
            accuracy < 85, True)  # fmt: skip
    return SYMPTOMS[seen.index(True)]


def _read_losses(losses: np.ndarray, validated: Curve) -> dict[str, float]:
    end = float(np.mean(losses[-20:]))
    values = {"first_loss": float(losses[0]), "train_loss": end, "steps": float(len(losses))}
    values["at_chance"] = float(abs(end / GUESSING - 1) < 0.05)
    for name, step in (("explodes", explosion(losses)), ("rises", rise(validated))):
        values[name], values[f"{name}_step"] = float(not math.isnan(step)), step
    return values


def _read_layers(history: History) -> dict[str, float]:
    dead, ratio = _worst(history["dead_share"]), _median(history["update_ratio"], _matrices(history))
    norms = history["gradient_norm"]
    values = {"dead_share": dead[-1][1] if dead else math.nan, "gradient_ratio": math.nan}
    values["update_ratio"] = float(np.median([value for _, value in ratio])) if ratio else math.nan
    if len(norms) and (layers := _by_layer(history)):
        values["gradient_ratio"] = layers[0][1] / layers[-1][1] if layers[-1][1] else math.nan
    return values


def _read_findings(folder: Path, arm: str) -> tuple[dict[str, float], dict[str, str]]:
    """The root cause with its texts, and when it was named. Severity info does not count."""
    lines = [line for line in read_findings(folder) if line["severity"] != "info"]
    ended = [line for line in lines if line["change"] == "end"]
    accepted = FAULTS[arm].named if arm in FAULTS else ()
    said = [float(line["step"]) for line in lines if line["change"] == "new" and line["fault"] in accepted]
    values = {"findings": float(len(ended)), "diagnostics": float(bool(ended))}
    values["diagnostics_step"] = float(min((line["step"] for line in lines), default=math.nan))
    if not accepted:
        return values, _texts(ended)
    values["named"] = float(bool(ended) and ended[0]["fault"] in accepted)
    values["named_step"] = min(said, default=math.nan)
    values["suggested_rate"] = _suggested(ended)
    return values, _texts(ended)


def _texts(ended: Sequence[dict[str, Any]]) -> dict[str, str]:
    if not ended:
        return {}
    cause = {name: ended[0][name] for name in ("fault", "evidence", "cause", "remedy")}
    return cause | {"all": ", ".join(line["fault"] for line in ended)}


def _suggested(ended: Sequence[dict[str, Any]]) -> float:
    found = re.search(r"lr=([0-9.e+-]+)", ended[0]["remedy"]) if ended else None
    return float(found[1]) if found else math.nan


def _check(folder: Path) -> dict[str, float]:
    """Run `nnfoundations check` on the config of the run: 1 for each check that fails."""
    text = StringIO()
    with redirect_stdout(text), redirect_stderr(StringIO()):
        code = main(["check", "--config", str(folder / "config.yaml"), "--json"])
    if code in SIGNALS:
        raise Stopped(code)
    failed = {one["check"] for one in json.loads(text.getvalue())["checks"] if one["state"] == "FAIL"}
    return {column: float(name in failed) for column, name in PREFLIGHT.items()}


def _logged(folder: Path) -> dict[str, Curve]:
    return {name: curve for name, curve in logged_by_step(folder).items() if name.startswith("val/")}


def _curves(history: History) -> dict[str, Curve]:
    found = {"dead_share": _worst(history["dead_share"]), "gradient_by_layer": _by_layer(history)}
    found["update_ratio"] = _median(history["update_ratio"], _matrices(history))
    norms, names = history["gradient_norm"], _matrices(history)
    for place, name in (("first", names[0]), ("last", names[-1])):
        found[f"gradient_{place}"] = _thin(norms.steps, norms.column(name)) if name in norms.columns else []
    return found


def _matrices(history: History) -> list[str]:
    """Weight matrices in the order of the layers."""
    return [name for name, facts in history.parameters.items() if facts.kind == "matrix"]


def _by_layer(history: History) -> Curve:
    """The gradient norm of each weight matrix at the first measurement."""
    norms = history["gradient_norm"]
    known = [name for name in _matrices(history) if name in norms.columns]
    return (
        [(float(i + 1), float(norms.column(name)[0])) for i, name in enumerate(known)] if len(norms) else []
    )


def _worst(series: Series) -> Curve:
    if not len(series):
        return []
    return _thin(series.steps, np.nanmax(np.where(np.isnan(series.rows), -np.inf, series.rows), axis=1))


def _median(series: Series, names: Sequence[str]) -> Curve:
    known = [name for name in names if name in series.columns]
    if not len(series) or not known:
        return []
    return _thin(series.steps, np.median([series.column(name) for name in known], axis=0))


def _thin(steps: np.ndarray, values: np.ndarray) -> Curve:
    """At most POINTS points, the first steps among them; those that are not finite are left out."""
    chosen = np.unique(np.r_[0 : min(8, len(steps)), np.linspace(0, len(steps) - 1, POINTS - 8).astype(int)])
    return [(float(steps[i]), float(values[i])) for i in chosen if np.isfinite(values[i])]


def _short(curve: Curve) -> Curve:
    """Five digits are enough for a figure."""
    return [(float(f"{x:.5g}"), float(f"{y:.5g}")) for x, y in curve if math.isfinite(y)]
