"""What a run has logged, read back from its TensorBoard files."""

from bisect import bisect_left
from pathlib import Path

__all__ = ["logged_by_epoch", "logged_by_step"]

Curves = dict[str, list[tuple[float, float]]]


def logged_by_step(folder: Path) -> Curves:
    """Read the scalars that a run has logged.

    Args:
        folder: of the run.

    Returns:
        For each name, such as `train/loss_step`, points (step from 0, value).
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        name: [(float(event.step), event.value) for event in events.Scalars(name)]
        for name in sorted(events.Tags()["scalars"])
    }


def logged_by_epoch(folder: Path) -> Curves:
    """Read the scalars that a run has logged.

    Args:
        folder: of the run.

    Returns:
        For each name, such as `val/loss`, points (epoch from 1, value). Of several values in an epoch the
        last one counts.
    """
    logged = logged_by_step(folder)
    epochs = logged.pop("epoch", [])
    if not epochs:
        return {}
    steps = [step for step, _ in epochs]
    curves = {}
    for name, events in logged.items():
        points = {}
        for step, value in events:
            i = min(bisect_left(steps, step), len(steps) - 1)
            points[epochs[i][1] + 1] = value
        curves[name] = list(points.items())
    return curves
